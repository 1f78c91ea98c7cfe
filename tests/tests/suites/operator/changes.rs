//! The status after each kind of change.

use e2e::Parts;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::{
    SURELY, apply_pod, apply_policy, condition, delete, installed, list, patch_status, start,
    wait_for_status,
};
use crate::watcher::crash;

#[test]
fn the_status_follows_pods_and_policies() {
    let (testbed, kubeconfig) = installed(&Parts::new("changes"));
    let operator = start(&testbed, "operator", &kubeconfig);
    let shop = testbed.namespace("shop").unwrap();
    let strict = (shop.as_str(), "strict");
    let spec = "{forbidLatestTag: true, maxRestartCount: 1, forbidPendingDuration: 40, \
                severityOverrides: {latestTag: critical}}";
    apply_policy(&testbed, &shop, "strict", spec);
    let wait = ["wait", "--for=condition=Ready", "dop/strict", "-n", &shop, "--timeout=60s"];
    testbed.kubectl(&wait).unwrap().succeeded().unwrap();
    let empty = wait_for_status(&testbed, &operator, strict, |status| status["podsEvaluated"] == 0);
    assert_eq!(empty["status"]["message"], "no pods to judge");
    assert_eq!(empty["status"]["healthScore"], 100);
    assert_eq!(empty["metadata"]["finalizers"], json!(["devops.stochastic.io/cleanup"]));
    assert_eq!(condition(&empty, "Admission"), ("True", "Denies"));

    // A new pod is judged at once by its image, and as Pending when its time is over.
    apply_pod(&testbed, &shop, "web", "nginx");
    let made = wait_for_status(&testbed, &operator, strict, |status| status["podsEvaluated"] == 1);
    let by_check = &made["status"]["violationsByCheck"];
    assert_eq!(*by_check, json!({"latest-tag": 1, "high-restarts": 0, "pending": 0}));
    assert_eq!(made["status"]["healthScore"], 95);
    assert_eq!(
        made["status"]["violations"],
        json!(["pod/web: uses :latest image tag (container c)"])
    );
    let severities = json!({"critical": 1, "high": 0, "medium": 0, "low": 0});
    assert_eq!(made["status"]["violationsBySeverity"], severities);
    let late = wait_for_status(&testbed, &operator, strict, |status| {
        status["violationsByCheck"]["pending"] == 1
    });
    assert_eq!(late["status"]["healthScore"], 91);
    assert_eq!(late["status"]["violations"][1], "pod/web: pending longer than 40 s");

    // Running, then restarted.
    patch_status(&testbed, &shop, "web", "Running", 0);
    wait_for_status(&testbed, &operator, strict, |status| status["healthScore"] == 95);
    patch_status(&testbed, &shop, "web", "Running", 3);
    let restarted = wait_for_status(&testbed, &operator, strict, |status| {
        status["violationsByCheck"]["high-restarts"] == 1
    });
    assert_eq!(restarted["status"]["healthScore"], 100 - 5 - 3 * 6);
    assert_eq!(condition(&restarted, "Healthy"), ("False", "Stable"));
    assert_eq!(restarted["status"]["classification"], "Stable");
    assert_eq!(restarted["status"]["healthy"], false);

    // `policyctl explain` finds the same.
    let explained =
        crate::cli::expect(&testbed, 0, &["explain", "strict", "-n", &shop, "-o", "json"], "");
    let explained: serde_json::Value = serde_json::from_str(&explained).unwrap();
    assert_eq!(explained["score"], restarted["status"]["healthScore"], "{explained:#}");
    assert_eq!(explained["status"]["differences"], json!([]), "{explained:#}");

    // Another policy judges the same pods on its own.
    apply_policy(&testbed, &shop, "lenient", "{forbidLatestTag: true, weights: {latestTag: 1}}");
    let lenient = (shop.as_str(), "lenient");
    wait_for_status(&testbed, &operator, lenient, |status| status["healthScore"] == 99);

    // The policy changes: the status has its generation.
    apply_policy(&testbed, &shop, "strict", "{maxRestartCount: 1}");
    let changed = wait_for_status(&testbed, &operator, strict, |status| {
        status["violationsByCheck"].get("latest-tag").is_none()
    });
    assert_eq!(changed["status"]["observedGeneration"], changed["metadata"]["generation"]);
    assert_eq!(condition(&changed, "Admission"), ("False", "NothingDenied"));
    let metrics = operator.metrics().unwrap();
    let labels = [("namespace", shop.as_str()), ("policy", "strict")];
    assert_eq!(metrics.value("devopspolicy_health_score", &labels), Some(82.0));

    // A pod that succeeded, and one that is deleted.
    apply_pod(&testbed, &shop, "job", "nginx");
    wait_for_status(&testbed, &operator, lenient, |status| status["podsEvaluated"] == 2);
    patch_status(&testbed, &shop, "job", "Succeeded", 0);
    wait_for_status(&testbed, &operator, lenient, |status| status["podsEvaluated"] == 1);
    delete(&testbed, &shop, "pod/web");
    // Each policy is judged at its own time.
    for policy in [strict, lenient] {
        wait_for_status(&testbed, &operator, policy, |status| {
            status["message"] == "no pods to judge"
        });
    }

    // The table of kubectl.
    let get = ["get", "dop", "-n", &shop];
    let table = testbed.kubectl(&get).unwrap().succeeded().unwrap();
    let rows: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().take(7).collect()).collect();
    assert_eq!(rows[0], ["NAME", "MODE", "ADMISSION", "SCORE", "CLASS", "PODS", "VIOLATIONS"]);
    assert_eq!(rows[1], ["lenient", "audit", "NothingDenied", "100", "Healthy", "0", "0"]);

    // The series of a deleted policy end.
    delete(&testbed, &shop, "dop/strict");
    testbed
        .wait_for("the end of the series", SURELY, || {
            Ok(operator.metrics()?.value("devopspolicy_health_score", &labels).is_none())
        })
        .unwrap();
    assert_eq!(super::policy(&testbed, &shop, "strict"), json!(null));
}

