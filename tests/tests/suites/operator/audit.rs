//! Audit results: the last verdict of each minute in which it changed, written once, whichever
//! replica is the leader.

use std::collections::BTreeSet;

use e2e::{Parts, Signal, Testbed};
use serde_json::Value;

use super::{SURELY, apply_pod, apply_policy, installed, is_leader, list, start, wait_for_status};

fn results(testbed: &Testbed, namespace: &str) -> Vec<Value> {
    list(testbed, namespace, "par")
}

/// Waits until the newest audit result reports that many pods and violations.
fn wait_for_result(
    testbed: &Testbed,
    namespace: &str,
    (pods, violations): (u64, u64),
    logs: impl Fn() -> String,
) {
    let waited = testbed.wait_for("the audit result", 3 * SURELY, || {
        let found = results(testbed, namespace);
        let reports = |last: &Value| {
            last["spec"]["totalPods"] == pods && last["spec"]["totalViolations"] == violations
        };
        Ok(found.last().is_some_and(reports))
    });
    assert!(waited.is_ok(), "{waited:?}\n{:#?}\n{}", results(testbed, namespace), logs());
}

#[test]
fn each_changed_verdict_is_written_once_under_changing_leaders() {
    let (testbed, kubeconfig) = installed(&Parts::new("audit"));
    let shop = testbed.namespace("shop").unwrap();
    let strict = (shop.as_str(), "strict");
    apply_policy(&testbed, &shop, "strict", "{forbidLatestTag: true}");
    let mut replicas: Vec<_> =
        ["operator-a", "operator-b"].map(|name| start(&testbed, name, &kubeconfig)).into();
    wait_for_status(&testbed, &replicas[0], strict, |status| status["podsEvaluated"] == 0);
    wait_for_result(&testbed, &shop, (0, 0), || replicas[0].logs().unwrap());
    // Three verdicts, mostly within a minute; the leader crashes before it has written them.
    for number in 1..=3 {
        apply_pod(&testbed, &shop, &format!("web-{number}"), "nginx");
        wait_for_status(&testbed, &replicas[0], strict, |status| status["podsEvaluated"] == number);
    }
    let leader = replicas.iter().position(is_leader).unwrap();
    let crashed = replicas.remove(leader);
    crashed.signal(Signal::Kill).unwrap();
    let successor = &replicas[0];
    let logs = || successor.logs().unwrap();
    testbed
        .wait_for("the other replica to become the leader", SURELY, || Ok(is_leader(successor)))
        .unwrap();
    wait_for_result(&testbed, &shop, (3, 3), logs);
    let found = results(&testbed, &shop);
    let last = found.last().unwrap();
    assert_eq!(last["spec"]["policyName"], "strict");
    assert_eq!(last["spec"]["violations"][0]["violationType"], "latest_tag");
    assert_eq!(last["metadata"]["ownerReferences"][0]["name"], "strict");
    // The lease is handed over in good order, with a verdict that is not written yet.
    let next = start(&testbed, "operator-c", &kubeconfig);
    apply_pod(&testbed, &shop, "web-4", "nginx:1.27");
    wait_for_status(&testbed, successor, strict, |status| status["podsEvaluated"] == 4);
    successor.signal(Signal::Term).unwrap();
    assert_eq!(successor.wait_exit(SURELY).unwrap().code(), Some(0));
    testbed
        .wait_for("the last replica to become the leader", SURELY, || Ok(is_leader(&next)))
        .unwrap();
    wait_for_result(&testbed, &shop, (4, 3), || next.logs().unwrap());
    let found = results(&testbed, &shop);
    let verdict = |result: &Value| {
        result["metadata"]["annotations"]["devops.stochastic.io/verdict"].to_string()
    };
    for pair in found.windows(2) {
        assert_ne!(verdict(&pair[0]), verdict(&pair[1]), "{found:#?}");
    }
    let minutes: BTreeSet<String> = found
        .iter()
        .map(|result| result["spec"]["timestamp"].as_str().unwrap()[..16].to_owned())
        .collect();
    assert_eq!(minutes.len(), found.len(), "at most one a minute: {found:#?}");
}

/// A pod of a Job that a CronJob made: the controller adds the minute of the run to the name.
fn apply_run(testbed: &Testbed, namespace: &str, minute: u32) {
    let pod = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: report-{minute}-x7k2p, \
         namespace: {namespace}, labels: {{batch.kubernetes.io/job-name: report-{minute}}}, \
         ownerReferences: [{{apiVersion: batch/v1, kind: Job, name: report-{minute}, \
         controller: true, uid: d8c601e9-262b-43f7-a591-5142ede8f80e}}]}}, \
         spec: {{restartPolicy: Never, containers: [{{name: c, image: busybox}}]}}}}"
    );
    testbed.apply(&pod).unwrap();
}

#[test]
fn the_jobs_of_a_cron_job_have_one_verdict() {
    let (testbed, kubeconfig) = installed(&Parts::new("cron"));
    let verdicts = [29_672_011, 29_672_012].map(|minute| {
        let namespace = testbed.namespace("shop").unwrap();
        apply_policy(&testbed, &namespace, "strict", "{forbidLatestTag: true}");
        apply_run(&testbed, &namespace, minute);
        namespace
    });
    let operator = start(&testbed, "operator", &kubeconfig);
    let verdicts = verdicts.map(|namespace| {
        wait_for_result(&testbed, &namespace, (1, 1), || operator.logs().unwrap());
        let result = results(&testbed, &namespace).pop().unwrap();
        result["metadata"]["annotations"]["devops.stochastic.io/verdict"].clone()
    });
    assert!(verdicts[0].is_string() && verdicts[0] == verdicts[1], "{verdicts:?}");
}
