//! The `MutatingWebhookConfiguration`, which only enforce mode needs.

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, MutatingWebhookConfiguration,
};
use policy_core::api::{FIELD_MANAGER, PATCHED_BY};
use policy_core::installation::{
    MUTATING_WEBHOOK_NAMES, WEBHOOK_CONFIGURATION, WEBHOOK_TIMEOUT_SECONDS,
};

use super::{Admission, no_system_namespace, rule};
use crate::WEBHOOK;
use crate::metadata::cluster_wide;

/// The path of the reviews that the webhook may change.
pub const PATH: &str = "/mutate";

impl Admission {
    /// The mutating configuration: one webhook fills in fields of new pods, the other one lets
    /// workloads go that the operator has patched.
    #[must_use]
    pub fn mutating_configuration(&self) -> MutatingWebhookConfiguration {
        let [pods, workloads] = MUTATING_WEBHOOK_NAMES;
        let pods = self.mutating(pods, ("", &["pods"], &["CREATE"]), Vec::new());
        let kinds: &[&str] = &["deployments", "statefulsets", "daemonsets"];
        let patched = vec![was_patched()];
        let workloads = self.mutating(workloads, ("apps", kinds, &["UPDATE"]), patched);
        MutatingWebhookConfiguration {
            metadata: cluster_wide(WEBHOOK_CONFIGURATION, WEBHOOK.name),
            webhooks: Some(vec![pods, workloads]),
        }
    }

    fn mutating(
        &self,
        name: &str,
        rules: (&str, &[&str], &[&str]),
        mut conditions: Vec<MatchCondition>,
    ) -> MutatingWebhook {
        conditions.insert(0, no_system_namespace());
        MutatingWebhook {
            name: name.to_owned(),
            client_config: self.client_config(PATH),
            rules: Some(vec![rule(rules)]),
            namespace_selector: Some(self.namespaces()),
            match_conditions: Some(conditions),
            // Fail-open: without an answer the object stays as it is.
            failure_policy: Some("Ignore".to_owned()),
            timeout_seconds: Some(WEBHOOK_TIMEOUT_SECONDS.into()),
            side_effects: "None".to_owned(),
            // Another webhook may add a container after this one was called.
            reinvocation_policy: Some("IfNeeded".to_owned()),
            match_policy: Some("Equivalent".to_owned()),
            admission_review_versions: vec!["v1".to_owned()],
            ..MutatingWebhook::default()
        }
    }
}

/// Whether the operator has patched the workload, so that no other workload ever calls the webhook.
/// Both marks are looked for, because each can get lost: `kubectl rollout undo` replaces the
/// annotations of a Deployment, and anybody may clear `managedFields`.
fn was_patched() -> MatchCondition {
    let metadata = "oldObject.metadata";
    let annotated = format!("'{PATCHED_BY}' in {metadata}.?annotations.orValue({{}})");
    let owned = format!(
        "{metadata}.?managedFields.orValue([]).exists(entry, entry.?manager.orValue('') == \
         '{FIELD_MANAGER}')"
    );
    MatchCondition {
        name: "patched-by-the-operator".to_owned(),
        expression: format!("{annotated} || {owned}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::admission::{Admission, Server};

    #[test]
    fn the_configuration_is_exactly_this() {
        let admission = Admission {
            server: Server::installed(),
            authority: None,
            excluded: vec!["sandbox".to_owned()],
            kinds: Vec::new(),
        };
        let found = serde_json::to_value(admission.mutating_configuration()).unwrap();
        let validating = serde_json::to_value(admission.configuration()).unwrap();
        let namespaces = &validating["webhooks"][0]["namespaceSelector"];
        let webhook = |name: &str, rules: Value, conditions: &[Value]| {
            let system = json!({ "name": "no-system-namespace",
                "expression": "!request.namespace.endsWith('-system')" });
            let conditions = [&[system], conditions].concat();
            let service = json!({ "name": "policy-webhook", "namespace": "kube-devops",
                "path": "/mutate", "port": 443 });
            json!({
                "name": name, "clientConfig": { "service": service }, "rules": [rules],
                "namespaceSelector": namespaces, "matchConditions": conditions,
                "failurePolicy": "Ignore", "timeoutSeconds": 5, "sideEffects": "None",
                "matchPolicy": "Equivalent", "reinvocationPolicy": "IfNeeded",
                "admissionReviewVersions": ["v1"],
            })
        };
        let rules = |group: &str, operation: &str, resources: &[&str]| {
            json!({ "apiGroups": [group], "apiVersions": ["v1"], "operations": [operation],
                "resources": resources, "scope": "Namespaced" })
        };
        let pods = rules("", "CREATE", &["pods"]);
        let workloads = rules("apps", "UPDATE", &["deployments", "statefulsets", "daemonsets"]);
        let patched = json!({ "name": "patched-by-the-operator", "expression":
            "'devops.stochastic.io/patched-by' in oldObject.metadata.?annotations.orValue({}) || \
             oldObject.metadata.?managedFields.orValue([]).exists(entry, \
             entry.?manager.orValue('') == 'policy-operator')" });
        assert_eq!(
            found["webhooks"],
            json!([
                webhook("mutate-pods.devops.stochastic.io", pods, &[]),
                webhook("mutate-workloads.devops.stochastic.io", workloads, &[patched]),
            ])
        );
        assert_eq!(found["metadata"], validating["metadata"]);
    }
}
