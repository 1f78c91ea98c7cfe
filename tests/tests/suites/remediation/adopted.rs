//! The owner puts what was filled in into his own manifest, and then it hurts.

use e2e::Owner;
use serde_json::{Value, json};

use super::enforced::Enforced;
use super::workloads::{assert_succeeded, container, install, managers, read, workload};

#[test]
fn what_the_owner_has_adopted_stays_when_the_patch_is_taken_back() {
    let enforced = Enforced::shared();
    let testbed = enforced.testbed();
    let namespace = testbed.namespace("adopted").unwrap();
    let mut web = workload("Deployment", &namespace, "web");
    // Time enough for the owner's apply in between, and within the probe's delay, so that it is still
    // observed.
    web["spec"]["template"]["metadata"]["annotations"] =
        json!({ "testbed/bounded": "killed", "testbed/bounded-after": "25s" });
    install(testbed, Owner::KubectlClientSide, &web);
    enforced.apply_policy(
        &namespace,
        "{enforcementMode: enforce, requireReadinessProbe: true, \
         defaultProbe: {tcpPort: 8080, initialDelaySeconds: 90, periodSeconds: 5}, \
         defaultResources: {cpuRequest: 50m, memoryRequest: 32Mi}}",
    );
    let label = "Deployment/web";
    enforced.wait_until(&namespace, "the patch", || enforced.is_patched(&namespace, label));
    let live = |pointer: &str| {
        let path = format!("/spec/template/spec/containers/0{pointer}");
        read(testbed, &web).pointer(&path).cloned().unwrap_or(Value::Null)
    };
    let mut own = web.clone();
    container(&mut own)["readinessProbe"] = live("/readinessProbe");
    assert_eq!(live("/readinessProbe/tcpSocket/port"), 8080);
    assert_succeeded("adoption", &Owner::KubectlClientSide.apply(testbed, &own).unwrap());
    enforced
        .wait_until(&namespace, "the revert", || enforced.state(&namespace, label) == "Reverted");
    assert_eq!(
        live("/readinessProbe"),
        own["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]
    );
    assert_eq!(live("/resources"), json!({}), "what he has not adopted is gone");
    let managers = managers(&read(testbed, &web));
    assert!(!managers.iter().any(|(name, _)| name == "policy-operator"), "{managers:?}");
    container(&mut own)["readinessProbe"]["periodSeconds"] = json!(9);
    assert_succeeded("his next apply", &Owner::KubectlClientSide.apply(testbed, &own).unwrap());
    assert_eq!(live("/readinessProbe/periodSeconds"), 9);
}
