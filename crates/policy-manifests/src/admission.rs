//! The webhook configurations.
//!
//! The API server does not call the webhook for system namespaces, so that they never depend on
//! it: the namespace selector excludes their names, and a match condition the suffix `-system`.

mod mutating;

use std::collections::BTreeSet;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, RuleWithOperations, ServiceReference, ValidatingWebhook,
    ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use policy_core::admission::CONTROLLER_MANAGER;
use policy_core::installation::{
    NAMESPACE, WEBHOOK_CONFIGURATION, WEBHOOK_NAME, WEBHOOK_TIMEOUT_SECONDS,
};
use policy_core::namespaces::{NAME_LABEL, SYSTEM_SUFFIX, unjudged_at_admission};
use policy_core::workload::WorkloadKind;

use crate::WEBHOOK;
use crate::metadata::cluster_wide;

pub use mutating::PATH as MUTATING_PATH;

/// The path of admission reviews.
pub const PATH: &str = "/validate";

/// Deletion is always allowed.
const WRITES: &[&str] = &["CREATE", "UPDATE"];

/// The rules: API group, resources, operations. Status subresources, which kubelets write, are
/// not among them.
pub(crate) const RULES: [(&str, &[&str], &[&str]); 4] = [
    ("", &["pods", "replicationcontrollers"], WRITES),
    ("", &["pods/ephemeralcontainers"], &["UPDATE"]),
    ("apps", &["deployments", "statefulsets", "daemonsets", "replicasets"], WRITES),
    ("batch", &["jobs", "cronjobs"], WRITES),
];

/// Objects that a controller creates from an object that was judged: group, resource, controller.
const CREATED_BY_CONTROLLERS: [(&str, &str, &str); 2] =
    [("apps", "replicasets", "deployment-controller"), ("batch", "jobs", "cronjob-controller")];

/// The address at which the API server calls the webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// Behind a Service of the cluster.
    #[expect(missing_docs, reason = "a Service has a name and a namespace")]
    Service { name: String, namespace: String },
    /// Outside of the cluster: `https`, with the path, without user, query or fragment, as the API
    /// server demands.
    Url(String),
}

impl Server {
    /// Behind the Service of the default installation.
    #[must_use]
    pub fn installed() -> Self {
        Self::Service { name: WEBHOOK.name.to_owned(), namespace: NAMESPACE.to_owned() }
    }
}

/// The contents of the webhook configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The webhook's address.
    pub server: Server,
    /// `caBundle` as PEM; `None` where the webhook or another tool fills it in. Every call fails
    /// until then.
    pub authority: Option<Vec<u8>>,
    /// Excluded namespaces beside those of the system and the platform's own.
    pub excluded: Vec<String>,
    /// Further kinds with a pod template.
    pub kinds: Vec<WorkloadKind>,
}

impl Admission {
    /// The validating configuration, with one webhook in it.
    #[must_use]
    pub fn configuration(&self) -> ValidatingWebhookConfiguration {
        let webhook = ValidatingWebhook {
            name: WEBHOOK_NAME.to_owned(),
            client_config: self.client_config(PATH),
            rules: Some(
                RULES.map(rule).into_iter().chain(self.kinds.iter().map(rule_of)).collect(),
            ),
            namespace_selector: Some(self.namespaces()),
            match_conditions: Some(conditions()),
            // Fail-open: a webhook that does not answer denies nothing.
            failure_policy: Some("Ignore".to_owned()),
            timeout_seconds: Some(WEBHOOK_TIMEOUT_SECONDS.into()),
            side_effects: "None".to_owned(),
            match_policy: Some("Equivalent".to_owned()),
            admission_review_versions: vec!["v1".to_owned()],
            ..ValidatingWebhook::default()
        };
        ValidatingWebhookConfiguration {
            metadata: cluster_wide(WEBHOOK_CONFIGURATION, WEBHOOK.name),
            webhooks: Some(vec![webhook]),
        }
    }

