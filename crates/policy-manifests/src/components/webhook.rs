//! The webhook reads policies; the objects that it judges are part of each request.

use k8s_openapi::api::core::v1::Secret;
use policy_core::installation::{WEBHOOK_CONFIGURATION, WEBHOOK_SECRET, WEBHOOK_SERVICE};

use super::Component;
use crate::account_limit::{AccountLimit, are_equal};
use crate::metadata::in_namespace;
use crate::run::Port;
use crate::{Object, Rule};

const GROUP: &str = "admissionregistration.k8s.io";
/// The mutating one exists only where enforce mode is wanted.
const CONFIGURATIONS: &[&str] =
    &["validatingwebhookconfigurations", "mutatingwebhookconfigurations"];

const WATCH_POLICIES: Rule =
    Rule::new("devops.stochastic.io", &["devopspolicies", "clusterdevopspolicies"], &["watch"]);
/// For their labels, by which cluster policies select.
const WATCH_NAMESPACES: Rule = Rule::new("", &["namespaces"], &["watch"]);

/// Judges objects at admission.
pub const WEBHOOK: Component = Component {
    name: WEBHOOK_SERVICE,
    port: Port { number: 8443, is_tls: true },
    // The API server's default.
    service_port: 443,
    cluster: &[
        WATCH_POLICIES,
        WATCH_NAMESPACES,
        // Only for `caBundle`; RBAC cannot restrict a rule to a field, so an admission policy does.
        Rule {
            group: GROUP,
            resources: CONFIGURATIONS,
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
    limit: Some(limit),
    others,
};

/// The same with a certificate that somebody else issues, renews and publishes as `caBundle`.
pub(crate) const WEBHOOK_WITH_CERTIFICATE: Component = Component {
    cluster: &[WATCH_POLICIES, WATCH_NAMESPACES],
    own_namespace: &[],
    limit: None,
    others: Vec::new,
    ..WEBHOOK
};

/// The Secret of the certificate.
fn others() -> Vec<Object> {
    vec![empty_secret().into()]
}

/// The webhook's account may change nothing of a configuration but `caBundle`. So a stolen token of
/// the webhook does not make the API server send other objects, or send them to another address.
/// API servers call no webhook for webhook configurations, but they do evaluate admission policies:
/// <https://github.com/kubernetes/kubernetes/blob/v1.37.2/staging/src/k8s.io/apiserver/pkg/admission/plugin/policy/generic/plugin.go>.
fn limit() -> AccountLimit {
    /// All fields of a webhook but `clientConfig.caBundle`.
    const FIELDS: [&str; 13] = [
        "name",
        "clientConfig.?service",
        "clientConfig.?url",
        "?rules",
        "?failurePolicy",
        "?matchPolicy",
        "?namespaceSelector",
        "?objectSelector",
        "?sideEffects",
        "?timeoutSeconds",
        "?admissionReviewVersions",
        "?matchConditions",
        "?reinvocationPolicy",
    ];
    const METADATA: [&str; 4] = [
        "metadata.?labels",
        "metadata.?annotations",
        "metadata.?ownerReferences",
        "metadata.?finalizers",
    ];
    let both = ["object", "oldObject"];
    // `dyn`: only one of the two kinds has a `reinvocationPolicy`.
    let [new, old] = both.map(|object| format!("dyn({object}).?webhooks.orValue([])"));
    let is_known = are_equal(&FIELDS, ["new", "old"]);
    let webhooks =
        format!("{new}.size() == {old}.size() && {new}.all(new, {old}.exists(old, {is_known}))");
    AccountLimit {
        name: WEBHOOK.name,
        component: WEBHOOK.name,
        resources: (GROUP, CONFIGURATIONS),
        rules: vec![
            (webhooks, "the webhook may change nothing of a webhook configuration but caBundle"),
            (
                are_equal(&METADATA, both),
                "the webhook may not change the metadata of a webhook configuration",
            ),
        ],
    }
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
    use crate::Settings;

    #[test]
    fn the_rules_are_exactly_these() {
        let policies = Rule {
            group: "devops.stochastic.io",
            resources: &["devopspolicies", "clusterdevopspolicies"],
            names: &[],
            verbs: &["watch"],
        };
        let configuration = Rule {
            group: "admissionregistration.k8s.io",
            resources: &["validatingwebhookconfigurations", "mutatingwebhookconfigurations"],
            names: &["kube-devops-policy-webhook"],
            verbs: &["get", "patch"],
        };
        let certificate = Rule {
            group: "",
            resources: &["secrets"],
            names: &["policy-webhook-self-managed"],
            verbs: &["get", "update"],
        };
        let namespaces =
            Rule { group: "", resources: &["namespaces"], names: &[], verbs: &["watch"] };
        assert_eq!(WEBHOOK_WITH_CERTIFICATE.cluster, [policies, namespaces]);
        assert_eq!(WEBHOOK.cluster, [policies, namespaces, configuration]);
        assert_eq!(WEBHOOK.own_namespace, [certificate]);
    }

    #[test]
    fn the_secret_has_no_data() {
        let objects = WEBHOOK.run(&Settings::default());
        let secret = objects.iter().find_map(|object| match object {
            Object::Secret(secret) => Some(serde_json::to_value(secret).unwrap()),
            _ => None,
        });
        // Not even an empty `data`: applying it again would take ownership of the webhook's keys.
        let fields: Vec<_> = secret.unwrap().as_object().unwrap().keys().cloned().collect();
        assert_eq!(fields, ["apiVersion", "kind", "metadata", "type"]);
    }
}
