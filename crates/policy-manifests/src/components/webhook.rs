//! The webhook: it looks at policies. What it judges comes to it with each request.

use super::Component;
use crate::Rule;

/// Judges objects before they are stored.
pub const WEBHOOK: Component = Component {
    name: "policy-webhook",
    cluster: &[Rule::new("devops.stochastic.io", &["devopspolicies"], &["list", "watch"])],
    // Its certificate comes as files, which the kubelet mounts. It leads nothing.
    own_namespace: &[],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_exactly_these() {
        let policies = Rule {
            group: "devops.stochastic.io",
            resources: &["devopspolicies"],
            names: &[],
            verbs: &["list", "watch"],
        };
        assert_eq!(WEBHOOK.cluster, [policies]);
        assert_eq!(WEBHOOK.own_namespace, []);
    }
}