    fn client_config(&self, path: &str) -> WebhookClientConfig {
        let ca_bundle = self.authority.clone().map(ByteString);
        match &self.server {
            Server::Service { name, namespace } => WebhookClientConfig {
                ca_bundle,
                service: Some(ServiceReference {
                    name: name.clone(),
                    namespace: namespace.clone(),
                    path: Some(path.to_owned()),
                    port: Some(WEBHOOK.service_port.into()),
                }),
                url: None,
            },
            Server::Url(url) => {
                WebhookClientConfig { ca_bundle, service: None, url: Some(url.clone()) }
            }
        }
    }

    /// By the label that the API server sets on each namespace, so that no user can exclude a
    /// namespace by a label of his own.
    fn namespaces(&self) -> LabelSelector {
        let mut excluded: BTreeSet<&str> = unjudged_at_admission().collect();
        if let Server::Service { namespace, .. } = &self.server {
            excluded.insert(namespace);
        }
        excluded.extend(self.excluded.iter().map(String::as_str));
        let named = LabelSelectorRequirement {
            key: NAME_LABEL.to_owned(),
            operator: "NotIn".to_owned(),
            values: Some(excluded.into_iter().map(str::to_owned).collect()),
        };
        LabelSelector { match_expressions: Some(vec![named]), match_labels: None }
    }
}

fn rule((group, resources, operations): (&str, &[&str], &[&str])) -> RuleWithOperations {
    let owned = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect());
    RuleWithOperations {
        api_groups: owned(&[group]),
        api_versions: owned(&["v1"]),
        operations: owned(operations),
        resources: owned(resources),
        scope: Some("Namespaced".to_owned()),
    }
}

/// The rule for a kind of which no version is known.
fn rule_of(kind: &WorkloadKind) -> RuleWithOperations {
    RuleWithOperations {
        api_versions: Some(vec!["*".to_owned()]),
        ..rule((&kind.group, &[&kind.resource()], WRITES))
    }
}

/// The match conditions. They use only fields that every request has: with `failurePolicy: Ignore`
/// an expression that fails to evaluate skips the webhook.
fn conditions() -> Vec<MatchCondition> {
    let made = CREATED_BY_CONTROLLERS.map(|(group, resource, controller)| MatchCondition {
        name: format!("no-{resource}-of-the-{controller}"),
        expression: format!(
            "!(request.resource.group == '{group}' && \
             request.resource.resource == '{resource}' && \
             request.userInfo.username in \
             ['system:serviceaccount:kube-system:{controller}', '{CONTROLLER_MANAGER}'])"
        ),
    });
    std::iter::once(no_system_namespace()).chain(made).collect()
}

fn no_system_namespace() -> MatchCondition {
    MatchCondition {
        name: "no-system-namespace".to_owned(),
        expression: format!("!request.namespace.endsWith('{SYSTEM_SUFFIX}')"),
    }
}

#[cfg(test)]
mod tests {
    use policy_core::workload::ObjectKind;
    use serde_json::{Value, json};

    use super::*;

    fn json_of(server: Server, authority: Option<&[u8]>, excluded: &[&str]) -> Value {
        let excluded = excluded.iter().map(|&name| name.to_owned()).collect();
        let authority = authority.map(<[u8]>::to_vec);
        let admission = Admission { server, authority, excluded, kinds: Vec::new() };
        serde_json::to_value(admission.configuration()).unwrap()
    }

