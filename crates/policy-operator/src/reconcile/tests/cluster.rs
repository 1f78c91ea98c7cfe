//! A cluster policy.

use policy_core::view::NamespaceView;

use super::*;
use crate::cluster::NamespaceSink;

const SPEC: &str = r#"{"forbidLatestTag": true, "weights": {"latestTag": 40},
    "namespaceSelector": {"matchLabels": {"tier": "web"}}}"#;

fn key() -> PolicyKey {
    PolicyKey::new("", "strict")
}

fn cluster_policy(spec: &str) -> Value {
    json!({
        "apiVersion": "devops.stochastic.io/v1", "kind": "ClusterDevOpsPolicy",
        "metadata": { "name": "strict", "uid": "u-1", "generation": 1, "resourceVersion": "0",
            "finalizers": [FINALIZER] },
        "spec": serde_json::from_str::<Value>(spec).unwrap(),
    })
}

/// A world with that policy, the selected namespaces bank and shop, and others that are not. Each
/// has a pod whose image is not pinned.
fn world(policy: Value) -> (World, NamespaceSink) {
    let mut world = World::with(policy);
    let mut namespaces = world.reconciler.namespaces.sink();
    for (namespace, tier) in
        [("bank", "web"), ("batch", "batch"), ("kube-system", "web"), ("shop", "web")]
    {
        namespaces.applied(labelled(namespace, tier));
        pod(&mut world, namespace, "nginx");
    }
    (world, namespaces)
}

fn labelled(namespace: &str, tier: &str) -> NamespaceView {
    let metadata = json!({ "name": namespace, "labels": { "tier": tier } });
    serde_json::from_value(json!({ "metadata": metadata })).unwrap()
}

fn pod(world: &mut World, namespace: &str, image: &str) {
    let pod = json!({
        "metadata": { "namespace": namespace, "name": "web" },
        "spec": { "containers": [{ "name": "c", "image": image }] },
        "status": { "phase": "Running" },
    });
    world.pods.applied(serde_json::from_value(pod).unwrap());
}

fn message(world: &World) -> Value {
    world.policy()["status"]["message"].clone()
}

