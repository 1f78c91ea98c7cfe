//! Cluster policies in policyctl: to the cluster and back, and beside the policies of a namespace.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::sync::OnceLock;
use std::time::Duration;

use e2e::{Parts, Testbed};
use serde_json::{Value, json};

use crate::cli;
use crate::policies::policy;

/// How long the API server may take to enforce a policy.
const SURELY: Duration = Duration::from_secs(60);

/// A control plane of its own: a cluster policy applies to the namespaces of all tests.
fn testbed() -> &'static Testbed {
    static TESTBED: OnceLock<Testbed> = OnceLock::new();
    TESTBED.get_or_init(|| {
        let testbed =
            Testbed::start(&Parts::new("cluster-policies").with_controllers().with_nodes(1))
                .unwrap();
        cli::expect(&testbed, 0, &["crd", "install"], "");
        testbed
    })
}

fn label(testbed: &Testbed, namespace: &str, label: &str) {
    let label = ["label", "namespace", namespace, label];
    testbed.kubectl(&label).unwrap().succeeded().unwrap();
}

/// A cluster policy for the namespaces of a team.
fn of_team(name: &str, team: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: devops.stochastic.io/v1\nkind: ClusterDevOpsPolicy\n\
         metadata: {{name: {name}}}\n\
         spec: {{namespaceSelector: {{matchLabels: {{team: {team}}}}}, {spec}}}\n"
    )
}

/// On a control plane of its own, as it exports everything that there is.
#[test]
fn a_cluster_policy_goes_to_the_cluster_and_back_and_admit_judges_by_it() {
    let testbed = &Testbed::start(&Parts::new("cluster-policies-back")).unwrap();
    cli::expect(testbed, 0, &["crd", "install"], "");
    let [shop, lab] = ["shop", "lab"].map(|name| testbed.namespace(name).unwrap());
    label(testbed, &shop, "tier=web");
    let bundle = ["bundle", "apply", "restricted", "--cluster", "--policy-name", "fleet"];
    let selected = "spec:\n  namespaceSelector: {matchLabels: {tier: web}}\n";
    let file = cli::expect(testbed, 0, &bundle, "").replace("spec:\n", selected);
    let import = |file: &str| cli::expect(testbed, 0, &["import", "-"], file);
    assert_eq!(import(&file), "created      ClusterDevOpsPolicy/fleet\n");
    import(&policy(&shop, "own", "{maxRestartCount: 3}"));
    let export = cli::expect(testbed, 0, &["export"], "");
    let unchanged = format!("unchanged    ClusterDevOpsPolicy/fleet\nunchanged    {shop}/own\n");
    assert_eq!(import(&export), unchanged);
    assert_eq!(cli::expect(testbed, 0, &["diff", "-", "-A"], &export), "");
    let own = cli::expect(testbed, 0, &["export", "-n", &shop], "");
    assert!(!own.contains("fleet") && own.contains("name: own"), "{own}");
    let diff = cli::expect(testbed, 1, &["diff", "-"], &file.replace("tier: web", "tier: api"));
    for line in ["--- cluster: ClusterDevOpsPolicy/fleet", "-      tier: web", "+      tier: api"] {
        assert!(diff.contains(line), "{diff}");
    }
    let run = cli::run(testbed.kubeconfig(), &["import", "-", "-n", &shop], &file);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("belongs to no namespace: leave out -n"), "{}", run.stderr);
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: web}, \
               spec: {containers: [{name: web, image: nginx}]}}";
    let admit = |namespace: &str, code| {
        cli::expect(testbed, code, &["admit", "-f", "-", "-n", namespace], pod)
    };
    let denied = admit(&shop, 1);
    let expected =
        "denied by policy ClusterDevOpsPolicy/fleet: container web: image nginx is not pinned";
    assert!(denied.contains(expected), "{denied}");
    assert!(!admit(&lab, 0).contains("ClusterDevOpsPolicy"));
}