    #[test]
    fn the_configuration_is_exactly_this() {
        let found = json_of(Server::installed(), Some(b"-----BEGIN"), &["sandbox", "cert-manager"]);
        let expected = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {
                "name": "kube-devops-policy-webhook",
                "labels": {
                    "app.kubernetes.io/name": "policy-webhook",
                    "app.kubernetes.io/part-of": "kube-devops",
                },
            },
            "webhooks": [{
                "name": "validate.devops.stochastic.io",
                "clientConfig": {
                    "caBundle": "LS0tLS1CRUdJTg==",
                    "service": {
                        "name": "policy-webhook",
                        "namespace": "kube-devops",
                        "path": "/validate",
                        "port": 443,
                    },
                },
                "rules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": ["pods", "replicationcontrollers"],
                        "scope": "Namespaced",
                    },
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["UPDATE"],
                        "resources": ["pods/ephemeralcontainers"],
                        "scope": "Namespaced",
                    },
                    {
                        "apiGroups": ["apps"],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": ["deployments", "statefulsets", "daemonsets", "replicasets"],
                        "scope": "Namespaced",
                    },
                    {
                        "apiGroups": ["batch"],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": ["jobs", "cronjobs"],
                        "scope": "Namespaced",
                    },
                ],
                "namespaceSelector": {
                    "matchExpressions": [{
                        "key": "kubernetes.io/metadata.name",
                        "operator": "NotIn",
                        "values": [
                            "cert-manager",
                            "istio-system",
                            "kube-devops",
                            "kube-node-lease",
                            "kube-public",
                            "kube-system",
                            "sandbox",
                        ],
                    }],
                },
                "matchConditions": [
                    {
                        "name": "no-system-namespace",
                        "expression": "!request.namespace.endsWith('-system')",
                    },
                    {
                        "name": "no-replicasets-of-the-deployment-controller",
                        "expression": "!(request.resource.group == 'apps' && request.resource.resource == 'replicasets' && request.userInfo.username in ['system:serviceaccount:kube-system:deployment-controller', 'system:kube-controller-manager'])",
                    },
                    {
                        "name": "no-jobs-of-the-cronjob-controller",
                        "expression": "!(request.resource.group == 'batch' && request.resource.resource == 'jobs' && request.userInfo.username in ['system:serviceaccount:kube-system:cronjob-controller', 'system:kube-controller-manager'])",
                    },
                ],
                "failurePolicy": "Ignore",
                "timeoutSeconds": 5,
                "sideEffects": "None",
                "matchPolicy": "Equivalent",
                "admissionReviewVersions": ["v1"],
            }],
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn a_server_outside_has_its_url_and_no_service() {
        let url = "https://10.0.0.7:8443/validate";
        let found = json_of(Server::Url(url.to_owned()), None, &[]);
        assert_eq!(found["webhooks"][0]["clientConfig"], json!({ "url": url }));
    }

    #[test]
    fn the_namespace_of_the_webhook_is_excluded() {
        let elsewhere =
            Server::Service { name: "webhook".to_owned(), namespace: "elsewhere".to_owned() };
        let found = json_of(elsewhere, None, &[]);
        let selector = &found["webhooks"][0]["namespaceSelector"]["matchExpressions"][0];
        let excluded = selector["values"].as_array().unwrap();
        assert!(excluded.contains(&json!("elsewhere")) && excluded.contains(&json!(NAMESPACE)));
    }

    #[test]
    fn a_further_kind_has_a_rule_for_all_its_versions() {
        let kinds = vec!["argoproj.io/Rollout".parse().unwrap()];
        let server = Server::installed();
        let admission = Admission { server, authority: None, excluded: Vec::new(), kinds };
        let found = serde_json::to_value(admission.configuration()).unwrap();
        let expected = json!({ "apiGroups": ["argoproj.io"], "apiVersions": ["*"],
            "operations": ["CREATE", "UPDATE"], "resources": ["rollouts"], "scope": "Namespaced" });
        assert_eq!(found["webhooks"][0]["rules"][4], expected);
    }

    #[test]
    fn every_analysed_kind_has_a_rule() {
        let resources: Vec<&str> =
            RULES.iter().flat_map(|(_, resources, _)| *resources).copied().collect();
        for kind in ObjectKind::BUILT_IN {
            let resource = format!("{}s", kind.as_str().to_lowercase());
            assert!(resources.contains(&resource.as_str()), "{resource}");
        }
    }
}
