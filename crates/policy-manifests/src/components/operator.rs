//! The operator: it looks at pods and policies, and writes what it finds beside the policies.

use super::Component;
use crate::Rule;

const GROUP: &str = "devops.stochastic.io";

/// Keeps the status of every policy true.
pub const OPERATOR: Component = Component {
    name: "policy-operator",
    cluster: &[
        Rule::new("", &["pods"], &["list", "watch"]),
        // `patch` is for the finalizer alone.
        Rule::new(GROUP, &["devopspolicies"], &["list", "watch", "patch"]),
        Rule::new(GROUP, &["devopspolicies/status"], &["patch"]),
        Rule::new(GROUP, &["policyauditresults"], &["list", "watch", "create", "delete"]),
        // An Event that comes again is counted up in the one that is there.
        Rule::new("events.k8s.io", &["events"], &["create", "patch"]),
    ],
    own_namespace: &[Rule::create_lease(), Rule::hold_lease(&["policy-operator"])],
    others: Vec::new,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_changes_no_workload_and_no_spec_but_by_its_own_kinds() {
        for rule in OPERATOR.cluster {
            let writes = rule.verbs.iter().any(|verb| !["list", "watch"].contains(verb));
            let is_ours = rule.group == GROUP || rule.group == "events.k8s.io";
            assert!(!writes || is_ours, "{rule:?}");
        }
        assert!(OPERATOR.own_namespace.iter().any(|rule| rule.names == [OPERATOR.name]));
    }
}
