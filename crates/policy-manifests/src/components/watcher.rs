//! The watcher reads pods; it writes only its Lease.

use super::Component;
use crate::Rule;
use crate::run::Port;

/// Scores pods as they change.
pub const WATCHER: Component = Component {
    name: "policy-watcher",
    port: Port { number: 8080, is_tls: false },
    service_port: 8080,
    // A streamed list is a watch, so nothing needs `get` or `list` (KEP-3157).
    cluster: &[Rule::new("", &["pods"], &["watch"])],
    own_namespace: &[Rule::create_lease(), Rule::hold_lease(&["policy-watcher"])],
    limit: None,
    others: Vec::new,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_exactly_these() {
        let pods = Rule { group: "", resources: &["pods"], names: &[], verbs: &["watch"] };
        let lease = Rule {
            group: "coordination.k8s.io",
            resources: &["leases"],
            names: &["policy-watcher"],
            verbs: &["get", "update"],
        };
        let create = Rule { names: &[], verbs: &["create"], ..lease };
        assert_eq!(WATCHER.cluster, [pods]);
        assert_eq!(WATCHER.own_namespace, [create, lease]);
        // The Lease of the leader election has the component's name.
        assert_eq!(lease.names, [WATCHER.name]);
    }
}
