//! A cluster policy judges the namespaces that it selects, and follows their labels.

use std::time::{Duration, Instant};

use e2e::{Parts, Service, Testbed};
use kube::Api;
use kube::api::{Patch, PatchParams};
use policy_core::api::ClusterDevOpsPolicy;
use serde_json::{Value, json};

use super::{
    SURELY, apply_pod, apply_policy, condition, installed, list, patch_status, start,
    wait_for_status,
};
use crate::cli;
use crate::watcher::storm::client;

/// A changed policy or label is effective within that time.
const PROMISE: Duration = Duration::from_secs(1);
/// How often each is measured.
const CHANGES: usize = 20;

pub(super) fn apply_cluster_policy(testbed: &Testbed, name: &str, spec: &str) {
    let policy = format!(
        "{{apiVersion: devops.stochastic.io/v1, kind: ClusterDevOpsPolicy, metadata: {{name: {name}}}, \
         spec: {spec}}}"
    );
    testbed.apply(&policy).unwrap();
}

fn label(testbed: &Testbed, namespace: &str, label: &str) {
    let label = ["label", "--overwrite", "namespace", namespace, label];
    testbed.kubectl(&label).unwrap().succeeded().unwrap();
}

pub(super) fn wait_for_message(
    testbed: &Testbed,
    operator: &Service<'_>,
    name: &str,
    message: &str,
) -> Value {
    wait_for_status(testbed, operator, ("", name), |status| status["message"] == message)
}

#[test]
fn it_judges_the_namespaces_that_it_selects_and_releases_them() {
    let (testbed, kubeconfig) = installed(&Parts::new("cluster-policy").with_controllers());
    let [bank, batch, shop] = ["bank", "batch", "shop"].map(|name| {
        let namespace = testbed.namespace(name).unwrap();
        apply_pod(&testbed, &namespace, "web", "nginx");
        namespace
    });
    label(&testbed, &bank, "tier=web");
    label(&testbed, &shop, "tier=web");
    apply_pod(&testbed, "kube-system", "web", "nginx");
    let spec = "{forbidLatestTag: true, forbidPendingDuration: 45, weights: {latestTag: 40}, \
                enforcementMode: enforce, namespaceSelector: {matchLabels: {tier: web}}}";
    apply_cluster_policy(&testbed, "strict", spec);
    let operator = start(&testbed, "operator", &kubeconfig);

    // The pods of two namespaces count, and a policy of one of them is judged on its own.
    apply_policy(&testbed, &shop, "lenient", "{forbidLatestTag: true, weights: {latestTag: 1}}");
    wait_for_status(&testbed, &operator, (&shop, "lenient"), |status| status["healthScore"] == 99);
    let two = "score 60 (Stable): 2 violations in 2 of 2 pods in 2 namespaces";
    let judged = wait_for_message(&testbed, &operator, "strict", two);
    let expected =
        [&bank, &shop].map(|name| format!("{name}/pod/web: uses :latest image tag (container c)"));
    assert_eq!(judged["status"]["violations"], json!(expected));
    assert_eq!(judged["metadata"]["finalizers"], json!(["devops.stochastic.io/cleanup"]));
    assert_eq!(condition(&judged, "Remediating"), ("False", "ClusterPolicy"));
    let labels = [("namespace", ""), ("policy", "strict")];
    let score = |operator: &Service<'_>| {
        operator.metrics().unwrap().value("devopspolicy_health_score", &labels)
    };
    assert_eq!(score(&operator), Some(60.0));

    // Time alone makes a Pending pod a finding, in each namespace.
    let late = "score 56 (Degraded): 4 violations in 2 of 2 pods in 2 namespaces";
    wait_for_message(&testbed, &operator, "strict", late);
    patch_status(&testbed, &bank, "web", "Running", 0);
    patch_status(&testbed, &shop, "web", "Running", 0);
    wait_for_message(&testbed, &operator, "strict", two);

    // A label, a new namespace, and an exclusion.
    label(&testbed, &batch, "tier=web");
    let three = "score 59 (Degraded): 4 violations in 3 of 3 pods in 3 namespaces";
    wait_for_message(&testbed, &operator, "strict", three);
    label(&testbed, &batch, "tier=batch");
    wait_for_message(&testbed, &operator, "strict", two);
    let excluding = spec
        .replace("namespaceSelector", &format!("excludedNamespaces: [{shop}], namespaceSelector"));
    apply_cluster_policy(&testbed, "strict", &excluding);
    let one = "score 60 (Stable): 1 violation in 1 of 1 pod in 1 namespace";
    wait_for_message(&testbed, &operator, "strict", one);
    testbed.kubectl(&["delete", "namespace", &bank, "--wait=false"]).unwrap().succeeded().unwrap();
    let none = wait_for_message(&testbed, &operator, "strict", "no namespace is selected");
    assert_eq!(none["status"]["healthScore"], 100);

    // An Event and an audit result are where `kubectl describe` and the platform look for them.
    let events = list(&testbed, "default", "events.events.k8s.io");
    let is_ours = |event: &&Value| {
        event["regarding"]["kind"] == "ClusterDevOpsPolicy"
            && event["regarding"]["name"] == "strict"
    };
    assert!(events.iter().any(|event| is_ours(&event)), "{events:#?}");
    let audits = || list(&testbed, "kube-devops", "par");
    testbed.wait_for("an audit result", 3 * SURELY, || Ok(!audits().is_empty())).unwrap();
    let audit = &audits()[0];
    assert_eq!(audit["spec"]["policyName"], "ClusterDevOpsPolicy/strict");
    assert_eq!(audit["metadata"]["ownerReferences"][0]["kind"], "ClusterDevOpsPolicy");

    // With the policy goes everything of it.
    testbed.kubectl(&["delete", "cdop", "strict", "--wait=true"]).unwrap().succeeded().unwrap();
    assert_eq!(score(&operator), None, "its series are gone");
    testbed.wait_for("its audit results to go", SURELY, || Ok(audits().is_empty())).unwrap();
    wait_for_status(&testbed, &operator, (&shop, "lenient"), |status| status["healthScore"] == 99);
}

