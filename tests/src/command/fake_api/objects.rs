//! The content of a namespace and of a policy in the API server.

use serde_json::{Value, json};

const API: &str = "devops.stochastic.io/v1";

/// With labels as those of a platform that makes namespaces for its teams.
pub(super) fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": name, "uid": format!("2b7e1516-{name}"),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": { "kubernetes.io/metadata.name": name, "example.com/team": name,
                "pod-security.kubernetes.io/enforce": "baseline" },
            "managedFields": [managed("kubectl", "v1", "f:metadata")] },
        "spec": { "finalizers": ["kubernetes"] }, "status": { "phase": "Active" },
    })
}

/// All checks, with a limit that failing pods exceed. An image that is not pinned is denied.
pub(in crate::command) fn policy_spec() -> Value {
    json!({
        "forbidLatestTag": true, "requireLivenessProbe": true, "requireReadinessProbe": true,
        "requireResources": true, "maxRestartCount": 3, "forbidPendingDuration": 300,
        "severityOverrides": { "latestTag": "critical", "highRestarts": "high" },
    })
}

pub(super) fn policy(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": API, "kind": "DevOpsPolicy",
        "metadata": { "name": name, "namespace": namespace, "uid": format!("5f0c9a3e-{namespace}-{name}"),
            "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [managed("kubectl", API, "f:spec"), managed("policy-operator", API, "f:status")] },
        "spec": policy_spec(),
    })
}

fn managed(manager: &str, api: &str, part: &str) -> Value {
    let fields: serde_json::Map<String, Value> =
        (0..20).map(|n| (format!("f:field{n}"), json!({}))).collect();
    json!({ "manager": manager, "operation": "Apply", "apiVersion": api,
        "time": "2026-01-01T00:00:05Z", "fieldsType": "FieldsV1", "fieldsV1": { part: fields } })
}
