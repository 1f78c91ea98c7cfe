//! The operator is killed while it remediates.

use std::thread;
use std::time::Duration;

use e2e::{Owner, Parts, Signal, Testbed};
use serde_json::{Value, json};

use super::workloads::{assert_succeeded, read, wait_until_rolled_out, workload};
use crate::{cli, operator};

/// For a lease that expires, and what follows, on a busy machine.
const SURELY: Duration = Duration::from_secs(120);

/// A probe that is observed for half a minute.
const PROBES: &str = "{enforcementMode: enforce, requireReadinessProbe: true, \
    defaultProbe: {tcpPort: 8080, initialDelaySeconds: 1, periodSeconds: 1}}";

fn state(testbed: &Testbed, namespace: &str) -> String {
    let policy = operator::policy(testbed, namespace, "p");
    let state = policy.pointer("/status/remediation/workloads/0/state");
    state.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn wait_for_state(testbed: &Testbed, namespace: &str, states: &[&str]) {
    let waited =
        testbed.wait_for("the state", SURELY, || Ok(states.contains(&&*state(testbed, namespace))));
    assert!(
        waited.is_ok(),
        "{waited:?}: {:#}",
        operator::policy(testbed, namespace, "p")["status"]
    );
}

#[test]
fn a_killed_operator_leaves_nothing_to_be_patched_twice() {
    let (testbed, kubeconfig) =
        operator::installed(&Parts::new("killed").with_controllers().with_nodes(2));
    testbed.install_operator_remediation().unwrap();
    testbed.install_empty_mutating_configuration().unwrap();
    let namespace = testbed.namespace("shop").unwrap();
    let web = workload("Deployment", &namespace, "web");
    assert_succeeded("web", &Owner::KubectlClientSide.apply(&testbed, &web).unwrap());
    wait_until_rolled_out(&testbed, &web);
    let first = operator::start(&testbed, "first", &kubeconfig);
    testbed.apply(&cli::policy(&namespace, "p", PROBES)).unwrap();
    wait_for_state(&testbed, &namespace, &["Observing", "Patched"]);
    first.signal(Signal::Kill).unwrap();
    first.wait_exit(SURELY).unwrap();
    // As if it had been killed after the patch, before the status that tells of it.
    let intent = r#"[{"op": "replace", "path": "/status/remediation/workloads/0/state", "value": "Waiting"}]"#;
    let patch = [
        "patch",
        "dop",
        "p",
        "-n",
        &namespace,
        "--subresource=status",
        "--type=json",
        "-p",
        intent,
    ];
    testbed.kubectl(&patch).unwrap().succeeded().unwrap();
    let patched = read(&testbed, &web);
    let probe = patched.pointer("/spec/template/spec/containers/0/readinessProbe/tcpSocket/port");
    assert_eq!(probe, Some(&json!(8080)));
    let second = operator::start(&testbed, "second", &kubeconfig);
    wait_for_state(&testbed, &namespace, &["Observing", "Patched"]);
    wait_for_state(&testbed, &namespace, &["Patched"]);
    let settled = read(&testbed, &web);
    assert_eq!(settled["metadata"]["generation"], patched["metadata"]["generation"]);
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    thread::sleep(Duration::from_secs(20));
    assert_eq!(version(&read(&testbed, &web)), version(&settled), "nothing is re-asserted");
    let log = second.logs().unwrap();
    assert!(!log.contains(r#""level":"ERROR""#), "{log}");
}