#[test]
fn without_its_definition_other_policies_are_judged_and_it_is_found_later() {
    let (testbed, kubeconfig) = installed(&Parts::new("no-cluster-policies"));
    let definition = "crd/clusterdevopspolicies.devops.stochastic.io";
    testbed.kubectl(&["delete", definition]).unwrap().succeeded().unwrap();
    let shop = testbed.namespace("shop").unwrap();
    apply_pod(&testbed, &shop, "web", "nginx");
    apply_policy(&testbed, &shop, "strict", "{forbidLatestTag: true}");
    let operator = start(&testbed, "operator", &kubeconfig);
    wait_for_status(&testbed, &operator, (&shop, "strict"), |status| status["healthScore"] == 95);
    let said = || operator.logs().unwrap().matches("does not serve the kind").count();
    assert_eq!(said(), 1);
    cli::expect(&testbed, 0, &["crd", "install"], "");
    apply_cluster_policy(&testbed, "all", "{forbidLatestTag: true, namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: SHOP}}}".replace("SHOP", &shop).as_str());
    let one = "score 95 (Healthy): 1 violation in 1 of 1 pod in 1 namespace";
    wait_for_message(&testbed, &operator, "all", one);
    assert_eq!(said(), 1, "once");
}

/// Waits until the status is as expected, and returns the time since `start`.
async fn effective(
    api: &Api<ClusterDevOpsPolicy>,
    start: Instant,
    expected: impl Fn(&ClusterDevOpsPolicy) -> bool,
) -> Duration {
    while !expected(&api.get_status("strict").await.unwrap()) {
        assert!(start.elapsed() < SURELY, "not within {SURELY:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_policy_or_label_is_effective_within_a_second() {
    let (testbed, kubeconfig) = installed(&Parts::new("cluster-policy-speed"));
    let shop = testbed.namespace("shop").unwrap();
    apply_pod(&testbed, &shop, "web", "nginx");
    apply_cluster_policy(
        &testbed,
        "strict",
        "{forbidLatestTag: true, namespaceSelector: {matchLabels: {tier: web}}}",
    );
    let operator = start(&testbed, "operator", &kubeconfig);
    wait_for_message(&testbed, &operator, "strict", "no namespace is selected");
    let client = client(&testbed).await;
    let api: Api<ClusterDevOpsPolicy> = Api::all(client.clone());
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client);
    let merge = PatchParams::default();
    let pods = |policy: &ClusterDevOpsPolicy| {
        policy.status.as_ref().and_then(|status| status.pods_evaluated).unwrap_or_default()
    };
    let mut labels = Vec::new();
    for number in 0..CHANGES {
        // A policy is reconciled once a second, and one reconcile may come early.
        tokio::time::sleep(PROMISE).await;
        let is_selected = number.is_multiple_of(2);
        let tier = if is_selected { json!("web") } else { Value::Null };
        let patch = json!({ "metadata": { "labels": { "tier": tier } } });
        let start = Instant::now();
        namespaces.patch(&shop, &merge, &Patch::Merge(patch)).await.unwrap();
        let found = |policy: &ClusterDevOpsPolicy| pods(policy) == i64::from(is_selected);
        labels.push(effective(&api, start, found).await);
    }
    let mut specs = Vec::new();
    for number in 0..CHANGES {
        let weight = i32::try_from(number).unwrap() + 1;
        let patch = json!({ "spec": { "weights": { "latestTag": weight } } });
        let start = Instant::now();
        let changed = api.patch("strict", &merge, &Patch::Merge(patch)).await.unwrap();
        let generation = changed.metadata.generation;
        let found = |policy: &ClusterDevOpsPolicy| {
            policy.status.as_ref().and_then(|status| status.observed_generation) == generation
        };
        specs.push(effective(&api, start, found).await);
    }
    for (what, mut times) in [("label", labels), ("policy", specs)] {
        times.sort();
        let longest = times[CHANGES - 1];
        assert!(longest <= PROMISE, "{what}: {times:?}");
    }
}
