//! The operator has exactly the permissions that it needs.

use e2e::{Parts, Service, Signal, Testbed};

use super::cluster::{apply_cluster_policy, wait_for_message};
use super::{
    SURELY, apply_pod, apply_policy, delete, installed, list, patch_status, wait_for_status,
};

const PLATFORM: &str = "kube-devops";

pub(super) fn stop(operator: &Service<'_>) {
    operator.signal(Signal::Term).unwrap();
    assert_eq!(operator.wait_exit(SURELY).unwrap().code(), Some(0));
}

/// A budget over all pods whose status, as its controller would write it, allows no eviction.
fn block_drains(testbed: &Testbed, namespace: &str) {
    let budget = format!(
        "{{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {{name: all, namespace: \
         {namespace}}}, spec: {{maxUnavailable: 0, selector: {{}}}}}}"
    );
    testbed.apply(&budget).unwrap();
    let status = r#"{"status": {"currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": 0,
        "expectedPods": 1, "observedGeneration": 1}}"#;
    let patch = ["patch", "pdb", "all", "-n", namespace, "--subresource=status", "-p", status];
    testbed.kubectl(&[&patch[..], &["--type=merge"]].concat()).unwrap().succeeded().unwrap();
}

#[test]
fn it_needs_exactly_the_rules_that_are_installed() {
    let (testbed, kubeconfig) = installed(&Parts::new("streams"));
    let [shop, bank] = ["shop", "bank"].map(|name| testbed.namespace(name).unwrap());
    let operator = testbed
        .service("operator", super::program())
        .kubeconfig(&kubeconfig)
        .variable("GOV_AUDIT_RESULTS__RETENTION", "1")
        .start()
        .unwrap();
    let strict = (shop.as_str(), "strict");
    apply_policy(&testbed, &shop, "strict", "{forbidLatestTag: true, weights: {latestTag: 50}}");
    apply_pod(&testbed, &bank, "elsewhere", "nginx");
    // One audit result a minute is written; of two the first is deleted.
    wait_for_status(&testbed, &operator, strict, |status| status["healthScore"] == 100);
    let written = |number: f64| {
        let waited = testbed.wait_for("the audit result", 3 * SURELY, || {
            Ok(operator.metrics()?.value("audit_results_total", &[]) >= Some(number))
        });
        assert!(waited.is_ok(), "{waited:?}\n{}", operator.logs().unwrap());
    };
    written(1.0);
    apply_pod(&testbed, &shop, "web", "nginx");
    wait_for_status(&testbed, &operator, strict, |status| status["healthScore"] == 50);
    written(2.0);
    testbed.compact().unwrap();
    let stored = testbed.store_bytes().unwrap();
    patch_status(&testbed, &shop, "web", "Succeeded", 0);
    wait_for_status(&testbed, &operator, strict, |status| status["healthScore"] == 100);
    testbed
        .wait_for(
            "the excess to be deleted",
            SURELY,
            || Ok(list(&testbed, &shop, "par").len() == 1),
        )
        .unwrap();
    // Events are published at most once a minute: the return to the first class a minute later.
    testbed
        .wait_for("the Event to be counted up", 3 * SURELY, || {
            let events = list(&testbed, &shop, "events.events.k8s.io");
            Ok(events.iter().any(|event| event["series"]["count"] == 2))
        })
        .unwrap();
    // Two minutes and two verdicts later the store has not grown, but for some Events.
    let grown = testbed.wait_for("the store to be as small", SURELY, || {
        testbed.compact()?;
        Ok(testbed.store_bytes()? < stored + (64 << 10))
    });
    assert!(grown.is_ok(), "{stored} bytes, then {:?}", testbed.store_bytes());
    // A cluster policy needs the same rights for its own kind, and reads namespaces.
    let scope = format!("{{matchLabels: {{kubernetes.io/metadata.name: {shop}}}}}");
    let spec = format!("{{forbidLatestTag: true, namespaceSelector: {scope}}}");
    apply_cluster_policy(&testbed, "strict", &spec);
    wait_for_message(&testbed, &operator, "strict", "no pods to judge in 1 namespace");
    // The pods that a budget selects are asked for, where a policy wants to know.
    let spec = "{forbidBlockedDrain: true}";
    apply_policy(&testbed, &shop, "strict", spec);
    apply_pod(&testbed, &shop, "careful", "nginx:1.27");
    block_drains(&testbed, &shop);
    wait_for_status(&testbed, &operator, strict, |status| {
        status["violationsByCheck"]["drain-blocked"] == 1
    });
    // The labels of workloads are watched, where an exemption selects by them.
    let selector = "selector: {matchLabels: {tier: legacy}}";
    let exemption = format!("{{checks: [latest-tag], reason: none, {selector}}}");
    let spec = format!("{{forbidLatestTag: true, exemptions: [{exemption}]}}");
    apply_policy(&testbed, &shop, "strict", &spec);
    wait_for_status(&testbed, &operator, strict, |status| {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|condition| condition["reason"] == "Unused")
    });
    delete(&testbed, &shop, "dop/strict");
    testbed.kubectl(&["delete", "cdop", "strict"]).unwrap().succeeded().unwrap();
    stop(&operator);
    let rights = testbed.rights(PLATFORM, "policy-operator").unwrap();
    testbed.needs_all_but(&[], &rights).unwrap();
    let user = format!("system:serviceaccount:{PLATFORM}:policy-operator");
    // The Events of cluster policies are in `default`, as those of all objects without namespace.
    let is_elsewhere = |namespace: &str| ![&shop, PLATFORM, "default", ""].contains(&namespace);
    for call in testbed.audit(&user).unwrap() {
        assert!(!is_elsewhere(&call.namespace), "a policy of {shop} must not cause {call:?}");
    }
}
