//! `policyctl explain`: a policy's score with live pods, compared with the operator's status, and
//! from the status alone where the user may not read pods.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use e2e::Testbed;
use serde_json::{Value, json};

use crate::cli;
use crate::policies::{policy, testbed};

const SPEC: &str = "{forbidLatestTag: true, requireReadinessProbe: true, maxRestartCount: 3}";

/// A namespace with three pods and the policy `p`.
fn governed(testbed: &Testbed, prefix: &str) -> String {
    let namespace = cli::shop(testbed, prefix);
    cli::expect(testbed, 0, &["import", "-"], &policy(&namespace, "p", SPEC));
    namespace
}

/// What the operator would write, which is not here yet.
fn write_status(testbed: &Testbed, namespace: &str, status: &Value) {
    let patch = json!({ "status": status }).to_string();
    let how = ["--subresource=status", "--type=merge", "-p", &patch];
    let patch = [&["patch", "dop", "p", "-n", namespace][..], &how].concat();
    testbed.kubectl(&patch).unwrap().succeeded().unwrap();
}

/// The status that fits the pods of [`governed`].
fn fitting(generation: u32) -> Value {
    // 2 pods not pinned, 3 without readiness probe, one that restarted: (10 + 6 + 30) / 3 is 15.
    json!({ "healthScore": 85, "classification": "Healthy", "podsEvaluated": 3,
        "totalViolations": 6, "observedGeneration": generation,
        "lastEvaluated": "2026-01-02T03:04:05Z",
        "violationsByCheck": { "latest-tag": 2, "missing-readiness": 3, "high-restarts": 1 } })
}

#[test]
fn a_score_is_explained_by_the_pods_of_now() {
    let testbed = testbed();
    let namespace = governed(testbed, "explain");
    let found = cli::json(testbed, &["explain", "p", "-n", &namespace], "");
    assert_eq!(found["arithmetic"], "46 points over 3 pods = 15.33, so 100 − 15 = 85");
    let rows = |list: &str, fields: [&str; 3]| {
        let rows = found[list].as_array().unwrap().iter();
        rows.map(|row| fields.map(|field| row.pointer(field).unwrap().clone())).collect::<Vec<_>>()
    };
    assert_eq!(
        rows("checks", ["/check", "/points", "/scoreAfterFix"]),
        [
            [json!("high-restarts"), json!(30), json!(95)],
            [json!("latest-tag"), json!(10), json!(88)],
            [json!("missing-readiness"), json!(6), json!(87)],
        ]
    );
    assert_eq!(
        rows("worstWorkloads", ["/workload/name", "/pods", "/scoreAfterFix"]),
        [[json!("restless"), json!(1), json!(96)], [json!("web"), json!(2), json!(90)]]
    );
    assert_eq!(found["worstPods"].as_array().unwrap().len(), 3);
    assert_eq!(found["status"]["score"], Value::Null, "there is no operator yet");
    // The same engine: analyze says the same of the same policy and pods.
    let file = testbed.folder().join(format!("{namespace}.yaml"));
    std::fs::write(&file, policy(&namespace, "p", SPEC)).unwrap();
    let judged = ["-n", &namespace, "--policy", file.to_str().unwrap()];
    let summary = &cli::analysis(testbed, &judged)["summary"];
    assert_eq!(
        (&found["score"], &found["totalViolations"], &found["compliantPods"]),
        (&summary["score"], &summary["totalViolations"], &summary["compliantPods"])
    );
}

#[test]
fn the_operators_status_is_told_to_agree_or_to_differ() {
    let testbed = testbed();
    let namespace = governed(testbed, "status");
    let explain = ["explain", "p", "-n", &namespace];
    let text = cli::expect(testbed, 0, &explain, "");
    assert!(text.contains("none: the operator has not evaluated this policy"), "{text}");
    write_status(testbed, &namespace, &fitting(1));
    let text = cli::expect(testbed, 0, &explain, "");
    let line = "Operator's status          : score 85, of 2026-01-02T03:04:05Z, the same as now\n";
    assert!(text.contains(line), "{text}");
    // Another policy since then, so another score.
    let other = "{forbidLatestTag: true, maxRestartCount: 10}";
    let import = policy(&namespace, "p", other);
    cli::expect(testbed, 0, &["import", "-"], &import);
    let found = cli::json(testbed, &explain, "");
    let status = &found["status"];
    assert_eq!((&found["score"], &status["score"]), (&json!(97), &json!(85)));
    assert_eq!((&status["isBehind"], &status["generation"]), (&json!(true), &json!(2)));
    let text = cli::expect(testbed, 0, &explain, "");
    for part in [
        "DIFFERENT from now:",
        "it is of generation 1 of the policy, which is at 2",
        "score: 85 in the status, 97 now",
        "missing-readiness: 3 in the status, 0 now",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn who_may_not_read_pods_is_told_what_the_status_says() {
    let testbed = testbed();
    let namespace = governed(testbed, "closed");
    let rules = "[{apiGroups: [devops.stochastic.io], resources: [devopspolicies], verbs: [get]}]";
    let user = testbed.limited_user(&namespace, rules).unwrap();
    let run = cli::run(&user, &["explain", "p"], "");
    assert_eq!((run.code, run.stdout.as_str()), (Some(3), ""), "{run:?}");
    let sentence = "you may not read its pods, and the operator has not evaluated it";
    assert!(run.stderr.contains(sentence), "{run:?}");

    write_status(testbed, &namespace, &fitting(1));
    let run = cli::run(&user, &["explain", "p"], "");
    assert_eq!(run.code, Some(3), "{run:?}");
    for part in [
        "the status alone, since the pods may not be read",
        "Score                      : 85 Healthy",
        "how often containers restarted, so what high-restarts takes",
        "which workloads and pods have the findings",
        &format!("namespace {namespace}: pods is forbidden"),
    ] {
        assert!(run.stdout.contains(part), "{part} in {run:?}");
    }
    let run = cli::run(&user, &["explain", "p", "-o", "json"], "");
    let found: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&found["basis"], &found["worstPods"]), (&json!("status"), &Value::Null));
    assert_eq!(found["coverage"]["failed"].as_array().unwrap().len(), 1);
}

#[test]
fn each_error_of_explain_is_one_sentence() {
    let testbed = testbed();
    let empty = testbed.namespace("empty").unwrap();
    cli::expect(testbed, 0, &["import", "-"], &policy(&empty, "p", SPEC));
    let text = cli::expect(testbed, 0, &["explain", "p", "-n", &empty], "");
    assert!(text.contains("no pod is counted, so there is no score"), "{text}");
    let absent = format!("error: there is no policy {empty}/q; there is {empty}/p\n");
    let elsewhere = testbed.namespace("elsewhere").unwrap();
    cli::expect(testbed, 0, &["import", "-"], &policy(&elsewhere, "lonely", SPEC));
    let lonely = format!(
        "error: there is no policy {empty}/lonely; there is {elsewhere}/lonely, {empty}/p\n"
    );
    let system = "error: namespace kube-system belongs to the system, and no policy scores it\n";
    for (arguments, sentence) in [
        (["explain", "q", "-n", &empty], absent.as_str()),
        (["explain", "lonely", "-n", &empty], &lonely),
        (["explain", "p", "-n", "kube-system"], system),
        (
            ["explain", "p", "-A", "-q"],
            "error: a policy belongs to one namespace; choose it with -n\n",
        ),
    ] {
        let run = cli::run(testbed.kubeconfig(), &arguments, "");
        assert_eq!((run.code, run.stderr.as_str()), (Some(2), sentence), "{run:?}");
    }
}
