//! What stops further remediation.

use e2e::Owner;
use serde_json::Value;

use super::enforced::Enforced;
use super::workloads::{
    breakable, install, list, pods, read, text, wait_until_rolled_out, workload,
};
use crate::operator::{condition, policy};

/// A policy whose patches are proven after half a minute.
const PROBES: &str = "{enforcementMode: enforce, requireReadinessProbe: true, \
    defaultProbe: {tcpPort: 8080, initialDelaySeconds: 1, periodSeconds: 1}}";

/// The same, but for what nothing depends on.
const CHANGED: &str = "{enforcementMode: enforce, requireReadinessProbe: true, \
    defaultProbe: {tcpPort: 8080, initialDelaySeconds: 1, periodSeconds: 2}}";

/// Everybody can see that remediation has stopped, and why: in the condition, the metric, an Event,
/// and in the reason of each workload that waits.
fn assert_stopped(enforced: &Enforced, namespace: &str, reason: &str, waiting: &[&str]) {
    let testbed = enforced.testbed();
    enforced.wait_until(namespace, "the workloads to wait", || {
        waiting.iter().all(|label| {
            let entry = enforced.entry(namespace, label);
            entry["state"] == "Waiting" && entry["reason"] == reason
        })
    });
    let found = policy(testbed, namespace, "p");
    assert_eq!(condition(&found, "Remediating"), ("False", reason));
    assert_eq!(remediating(enforced, namespace), Some(0.0));
    enforced.wait_until(namespace, "the Event", || {
        let events = list(testbed, namespace, "events.events.k8s.io");
        events.iter().any(|event| {
            let entry = enforced.entry(namespace, waiting[0]);
            event["reason"] == "RemediationStopped" && event["note"] == entry["message"]
        })
    });
}

fn remediating(enforced: &Enforced, namespace: &str) -> Option<f64> {
    let metrics = enforced.operator().metrics().unwrap();
    metrics.value("enforcement_remediating", &[("namespace", namespace), ("policy", "p")])
}

#[test]
fn two_patches_that_were_taken_back_stop_all_further_ones() {
    let enforced = Enforced::shared();
    let testbed = enforced.testbed();
    let namespace = testbed.namespace("reverts").unwrap();
    for fate in ["killed", "oomkilled"] {
        install(testbed, Owner::KubectlClientSide, &breakable("Deployment", &namespace, fate));
    }
    enforced.apply_policy(&namespace, PROBES);
    enforced.wait_until(&namespace, "both to be taken back", || {
        ["Deployment/killed", "Deployment/oomkilled"]
            .iter()
            .all(|label| enforced.state(&namespace, label) == "Reverted")
    });
    let web = workload("Deployment", &namespace, "web");
    let chart = workload("Deployment", &namespace, "chart");
    install(testbed, Owner::KubectlClientSide, &web);
    install(testbed, Owner::Helm, &chart);
    // A change of the policy has all of them read again: they may have been seen before they were
    // ready.
    enforced.apply_policy(&namespace, CHANGED);
    let before = read(testbed, &web);
    let waiting = ["Deployment/web", "Deployment/chart"];
    assert_stopped(enforced, &namespace, "Reverts", &waiting);
    // New pods are not injected into either.
    let delete = ["delete", "pod", "--all", "-n", &namespace];
    testbed.kubectl(&delete).unwrap().succeeded().unwrap();
    wait_until_rolled_out(testbed, &chart);
    for pod in pods(testbed, &namespace) {
        assert_eq!(pod["spec"]["containers"][0]["readinessProbe"], Value::Null, "{pod:#}");
    }
    assert_stopped(enforced, &namespace, "Reverts", &waiting);
    assert_eq!(read(testbed, &web)["spec"], before["spec"]);
    let reverts = &policy(testbed, &namespace, "p")["status"]["remediation"]["reverts"];
    assert_eq!(reverts.as_array().map(Vec::len), Some(2), "{reverts:#}");
}

#[test]
fn an_unhealthy_remediated_workload_stops_further_ones_until_it_is_well() {
    let enforced = Enforced::shared();
    let testbed = enforced.testbed();
    let namespace = testbed.namespace("unhealthy").unwrap();
    install(testbed, Owner::KubectlClientSide, &workload("Deployment", &namespace, "first"));
    enforced.apply_policy(&namespace, PROBES);
    enforced.wait_until(&namespace, "the first to be patched for good", || {
        enforced.state(&namespace, "Deployment/first") == "Patched"
    });
    // Long after the patch one of its pods is restarted.
    let name = text(&pods(testbed, &namespace)[0]["metadata"]["name"]);
    let restart = ["annotate", "pod", &name, "-n", &namespace, "testbed/restarts=1"];
    testbed.kubectl(&restart).unwrap().succeeded().unwrap();
    testbed
        .kubectl(&[
            "wait",
            "pod",
            &name,
            "-n",
            &namespace,
            "--for=jsonpath={.status.containerStatuses[0].restartCount}=1",
            "--timeout=60s",
        ])
        .unwrap()
        .succeeded()
        .unwrap();
    let second = workload("Deployment", &namespace, "second");
    install(testbed, Owner::KubectlClientSide, &second);
    enforced.apply_policy(&namespace, CHANGED);
    assert_stopped(enforced, &namespace, "Unhealthy", &["Deployment/second"]);
    assert_eq!(read(testbed, &second)["metadata"]["generation"], 1);
    let delete = ["delete", "pod", &name, "-n", &namespace];
    testbed.kubectl(&delete).unwrap().succeeded().unwrap();
    enforced.wait_until(&namespace, "the second to be patched", || {
        enforced.is_patched(&namespace, "Deployment/second")
    });
    assert_eq!(remediating(enforced, &namespace), Some(1.0));
}
