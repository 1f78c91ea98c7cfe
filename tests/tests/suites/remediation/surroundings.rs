//! What a namespace has beside a workload: limits, quotas and autoscalers.

use std::thread;

use e2e::Owner;
use serde_json::{Value, json};

use super::POLICY;
use super::enforced::Enforced;
use super::usage;
use super::workloads::{container, install, list, read, text, wait_until_rolled_out, workload};

/// A policy that fills in resources and nothing else.
const RESOURCES: &str = "{enforcementMode: enforce, requireResources: true, \
    defaultResources: {cpuRequest: 100m, memoryRequest: 64Mi, memoryLimit: 256Mi}}";

/// A namespace with the Deployment `web`, which is rolled out.
fn namespace_with(enforced: &Enforced, name: &str, special: impl FnOnce(&mut Value)) -> String {
    let testbed = enforced.testbed();
    let namespace = testbed.namespace(name).unwrap();
    let mut web = workload("Deployment", &namespace, "web");
    special(&mut web);
    install(testbed, Owner::KubectlClientSide, &web);
    usage::report(testbed, &namespace, "100Mi");
    namespace
}

fn add(enforced: &Enforced, namespace: &str, mut object: Value) {
    object["metadata"] = json!({ "name": "it", "namespace": namespace });
    enforced.testbed().apply(&object.to_string()).unwrap();
}

fn limit_range(type_: &str, max: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "LimitRange",
        "spec": { "limits": [{ "type": type_, "max": max }] } })
}

fn horizontal(resource: &str) -> Value {
    let target = json!({ "type": "Utilization", "averageUtilization": 50 });
    json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "spec": {
        "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
        "minReplicas": 2, "maxReplicas": 4,
        "metrics": [{ "type": "Resource", "resource": { "name": resource, "target": target } }] } })
}

fn vertical() -> Value {
    json!({ "apiVersion": "autoscaling.k8s.io/v1", "kind": "VerticalPodAutoscaler", "spec": {
        "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" } } })
}

#[test]
fn what_a_namespace_refuses_or_an_autoscaler_computes_with_is_withheld() {
    let enforced = Enforced::shared();
    let both = limit_range("Container", &json!({ "cpu": "50m", "memory": "32Mi" }));
    let memory = |type_: &str| limit_range(type_, &json!({ "memory": "32Mi" }));
    let given = "LimitRangeDefault";
    // What there is, the reason, what the message says, and whether cpu and memory are filled in.
    let cases: [(&str, Value, &str, &str, [bool; 2]); 6] = [
        // The API server makes a maximum the default of new pods.
        ("limited", both, given, "LimitRange it gives it", [false, false]),
        ("limited-memory", memory("Container"), given, "LimitRange it gives it", [true, false]),
        ("limited-pod", memory("Pod"), "LimitRange", "LimitRange it refuses", [true, false]),
        ("hpa-cpu", horizontal("cpu"), "Autoscaler", "HorizontalPodAutoscaler it", [false, true]),
        ("hpa-memory", horizontal("memory"), "Autoscaler", "its memory", [true, false]),
        ("vpa", vertical(), "Autoscaler", "VerticalPodAutoscaler it", [false, false]),
    ];
    thread::scope(|scope| {
        for (name, object, reason, named, filled_in) in cases {
            scope.spawn(move || {
                let namespace = namespace_with(enforced, name, |_| {});
                add(enforced, &namespace, object);
                enforced.apply_policy(&namespace, RESOURCES);
                is_withheld(enforced, &namespace, (reason, named), filled_in);
            });
        }
    });
}

fn is_withheld(
    enforced: &Enforced,
    namespace: &str,
    (reason, named): (&str, &str),
    filled_in: [bool; 2],
) {
    let label = "Deployment/web";
    let is_patched = filled_in.contains(&true);
    enforced.wait_until(namespace, "web to be decided on", || {
        if is_patched {
            enforced.is_patched(namespace, label)
        } else {
            enforced.state(namespace, label) == "Proposed"
        }
    });
    let live = read(enforced.testbed(), &workload("Deployment", namespace, "web"));
    let requests = &live["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"];
    let found = ["cpu", "memory"].map(|resource| requests[resource].is_string());
    assert_eq!(found, filled_in, "{namespace}: {live:#}");
    let entry = enforced.entry(namespace, label);
    assert_eq!(entry["reason"], reason, "{entry:#}");
    assert!(text(&entry["message"]).contains(named), "{entry:#}");
    let writes = enforced.writes(namespace, "web");
    assert_eq!(writes.len(), if is_patched { 2 } else { 0 }, "{namespace}: {writes:?}");
}

