//! What metrics-server and the VPA would say, by custom resources in their place.

use e2e::Testbed;
use serde_json::{Value, json};

/// Serves the resources of `metrics.k8s.io` and of the VPA.
pub(crate) fn serve(testbed: &Testbed) {
    let definitions = [
        definition("metrics.k8s.io", "v1beta1", "pods", "PodMetrics"),
        definition("autoscaling.k8s.io", "v1", "verticalpodautoscalers", "VerticalPodAutoscaler"),
    ];
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": definitions });
    testbed.apply_definitions(&list.to_string()).unwrap();
}

/// A resource of any content.
fn definition(group: &str, version: &str, plural: &str, kind: &str) -> Value {
    let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.{group}"),
            // Without it the API server refuses a group that ends with k8s.io
            // (<https://github.com/kubernetes/enhancements/pull/1111>).
            "annotations": { "api-approved.kubernetes.io": "unapproved, for tests" },
        },
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase() },
            "versions": [{
                "name": version, "served": true, "storage": true,
                "schema": { "openAPIV3Schema": schema },
            }],
        },
    })
}

/// Lets every container of the pods that are in a namespace now use that much memory.
pub(crate) fn report(testbed: &Testbed, namespace: &str, memory: &str) {
    let metrics: Vec<Value> = super::workloads::pods(testbed, namespace)
        .iter()
        .map(|pod| {
            let lists = ["containers", "initContainers"].into_iter();
            let containers = lists.filter_map(|list| pod["spec"][list].as_array()).flatten();
            // Init containers have ended, but for sidecars.
            let is_running = |one: &&Value| {
                one["restartPolicy"] == "Always"
                    || !pod["spec"]["initContainers"]
                        .as_array()
                        .is_some_and(|all| all.contains(one))
            };
            let containers: Vec<Value> = containers
                .filter(is_running)
                .map(|container| {
                    json!({ "name": container["name"], "usage": { "cpu": "1m", "memory": memory } })
                })
                .collect();
            json!({
                "apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics",
                "metadata": { "namespace": namespace, "name": pod["metadata"]["name"] },
                "timestamp": "2026-01-01T00:00:00Z", "window": "30s", "containers": containers,
            })
        })
        .collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": metrics });
    testbed.apply(&list.to_string()).unwrap();
}
