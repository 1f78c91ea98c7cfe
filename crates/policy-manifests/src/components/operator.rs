//! The operator reads pods and policies; it writes policy status, audit results and Events.

use super::Component;
use crate::Rule;

const GROUP: &str = "devops.stochastic.io";

/// Evaluates every policy and writes its status.
pub const OPERATOR: Component = Component {
    name: "policy-operator",
    cluster: &[
        Rule::new("", &["pods"], &["watch"]),
        // `patch` is only for the finalizer.
        Rule::new(GROUP, &["devopspolicies"], &["watch", "patch"]),
        Rule::new(GROUP, &["devopspolicies/status"], &["patch"]),
        Rule::new(GROUP, &["policyauditresults"], &["watch", "create", "delete"]),
        // `patch` raises the count of a repeated Event.
        Rule::new("events.k8s.io", &["events"], &["create", "patch"]),
    ],
    own_namespace: &[Rule::create_lease(), Rule::hold_lease(&["policy-operator"])],
    others: Vec::new,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_writes_only_its_own_kinds_and_events() {
        for rule in OPERATOR.cluster {
            let writes = rule.verbs.iter().any(|verb| *verb != "watch");
            let is_ours = rule.group == GROUP || rule.group == "events.k8s.io";
            assert!(!writes || is_ours, "{rule:?}");
        }
        assert!(OPERATOR.own_namespace.iter().any(|rule| rule.names == [OPERATOR.name]));
    }
}
