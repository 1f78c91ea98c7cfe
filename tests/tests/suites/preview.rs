//! `policyctl preview`: what a policy would say of live pods before it is applied.

use serde_json::{Value, json};

use crate::cli;
use crate::policies::{policy, testbed, versions};

#[test]
fn a_preview_says_what_analyze_says_of_the_same_file() {
    let testbed = testbed();
    let namespace = cli::shop(testbed, "preview");
    let file = testbed.folder().join(format!("{namespace}.yaml"));
    std::fs::write(&file, policy(&namespace, "p", "{forbidLatestTag: true, maxRestartCount: 3}"))
        .unwrap();
    let file = file.to_str().unwrap();
    let found = cli::json(testbed, &["preview", file, "-n", &namespace], "");
    let previewed = &found["policies"][0];
    let analysis = cli::analysis(testbed, &["-n", &namespace, "--policy", file]);
    assert_eq!(previewed["summary"], analysis["summary"]);
    assert_eq!(found["coverage"], analysis["coverage"]);
    assert_eq!(found["source"], analysis["source"]);
    let comparison = &previewed["comparisons"][0];
    assert_eq!((&comparison["today"], &comparison["summary"]), (&Value::Null, &Value::Null));
    assert_eq!(comparison["come"], analysis["summary"]["totalViolations"]);
    let text = cli::expect(testbed, 0, &["preview", file], "");
    assert!(text.contains("today: there is no policy"), "{text}");
    assert_eq!(versions(testbed, &namespace), Vec::<String>::new(), "nothing was written");
    // Applied, it is what was foretold.
    cli::expect(testbed, 0, &["import", file], "");
    let explained = cli::json(testbed, &["explain", "p", "-n", &namespace], "");
    assert_eq!(explained["score"], previewed["summary"]["score"]);
    let again = cli::json(testbed, &["preview", file], "");
    let comparison = &again["policies"][0]["comparisons"][0];
    assert_eq!((&comparison["today"], &comparison["isReplaced"]), (&json!("p"), &json!(true)));
    assert_eq!((&comparison["come"], &comparison["go"]), (&json!(0), &json!(0)));
}

#[test]
fn each_policy_of_today_stands_beside_the_new_one() {
    let testbed = testbed();
    let namespace = cli::shop(testbed, "beside");
    let today = [
        policy(&namespace, "p", "{forbidLatestTag: true, maxRestartCount: 3}"),
        policy(&namespace, "other", "{requireReadinessProbe: true}"),
    ];
    cli::expect(testbed, 0, &["import", "-"], &today.concat());
    let before = versions(testbed, &namespace);
    let new = policy(&namespace, "p", "{requireReadinessProbe: true, maxRestartCount: 20}");
    let text = cli::expect(testbed, 0, &["preview", "-", "-n", &namespace], &new);
    for part in [
        // (10 + 30) / 3 is 13; 3 * 2 / 3 is 2.
        "Beside p: score +11, 3 findings would come, 3 would go",
        "  + medium   missing-readiness  Deployment/web, container nginx, 2 pods",
        "  - medium   latest-tag         Deployment/web, container nginx, 2 pods",
        "  - medium   high-restarts      Pod/restless, container c, 1 pod",
        "Beside other: the score stays, 0 findings only with the new policy, 0 only with this one",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(versions(testbed, &namespace), before, "nothing was written");
}

#[test]
fn a_bundle_is_tried_in_every_namespace_with_pods_but_the_systems() {
    let testbed = testbed();
    let namespace = cli::shop(testbed, "everywhere");
    let empty = testbed.namespace("without").unwrap();
    let found = cli::json(testbed, &["preview", "--bundle", "restricted"], "");
    assert_eq!(found["policies"][0]["place"], "bundle restricted");
    assert_eq!(found["policies"][0]["policy"], "devops-policy");
    let policies = found["policies"].as_array().unwrap();
    let names: Vec<&str> = policies.iter().map(|p| p["namespace"].as_str().unwrap()).collect();
    assert!(names.contains(&namespace.as_str()), "{names:?}");
    assert!(!names.contains(&empty.as_str()) && !names.contains(&"kube-system"), "{names:?}");
    assert!(names.is_sorted(), "{names:?}");
    let own = policies.iter().find(|p| p["namespace"] == namespace.as_str()).unwrap();
    let judged = ["-n", &namespace, "--bundle", "restricted"];
    assert_eq!(own["summary"], cli::analysis(testbed, &judged)["summary"]);
    let text = cli::expect(testbed, 0, &["preview", "--bundle", "baseline", "-n", &empty], "");
    assert!(text.contains("n/a  no pods"), "{text}");
}

#[test]
fn each_error_of_preview_is_reported() {
    let testbed = testbed();
    let namespace = testbed.namespace("wrong").unwrap();
    let wrong = policy(&namespace, "p", "{maxRestartCount: -1, weights: {pending: 101}, odd: 1}");
    let run = cli::run(testbed.kubeconfig(), &["preview", "-"], &wrong);
    assert_eq!(run.code, Some(2), "{run:?}");
    for part in [
        "nothing was judged:",
        "stdin:5: spec.maxRestartCount: must be 0 or more, not -1",
        "stdin:5: spec.weights.pending: must be 0 to 100, not 101",
        "stdin:5: spec.odd: unknown field",
    ] {
        assert!(run.stderr.contains(part), "{part} in {}", run.stderr);
    }
    let good = policy(&namespace, "p", "{maxRestartCount: 1}");
    for (arguments, input, sentence) in [
        (&["preview", "-", "-n", "shop"][..], &good, "not to shop"),
        (&["preview", "--bundle", "baseline", "-n", "kube-system"], &good, "belongs to the system"),
        (&["preview", "--bundle", "strict"], &good, "there is no bundle `strict`"),
    ] {
        let run = cli::run(testbed.kubeconfig(), arguments, input);
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.stderr.contains(sentence), "{sentence} in {}", run.stderr);
    }
    let rules = "[{apiGroups: [devops.stochastic.io], resources: [devopspolicies], verbs: [list]}]";
    let user = testbed.limited_user(&namespace, rules).unwrap();
    let run = cli::run(&user, &["preview", "-"], &good);
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.stdout.contains("pods is forbidden"), "{run:?}");
    assert!(!run.stdout.contains("no pods"), "what is not read is not empty: {run:?}");
}