/// The conditions that are not of health, with their reasons.
fn reason(world: &World, condition: &str) -> Value {
    let policy = world.policy();
    let conditions = policy["status"]["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|found| found["type"] == condition);
    found.map_or(Value::Null, |found| json!([found["status"], found["reason"]]))
}

#[tokio::test(start_paused = true)]
async fn it_has_a_status_events_and_audit_results_as_any_policy() {
    let (mut world, _) = world(cluster_policy(SPEC));
    let writes = world.run(2 * MINUTE).await;
    assert_eq!(count("status", &writes), 1, "{writes:?}");
    let status = &world.policy()["status"];
    assert_eq!(status["message"], "score 60 (Stable): 2 violations in 2 of 2 pods in 2 namespaces");
    let violations = &status["violations"];
    assert!(violations[0].as_str().unwrap().starts_with("bank/pod/web: uses :latest"), "{status}");
    assert!(violations[1].as_str().unwrap().starts_with("shop/pod/web: uses :latest"), "{status}");
    assert_eq!(status["violationsByCheck"]["latest-tag"], 2);
    assert_eq!(reason(&world, "Ready"), json!(["True", "Judged"]));
    let sent = world.server.sent();
    let body = |path: &str| {
        let found = sent.iter().find(|(at, _)| at == path);
        found.unwrap_or_else(|| panic!("{path}: {sent:#?}")).1.clone()
    };
    let path = "/apis/devops.stochastic.io/v1/clusterdevopspolicies/strict/status";
    assert_eq!(body(path)["kind"], "ClusterDevOpsPolicy");
    let event = body("/apis/events.k8s.io/v1/namespaces/default/events");
    assert_eq!(event["regarding"]["kind"], "ClusterDevOpsPolicy");
    assert_eq!(event["metadata"]["namespace"], "default");
    let platform = "/apis/devops.stochastic.io/v1/namespaces/kube-devops/policyauditresults";
    let audit = body(platform);
    let owner = &audit["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["name"]), (&json!("ClusterDevOpsPolicy"), &json!("strict")));
    assert_eq!(audit["spec"]["policyName"], "ClusterDevOpsPolicy/strict");
    assert_eq!(audit["spec"]["violations"][1]["namespace"], "shop");
    let gauges = world.reconciler.policies.gauges();
    assert_eq!((&gauges[0].0, gauges[0].1.score.value()), (&key(), 60));
}

#[tokio::test(start_paused = true)]
async fn a_changed_label_pod_or_spec_is_effective_within_a_second() {
    let (mut world, mut namespaces) = world(cluster_policy(SPEC));
    world.run(SECOND).await;
    namespaces.applied(labelled("batch", "web"));
    world.run(SECOND).await;
    assert_eq!(message(&world), "score 60 (Stable): 3 violations in 3 of 3 pods in 3 namespaces");
    pod(&mut world, "batch", "nginx:1");
    world.run(SECOND + SECOND / 10).await;
    assert_eq!(message(&world), "score 74 (Stable): 2 violations in 2 of 3 pods in 3 namespaces");
    namespaces.applied(labelled("shop", "batch"));
    namespaces.deleted("", "bank");
    world.run(SECOND).await;
    assert_eq!(message(&world), "score 100 (Healthy): 0 violations in 0 of 1 pod in 1 namespace");
    world.change_policy(|policy| {
        policy["metadata"]["generation"] = json!(2);
        policy["spec"]["namespaceSelector"] = json!({ "matchLabels": { "tier": "none" } });
    });
    world.run(SECOND / 100).await;
    assert_eq!(message(&world), "no namespace is selected");
    world.change_policy(|policy| {
        policy["metadata"]["generation"] = json!(3);
        policy["spec"]["namespaceSelector"] = json!({});
        policy["spec"]["excludedNamespaces"] = json!(["batch"]);
    });
    world.run(SECOND / 100).await;
    assert_eq!(message(&world), "score 60 (Stable): 1 violation in 1 of 1 pod in 1 namespace");
}

#[tokio::test(start_paused = true)]
async fn what_changes_elsewhere_is_not_written() {
    let (mut world, mut namespaces) = world(cluster_policy(SPEC));
    world.run(3 * MINUTE).await;
    pod(&mut world, "batch", "nginx:1");
    pod(&mut world, "unknown", "nginx");
    namespaces.applied(labelled("new", "batch"));
    assert_eq!(world.run(2 * SECOND).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn it_is_not_judged_while_a_list_of_pods_is_being_read() {
    let (mut world, _) = world(cluster_policy(SPEC));
    world.run(2 * SECOND).await;
    world.pods.list_begins();
    pod(&mut world, "shop", "nginx:1");
    world.run(5 * SECOND).await;
    let before = "score 60 (Stable): 2 violations in 2 of 2 pods in 2 namespaces";
    assert_eq!(message(&world), before);
    world.pods.list_completes();
    world.run(SECOND / 10).await;
    let after = "score 100 (Healthy): 0 violations in 0 of 1 pod in 2 namespaces";
    assert_eq!(message(&world), after);
}

#[tokio::test(start_paused = true)]
async fn its_deletion_waits_for_the_operator_and_for_nothing_else() {
    let mut policy = cluster_policy(SPEC);
    policy["metadata"]["finalizers"] = json!([]);
    let (mut world, _) = world(policy);
    let writes = world.run(SECOND).await;
    assert_eq!(&writes[..2], ["PATCH policy", "PATCH status"]);
    assert_eq!(world.policy()["metadata"]["finalizers"], json!([FINALIZER]));
    let now = (world.reconciler.now)().to_string();
    world.change_policy(|policy| policy["metadata"]["deletionTimestamp"] = json!(now));
    assert_eq!(world.run(SECOND).await, ["PATCH policy"]);
    assert_eq!(world.policy()["metadata"]["finalizers"], json!([]));
    assert!(world.reconciler.policies.gauges().is_empty());
    let (_, state) = world.reconciler.policies.get(&key()).unwrap();
    assert!(state.lock().await.cluster.is_none(), "its namespaces are forgotten");
}

#[tokio::test(start_paused = true)]
async fn in_enforce_mode_it_says_that_it_changes_no_workload() {
    let spec = r#"{"enforcementMode": "enforce", "requireReadinessProbe": true,
        "defaultProbe": {"tcpPort": 8080}}"#;
    let (mut world, _) = world(cluster_policy(spec));
    let writes = world.run(5 * SECOND).await;
    assert_eq!(writes, ["PATCH status", "POST events"]);
    assert_eq!(reason(&world, "Remediating"), json!(["False", "ClusterPolicy"]));
    assert!(world.reconciler.policies.remediating().is_empty(), "it raises no alert");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_invalid_says_so() {
    let (mut world, _) = world(cluster_policy(r#"{"priority": 5000}"#));
    world.run(SECOND).await;
    assert_eq!(reason(&world, "Ready"), json!(["False", "Invalid"]));
    assert_eq!(message(&world), "spec.priority: must be -1000 to 1000, not 5000");
}