#[test]
fn the_strictest_of_the_policies_of_a_namespace_decides() {
    let testbed = testbed();
    let namespace = cli::shop(testbed, "decides");
    label(testbed, &namespace, "team=decides");
    let fleet = of_team(
        "decides",
        "decides",
        "forbidLatestTag: true, maxRestartCount: 9, restartWindow: 60",
    );
    let other = of_team("another-team", "another", "maxRestartCount: 0");
    let own = policy(
        &namespace,
        "own",
        "{maxRestartCount: 3, requireReadinessProbe: true, severityOverrides: {highRestarts: high}}",
    );
    cli::expect(testbed, 0, &["import", "-"], &[fleet, other, own].concat());
    let found = cli::json(testbed, &["explain", "own", "-n", &namespace], "");
    let settings = |check: &str| {
        let checks = found["checkPolicies"].as_array().unwrap();
        let check = checks.iter().find(|found| found["check"] == check).unwrap();
        let policies = check["policies"].as_array().unwrap().iter();
        policies.map(|row| (row["policy"].clone(), row["decides"].clone())).collect::<Vec<_>>()
    };
    let (fleet, own) = (json!("ClusterDevOpsPolicy/decides"), json!(format!("{namespace}/own")));
    assert_eq!(settings("latest-tag"), [(fleet.clone(), json!(true))]);
    assert_eq!(settings("high-restarts"), [(fleet, json!(false)), (own, json!(true))]);
    let text = cli::expect(testbed, 0, &["explain", "own", "-n", &namespace], "");
    let table = format!(
        "Checks of more than one policy of the namespace
  CHECK          DECIDES  SEVERITY  SETTING                                POLICY
  high-restarts  no       medium    maxRestartCount: 9, restartWindow: 60  ClusterDevOpsPolicy/decides
                 yes      high      maxRestartCount: 3                     {namespace}/own\n"
    );
    assert!(text.contains(&table), "{text}");
}

#[test]
fn a_cluster_policy_is_explained_by_the_pods_of_the_namespaces_it_selects() {
    let testbed = testbed();
    let [one, two, _other] = ["one", "two", "three"].map(|name| cli::shop(testbed, name));
    for namespace in [&one, &two] {
        label(testbed, namespace, "team=explained");
    }
    let rules = format!(
        "forbidLatestTag: true, exemptions: [{{checks: [latest-tag], reason: no tags, workload: \
         {{kind: Deployment, name: web, namespace: {two}}}}}]"
    );
    let file = of_team("explained", "explained", &rules);
    cli::expect(testbed, 0, &["import", "-"], &file);
    let explain = ["explain", "explained", "--cluster"];
    let found = cli::json(testbed, &explain, "");
    // Three pods in each, of which two are not pinned; those of the second are exempted.
    let numbers = ["pods", "totalViolations", "exemptedViolations"].map(|name| &found[name]);
    assert_eq!(numbers, [&json!(6), &json!(2), &json!(2)]);
    assert_eq!(found["policy"], "ClusterDevOpsPolicy/explained");
    let text = cli::expect(testbed, 0, &explain, "");
    assert!(
        text.contains("\nWorkloads\n") && text.contains(&format!("{one}  Deployment/web")),
        "{text}"
    );
    let exempted = format!("{two}  Pod/web-");
    assert!(
        text.contains("\n2 findings exempted by the policy:\n") && text.contains(&exempted),
        "{text}"
    );
    let reports = cli::json(testbed, &["analyze", "--policies", "cluster"], "");
    let of_policy = |name: &str, reports: &Value| {
        let mut reports = reports.as_array().unwrap().iter();
        reports.find(|report| report["policy"] == name).cloned().unwrap()
    };
    let report = of_policy("ClusterDevOpsPolicy/explained", &reports);
    assert_eq!(report["summary"]["totalViolations"], found["totalViolations"]);
    assert_eq!(report["namespaces"].as_array().unwrap().len(), 2);
    let of_one = cli::json(testbed, &["analyze", "--policies", "cluster", "-n", &one], "");
    let report = of_policy("ClusterDevOpsPolicy/explained", &of_one);
    assert_eq!(report["summary"]["totalViolations"], 2);
    let missing = cli::run(testbed.kubeconfig(), &["explain", "explaind", "--cluster"], "");
    assert!(
        missing.stderr.contains("there is no policy ClusterDevOpsPolicy/explaind"),
        "{}",
        missing.stderr
    );
}