#[test]
fn a_patch_is_taken_back_where_its_pods_are_refused() {
    let enforced = Enforced::shared();
    thread::scope(|scope| {
        scope.spawn(|| {
            // The pod that a rollout has in addition is one too many.
            let namespace = namespace_with(enforced, "quota", |_| {});
            let quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota",
                "spec": { "hard": { "pods": "2" } } });
            add(enforced, &namespace, quota);
            enforced.apply_policy(&namespace, POLICY);
            is_taken_back(enforced, &namespace, "exceeded quota");
        });
        scope.spawn(|| {
            // One new pod is there before the limit is.
            let namespace = namespace_with(enforced, "limit-later", |web| {
                web["spec"]["minReadySeconds"] = json!(20);
            });
            enforced.apply_policy(&namespace, POLICY);
            enforced.wait_until(&namespace, "web to be patched", || {
                enforced.is_patched(&namespace, "Deployment/web")
            });
            let limit = limit_range("Container", &json!({ "cpu": "50m" }));
            add(enforced, &namespace, limit);
            is_taken_back(enforced, &namespace, "cpu limit of 50m");
        });
    });
}

#[test]
fn the_containers_of_a_pod_count_together_for_a_limit_of_pods() {
    let enforced = Enforced::shared();
    let namespace = namespace_with(enforced, "limit-pod", |web| {
        let mut second = container(web).clone();
        second["name"] = json!("second");
        let containers = &mut web["spec"]["template"]["spec"]["containers"];
        containers.as_array_mut().unwrap().push(second);
    });
    add(enforced, &namespace, limit_range("Pod", &json!({ "cpu": "150m" })));
    enforced.apply_policy(&namespace, &RESOURCES.replace("100m", "100m, cpuLimit: 100m"));
    let label = "Deployment/web";
    enforced.wait_until(&namespace, "web to be patched", || enforced.is_patched(&namespace, label));
    let web = workload("Deployment", &namespace, "web");
    let live = read(enforced.testbed(), &web);
    let containers = &live["spec"]["template"]["spec"]["containers"];
    let requests = [0, 1].map(|index| &containers[index]["resources"]["requests"]["cpu"]);
    assert_eq!(requests, [&json!("100m"), &Value::Null], "{live:#}");
    let entry = enforced.entry(&namespace, label);
    let refused = "second: requests.cpu is not filled in: the LimitRange it refuses the pod";
    assert!(text(&entry["message"]).contains(refused), "{entry:#}");
    wait_until_rolled_out(enforced.testbed(), &web);
}

/// Back to the template before, with the cause in status and Event.
fn is_taken_back(enforced: &Enforced, namespace: &str, named: &str) {
    let (testbed, label) = (enforced.testbed(), "Deployment/web");
    let web = workload("Deployment", namespace, "web");
    enforced.wait_until(namespace, "web to be taken back", || {
        enforced.state(namespace, label) == "Reverted"
    });
    let entry = enforced.entry(namespace, label);
    assert_eq!(entry["reason"], "ReplicaFailure", "{entry:#}");
    assert!(text(&entry["message"]).contains(named), "{entry:#}");
    let tells = |event: &Value| {
        event["reason"] == "RemediationReverted" && text(&event["note"]).contains(named)
    };
    enforced.wait_until(namespace, "the Event", || {
        list(testbed, namespace, "events.events.k8s.io").iter().any(tells)
    });
    wait_until_rolled_out(testbed, &web);
    let live = read(testbed, &web);
    let first = &live["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&first["resources"], &first["livenessProbe"]), (&json!({}), &Value::Null));
    assert_eq!(enforced.writes(namespace, "web"), ["patch dry 200", "patch 200", "patch 200"]);
}
