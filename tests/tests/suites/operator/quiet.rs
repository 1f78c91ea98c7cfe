//! Without changes nothing is written, and with many not too much.

use std::thread::sleep;
use std::time::{Duration, Instant};

use e2e::{Parts, Testbed};

use super::{
    SURELY, apply_pod, apply_policy, installed, list, patch_status, start, wait_for_status,
};

/// The time in which nothing may be written: less than that of the heartbeat.
const QUIET: Duration = Duration::from_secs(60);
/// The changes of a storm in one namespace.
const CHANGES: u32 = 2_000;
/// So long after a change the status has it: one is written each second.
const LAG: Duration = Duration::from_secs(4);

/// Every writing call of the operator, but those on its Lease.
fn writes(testbed: &Testbed) -> Vec<String> {
    let calls = testbed.audit("system:serviceaccount:kube-devops:policy-operator").unwrap();
    let reads = ["get", "list", "watch"];
    let writes = calls
        .iter()
        .filter(|call| !reads.contains(&call.verb.as_str()) && call.resource != "leases");
    let line = |call: &e2e::AuditedCall| {
        format!("{} {}/{} {} {}", call.verb, call.resource, call.subresource, call.name, call.code)
    };
    writes.map(line).collect()
}

/// The same, once the audit log has them all: it is written after the response.
fn settled_writes(testbed: &Testbed) -> Vec<String> {
    let mut last = writes(testbed);
    let settled = testbed.wait_for("the audit log to be complete", SURELY, || {
        sleep(Duration::from_secs(1));
        let before = std::mem::replace(&mut last, writes(testbed));
        Ok(before == last)
    });
    settled.unwrap();
    last
}

#[test]
fn without_changes_nothing_is_written() {
    let (testbed, kubeconfig) = installed(&Parts::new("quiet"));
    let operator = start(&testbed, "operator", &kubeconfig);
    let shop = testbed.namespace("shop").unwrap();
    let strict = (shop.as_str(), "strict");
    apply_policy(&testbed, &shop, "strict", "{forbidPendingDuration: 2, maxRestartCount: 1}");
    for (name, phase, restarts) in [("waits", "Pending", 0), ("fails", "Running", 9)] {
        apply_pod(&testbed, &shop, name, "nginx");
        patch_status(&testbed, &shop, name, phase, restarts);
    }
    wait_for_status(&testbed, &operator, strict, |status| status["totalViolations"] == 2);
    // The last verdict is written at the end of its minute.
    testbed
        .wait_for("the audit result", 2 * SURELY, || {
            let results = list(&testbed, &shop, "par");
            Ok(results.last().is_some_and(|last| last["spec"]["totalViolations"] == 2))
        })
        .unwrap();
    let before = super::policy(&testbed, &shop, "strict");
    let written = settled_writes(&testbed);
    let start = Instant::now();
    let mut restarts = 10;
    while start.elapsed() < QUIET {
        // One container restarts again and again, which changes no verdict.
        restarts += 1;
        patch_status(&testbed, &shop, "fails", "Running", restarts);
        sleep(Duration::from_secs(2));
    }
    let after = super::policy(&testbed, &shop, "strict");
    assert_eq!(before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"]);
    assert_eq!(writes(&testbed), written);
}

#[test]
fn a_storm_brings_one_status_a_second_and_the_last_one_is_right() {
    let (testbed, kubeconfig) = installed(&Parts::new("storms"));
    let operator = start(&testbed, "operator", &kubeconfig);
    let shop = testbed.namespace("shop").unwrap();
    apply_policy(&testbed, &shop, "strict", "{forbidLatestTag: true}");
    let strict = (shop.as_str(), "strict");
    wait_for_status(&testbed, &operator, strict, |status| status["podsEvaluated"] == 0);
    let count = || operator.metrics().unwrap().value("devopspolicy_reconcile_total", &[]);
    let (written, before, start) = (settled_writes(&testbed).len(), count(), Instant::now());
    let mut created = Vec::new();
    // A hundred pods in each call, so that they come faster than they are judged.
    for batch in 0..CHANGES / 100 {
        let pods: Vec<String> = (0..100)
            .map(|number| {
                let image = if number % 2 == 0 { "nginx" } else { "nginx:1.27" };
                format!(
                    "{{apiVersion: v1, kind: Pod, metadata: {{name: p{batch}-{number}, \
                     namespace: {shop}}}, spec: {{containers: [{{name: c, image: '{image}'}}]}}}}"
                )
            })
            .collect();
        testbed.kubectl_stdin(&["create", "-f", "-"], &pods.join("\n---\n")).unwrap();
        created.push((Instant::now(), u64::from(batch + 1) * 100));
        // A namespace that always changes is judged all the same.
        let due = created.iter().rfind(|(at, _)| at.elapsed() > LAG).map_or(0, |(_, pods)| *pods);
        let pods = super::policy(&testbed, &shop, "strict")["status"]["podsEvaluated"].clone();
        assert!(pods.as_u64() >= Some(due), "batch {batch}: {pods} of {due}");
    }
    let last =
        wait_for_status(&testbed, &operator, strict, |status| status["podsEvaluated"] == CHANGES);
    assert_eq!(last["status"]["totalViolations"], CHANGES / 2);
    let seconds = start.elapsed().as_secs_f64();
    let reconciled = count().unwrap() - before.unwrap();
    assert!(reconciled >= (seconds / 2.0).floor(), "{reconciled} reconciles in {seconds:.1} s");
    let of_status = |line: &&String| line.contains("/status");
    let written = settled_writes(&testbed).iter().skip(written).filter(of_status).count();
    // One a second, from the first second to the last, of those in which the log was read, too.
    let seconds = start.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "some tens")]
    let most_seconds = written.saturating_sub(1) as f64;
    assert!(most_seconds <= seconds, "{written} writes in {seconds:.1} s");
}