#[test]
fn objects_that_the_webhook_would_deny_are_listed() {
    let testbed = testbed();
    let namespace = cli::shop(testbed, "admission");
    let spec = "{forbidLatestTag: true, severityOverrides: {latestTag: high}}";
    let new = policy(&namespace, "p", spec);
    let text = cli::expect(testbed, 0, &["preview", "-"], &new);
    for part in [
        "Admission: would deny 1 of the workloads and bare pods here\n  \
         Deployment/web, 2 pods\n",
        "With controllerPods: deny, 2 running pods of controllers could not be created again\n",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let found = cli::json(testbed, &["preview", "-"], &new);
    let denied = &found["policies"][0]["admission"]["denied"][0];
    assert_eq!(
        denied["message"],
        format!(
            "denied by policy {namespace}/p: container nginx: image nginx is not pinned \
             (check latest-tag, high); use a fixed tag or digest"
        )
    );
    // `analyze --fail-on denied` says the same, by a file and by the policies of the cluster.
    let file = testbed.folder().join(format!("{namespace}-denied.yaml"));
    std::fs::write(&file, &new).unwrap();
    let analyze = ["analyze", "-n", &namespace, "--fail-on", "denied"];
    let by_file = ["--policy", file.to_str().unwrap(), "-o", "json"];
    let run = cli::run(testbed.kubeconfig(), &[&analyze[..], &by_file].concat(), "");
    assert_eq!(run.code, Some(1), "{run:?}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let web = json!({"namespace": namespace, "kind": "Deployment", "name": "web", "file": null,
        "line": null, "checks": ["latest-tag"]});
    assert_eq!(report["denied"], json!({"total": 1, "objects": [web]}));
    let sentence = format!(
        "admission would deny 1 object (--fail-on denied): {namespace} Deployment/web (latest-tag)"
    );
    assert!(run.stderr.contains(&sentence), "{run:?}");
    let by_cluster = [&analyze[..], &["--policies", "cluster"]].concat();
    cli::expect(testbed, 0, &by_cluster, "");
    // After the policy is applied, the owner of the workload gets the same answer.
    cli::expect(testbed, 0, &["import", "-"], &new);
    let text = cli::expect(testbed, 1, &by_cluster, "");
    assert!(text.contains("Admission would deny 1 object:\n"), "{text}");
    let answer = cli::expect(testbed, 1, &["admit", "-f", "-"], &cli::web(&namespace));
    assert!(answer.contains(denied["message"].as_str().unwrap()), "{answer}");
    let open = testbed.namespace("open").unwrap();
    let answer = cli::expect(testbed, 0, &["admit", "-f", "-"], &cli::web(&open));
    assert!(answer.contains("(the namespace has no policy)"), "{answer}");
}
