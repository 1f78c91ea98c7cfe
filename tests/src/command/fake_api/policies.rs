//! The content of a policy in the API server.

use serde_json::{Value, json};

/// All checks, with a limit that failing pods exceed. An image that is not pinned is denied.
pub(in crate::command) fn spec() -> Value {
    json!({
        "forbidLatestTag": true, "requireLivenessProbe": true, "requireReadinessProbe": true,
        "requireResources": true, "maxRestartCount": 3, "forbidPendingDuration": 300,
        "severityOverrides": { "latestTag": "critical", "highRestarts": "high" },
    })
}

pub(super) fn policy(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
        "metadata": { "name": name, "namespace": namespace, "uid": format!("5f0c9a3e-{namespace}-{name}"),
            "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [managed("kubectl", "f:spec"), managed("policy-operator", "f:status")] },
        "spec": spec(),
    })
}

fn managed(manager: &str, part: &str) -> Value {
    let fields: serde_json::Map<String, Value> =
        (0..20).map(|n| (format!("f:field{n}"), json!({}))).collect();
    json!({ "manager": manager, "operation": "Apply", "apiVersion": "devops.stochastic.io/v1",
        "time": "2026-01-01T00:00:05Z", "fieldsType": "FieldsV1", "fieldsV1": { part: fields } })
}