#[test]
fn findings_come_and_go_with_time_and_name_their_cause() {
    let (testbed, kubeconfig) = installed(&Parts::new("ages"));
    let operator = start(&testbed, "operator", &kubeconfig);
    let shop = testbed.namespace("shop").unwrap();
    let spec = "{forbidNotReadyDuration: 30, maxRestartCount: 3, restartWindow: 30, \
                severityOverrides: {notReady: high}, weights: {notReady: 7}}";
    apply_policy(&testbed, &shop, "ages", spec);
    apply_pod(&testbed, &shop, "web", "nginx");
    let ages = (shop.as_str(), "ages");
    let checks =
        |restarts: u8, not_ready: u8| json!({ "high-restarts": restarts, "not-ready": not_ready });
    let wait = |expected: &serde_json::Value| {
        wait_for_status(&testbed, &operator, ages, |status| {
            status["violationsByCheck"] == *expected
        })
    };
    wait(&checks(0, 0));
    let crashed = crash(&testbed, &shop, "web");
    let early = wait(&checks(1, 0));
    let text = "pod/web: restarted more than 3 times (exit code 139, signal 11) (container c)";
    assert_eq!(early["status"]["violations"], json!([text]));
    let late = wait(&checks(0, 1));
    let judged: Timestamp =
        serde_json::from_value(late["status"]["lastEvaluated"].clone()).unwrap();
    let age = judged.as_second() - crashed;
    assert!((31..=34).contains(&age), "more than 30 s, and judged within a second: {age} s");
    let text = "pod/web: not ready for longer than 30 s (CrashLoopBackOff)";
    assert_eq!(late["status"]["violations"], json!([text]));
    assert_eq!(late["status"]["healthScore"], 93);
    assert_eq!(late["status"]["violationsBySeverity"]["high"], 1);
}

#[test]
fn the_longest_name_has_an_event_and_an_audit_result() {
    let (testbed, kubeconfig) = installed(&Parts::new("names"));
    let operator = start(&testbed, "operator", &kubeconfig);
    let shop = testbed.namespace("shop").unwrap();
    let name = "p".repeat(253);
    apply_policy(&testbed, &shop, &name, "{forbidLatestTag: true}");
    let published = testbed.wait_for("the Event", SURELY, || {
        let events = list(&testbed, &shop, "events.events.k8s.io");
        Ok(events.iter().any(|event| {
            (&event["regarding"]["name"], &event["reason"]) == (&json!(name), &json!("Healthy"))
        }))
    });
    assert!(published.is_ok(), "{published:?}\n{}", operator.logs().unwrap());
    let dropped = operator.metrics().unwrap().value("dropped_total", &[("what", "events")]);
    assert_eq!(dropped, Some(0.0));
    let written = testbed.wait_for("the audit result", 2 * SURELY, || {
        Ok(list(&testbed, &shop, "par").iter().any(|result| result["spec"]["policyName"] == name))
    });
    assert!(written.is_ok(), "{written:?}\n{}", operator.logs().unwrap());
}