#[test]
fn a_preview_of_a_cluster_policy_is_of_the_namespaces_it_selects() {
    let testbed = testbed();
    let [inside, outside] = ["inside", "outside"].map(|name| cli::shop(testbed, name));
    label(testbed, &inside, "team=preview");
    let fleet = |rules: &str| of_team("previewed", "preview", rules);
    let file = [fleet("forbidLatestTag: true"), policy(&outside, "own", "{maxRestartCount: 3}")];
    let found = cli::json(testbed, &["preview", "-"], &file.concat());
    let rows = |found: &Value| {
        let policies = found["policies"].as_array().unwrap().iter();
        let row = |row: &Value| (row["namespace"].clone(), row["policy"].clone());
        policies.map(row).collect::<Vec<_>>()
    };
    let cluster = json!("ClusterDevOpsPolicy/previewed");
    let own = (json!(outside), json!("own"));
    assert_eq!(rows(&found), [(json!(inside), cluster.clone()), own]);
    cli::expect(testbed, 0, &["import", "-"], &fleet("forbidLatestTag: true"));
    let stricter = fleet("forbidLatestTag: true, maxRestartCount: 3");
    let found = cli::json(testbed, &["preview", "-"], &stricter);
    let comparison = &found["policies"][0]["comparisons"][0];
    assert_eq!((&comparison["today"], &comparison["isReplaced"]), (&cluster, &json!(true)));
    assert_eq!((&comparison["come"], &comparison["go"]), (&json!(1), &json!(0)));
    // A policy of the namespace stands beside the cluster policy that applies there.
    let own = policy(&inside, "own", "{maxRestartCount: 3}");
    let found = cli::json(testbed, &["preview", "-"], &own);
    let comparison = &found["policies"][0]["comparisons"][0];
    assert_eq!((&comparison["today"], &comparison["isReplaced"]), (&cluster, &json!(false)));
}

/// The API server denies where the policy applies and nowhere else.
#[test]
fn an_exported_cluster_policy_denies_in_the_namespaces_that_it_selects() {
    let testbed = &Testbed::start(&Parts::new("cluster-policies-vap")).unwrap();
    cli::expect(testbed, 0, &["crd", "install"], "");
    let [shop, old, other] = ["shop", "old", "other"].map(|name| testbed.namespace(name).unwrap());
    let system = format!("{shop}-system");
    testbed.kubectl(&["create", "namespace", &system]).unwrap().succeeded().unwrap();
    for namespace in [&shop, &old, &system] {
        label(testbed, namespace, "team=vap");
    }
    let spec = format!(
        "excludedNamespaces: [{old}], forbidLatestTag: true, severityOverrides: {{latestTag: high}}, \
         custom: [{{name: team, expression: \"namespaceObject.metadata.labels['team'] != 'vap' || \
         has(object.metadata.labels)\", severity: high}}]"
    );
    cli::expect(testbed, 0, &["import", "-"], &of_team("fleet", "vap", &spec));
    let pod = |namespace: &str, image: &str, labels: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: web, namespace: {namespace}{labels}}}, \
             spec: {{containers: [{{name: web, image: {image}}}]}}}}"
        )
    };
    for namespace in [&shop, &old, &system, &other] {
        testbed.apply(&pod(namespace, "nginx", "")).unwrap();
    }
    let run = cli::run(testbed.kubeconfig(), &["export-vap", "fleet", "--cluster"], "");
    let existing = "existing in 1 namespace: 1 object, of which 1 would be denied if created now";
    assert!(run.stderr.contains(existing), "{}", run.stderr);
    let listed = "Pod/web: denied by policy ClusterDevOpsPolicy/fleet: ";
    assert!(run.stderr.contains(listed), "{}", run.stderr);
    assert!(run.stderr.contains("custom check team failed"), "{}", run.stderr);
    testbed.kubectl_stdin(&["apply", "-f", "-"], &run.stdout).unwrap().succeeded().unwrap();
    let create = |text: &str| {
        let create = ["create", "--dry-run=server", "-f", "-"];
        testbed.kubectl_stdin(&create, &text.replace("name: web,", "name: new,")).unwrap()
    };
    let labels = ", labels: {a: b}";
    testbed
        .wait_for("both denials", SURELY, || {
            let by_tag = create(&pod(&shop, "nginx", labels));
            let by_custom = create(&pod(&shop, "nginx:1", ""));
            Ok(by_tag.stderr.contains("policy ClusterDevOpsPolicy/fleet: container new: image")
                && by_custom.stderr.contains("policy ClusterDevOpsPolicy/fleet: custom check team"))
        })
        .unwrap();
    create(&pod(&shop, "nginx:1", labels)).succeeded().unwrap();
    for namespace in [&old, &system, &other] {
        create(&pod(namespace, "nginx", "")).succeeded().unwrap();
    }
}
