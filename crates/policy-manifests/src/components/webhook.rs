//! The webhook reads policies; the objects that it judges are part of each request.

use k8s_openapi::api::core::v1::Secret;
use policy_core::installation::{WEBHOOK_CONFIGURATION, WEBHOOK_SECRET, WEBHOOK_SERVICE};

use super::Component;
use crate::admission::service;
use crate::metadata::in_namespace;
use crate::{Object, Rule};

/// Judges objects at admission.
pub const WEBHOOK: Component = Component {
    name: WEBHOOK_SERVICE,
    cluster: &[
        Rule::new("devops.stochastic.io", &["devopspolicies"], &["watch"]),
        // Only for `caBundle`; RBAC cannot restrict a rule to a field: see docs/policy-webhook.md.
        Rule {
            group: "admissionregistration.k8s.io",
            resources: &["validatingwebhookconfigurations"],
            names: &[WEBHOOK_CONFIGURATION],
            verbs: &["get", "patch"],
        },
    ],
    // No right to create Secrets: it would allow to create tokens of other ServiceAccounts
    // (https://kubernetes.io/docs/concepts/security/rbac-good-practices/#listing-secrets). So the
    // installation creates this Secret, empty. The webhook needs no leader election.
    own_namespace: &[Rule {
        group: "",
        resources: &["secrets"],
        names: &[WEBHOOK_SECRET],
        verbs: &["get", "update"],
    }],
    others,
};

/// The Service that the API server calls, and the Secret of the certificate. Not the webhook
/// configuration: it is to be applied only once a webhook answers, as each request could wait for
/// the timeout until then.
fn others() -> Vec<Object> {
    vec![service().into(), empty_secret().into()]
}

/// A Secret without the field `data`, so that applying the installation again leaves alone what the
/// webhook stored there.
fn empty_secret() -> Secret {
    let mut metadata = in_namespace(WEBHOOK.name);
    metadata.name = Some(WEBHOOK_SECRET.to_owned());
    Secret { metadata, type_: Some("Opaque".to_owned()), ..Secret::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_exactly_these() {
        let policies = Rule {
            group: "devops.stochastic.io",
            resources: &["devopspolicies"],
            names: &[],
            verbs: &["watch"],
        };
        let configuration = Rule {
            group: "admissionregistration.k8s.io",
            resources: &["validatingwebhookconfigurations"],
            names: &["kube-devops-policy-webhook"],
            verbs: &["get", "patch"],
        };
        let certificate = Rule {
            group: "",
            resources: &["secrets"],
            names: &["policy-webhook-self-managed"],
            verbs: &["get", "update"],
        };
        assert_eq!(WEBHOOK.cluster, [policies, configuration]);
        assert_eq!(WEBHOOK.own_namespace, [certificate]);
    }

    #[test]
    fn the_secret_has_no_data() {
        let objects = WEBHOOK.objects();
        let secret = objects.iter().find_map(|object| match object {
            Object::Secret(secret) => Some(serde_json::to_value(secret).unwrap()),
            _ => None,
        });
        // Not even an empty `data`: applying it again would take ownership of the webhook's keys.
        let fields: Vec<_> = secret.unwrap().as_object().unwrap().keys().cloned().collect();
        assert_eq!(fields, ["apiVersion", "kind", "metadata", "type"]);
    }
}
