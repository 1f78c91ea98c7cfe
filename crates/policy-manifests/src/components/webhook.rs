//! The webhook: it looks at policies. What it judges comes to it with each request.

use super::Component;
use crate::admission::service;
use crate::certificate::self_managed;
use crate::{Object, Rule};

/// Judges objects before they are stored.
pub const WEBHOOK: Component = Component {
    name: "policy-webhook",
    cluster: &[
        Rule::new("devops.stochastic.io", &["devopspolicies"], &["list", "watch"]),
        // For `caBundle` alone, which no rule can say: see docs/policy-webhook.md.
        Rule {
            group: "admissionregistration.k8s.io",
            resources: &["validatingwebhookconfigurations"],
            names: &["kube-devops-policy-webhook"],
            verbs: &["get", "patch"],
        },
    ],
    // No right to make Secrets: one that makes them makes tokens of other accounts. So the
    // installation brings this one along, empty. It leads nothing.
    own_namespace: &[Rule {
        group: "",
        resources: &["secrets"],
        names: &[self_managed::SECRET],
        verbs: &["get", "update"],
    }],
    others,
};

/// Where the API server finds it, and where its certificate is kept. Not that it is to be asked:
/// where nobody answers yet, each pod might wait for that.
fn others() -> Vec<Object> {
    vec![service().into(), self_managed::empty_secret().into()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Admission;

    #[test]
    fn the_rules_are_exactly_these() {
        let policies = Rule {
            group: "devops.stochastic.io",
            resources: &["devopspolicies"],
            names: &[],
            verbs: &["list", "watch"],
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
        // The rule is about what `policyctl webhook install-config` applies.
        assert_eq!(configuration.names, [Admission::name()]);
    }

    #[test]
    fn what_the_webhook_fills_in_is_empty() {
        let objects = WEBHOOK.objects();
        let secret = objects.iter().find_map(|object| match object {
            Object::Secret(secret) => Some(serde_json::to_value(secret).unwrap()),
            _ => None,
        });
        // Not even an empty `data`: whoever applies it again would own what is in there.
        let fields: Vec<_> = secret.unwrap().as_object().unwrap().keys().cloned().collect();
        assert_eq!(fields, ["apiVersion", "kind", "metadata", "type"]);
    }
}
