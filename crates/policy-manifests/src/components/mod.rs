//! What the platform consists of. A new component is a file here and a line in [`COMPONENTS`].

mod operator;
mod watcher;
mod webhook;

pub use operator::OPERATOR;
pub use watcher::WATCHER;
pub use webhook::WEBHOOK;

use crate::{Object, Rule};

/// All components, in the order in which they are installed.
pub const COMPONENTS: &[Component] = &[WATCHER, OPERATOR, WEBHOOK];

/// One service of the platform, and all that it may do in a cluster.
///
/// The name is that of its account, of its workload, and of the Lease it leads by.
#[derive(Debug, Clone, Copy)]
pub struct Component {
    pub(crate) name: &'static str,
    /// Rights in every namespace. Each is one that a stolen token has as well.
    pub(crate) cluster: &'static [Rule],
    /// Rights in the platform's own namespace.
    pub(crate) own_namespace: &'static [Rule],
    /// What it needs beside its account and its rights.
    pub(crate) others: fn() -> Vec<Object>,
}

impl Component {
    /// Such as `policy-watcher`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Rights in every namespace.
    #[must_use]
    pub fn cluster_rules(&self) -> &'static [Rule] {
        self.cluster
    }

    /// Rights in the platform's own namespace, beside those in every one.
    #[must_use]
    pub fn own_namespace_rules(&self) -> &'static [Rule] {
        self.own_namespace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_right_is_spelled_out() {
        for component in COMPONENTS {
            for rule in component.cluster.iter().chain(component.own_namespace) {
                let words = [rule.resources, rule.names, rule.verbs].concat();
                let is_plain = |word: &&str| {
                    !word.is_empty()
                        && word.bytes().all(|b| b.is_ascii_lowercase() || b"-/".contains(&b))
                };
                assert!(words.iter().all(is_plain), "{}: {rule:?}", component.name);
                assert!(!rule.group.contains('*'), "{}: {rule:?}", component.name);
                assert!(!rule.resources.is_empty() && !rule.verbs.is_empty(), "{rule:?}");
                // RBAC cannot hold these to a name: such a rule would grant nothing.
                let unnamed = ["create", "list", "watch", "deletecollection"];
                let is_named = !rule.names.is_empty();
                assert!(!is_named || !rule.verbs.iter().any(|v| unnamed.contains(v)), "{rule:?}");
            }
        }
    }

    #[test]
    fn nobody_may_raise_rights_or_read_secrets_of_all() {
        let grave = ["secrets", "roles", "clusterroles", "rolebindings", "clusterrolebindings"];
        for component in COMPONENTS {
            for rule in component.cluster {
                assert!(!rule.resources.iter().any(|r| grave.contains(r)), "{rule:?}");
                assert!(
                    !["escalate", "bind", "impersonate"].iter().any(|v| rule.verbs.contains(v))
                );
            }
        }
    }
}
