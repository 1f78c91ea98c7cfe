//! The components of the platform. A new one is a file here and an entry of [`COMPONENTS`].

mod open_reports;
mod operator;
mod remediation;
mod watcher;
mod webhook;

pub(crate) use open_reports::ENABLED as OPEN_REPORTS;
pub use open_reports::open_reports;
pub use operator::OPERATOR;
pub use remediation::remediation;
pub use watcher::WATCHER;
pub use webhook::WEBHOOK;
pub(crate) use webhook::WEBHOOK_WITH_CERTIFICATE;

use crate::account_limit::AccountLimit;
use crate::run::Port;
use crate::{Object, Rule};

/// All components, in the order of installation.
pub const COMPONENTS: &[Component] = &[WATCHER, OPERATOR, WEBHOOK];

/// One service of the platform and its rights.
///
/// Its `ServiceAccount`, its workload and its Lease have its name.
#[derive(Debug, Clone, Copy)]
pub struct Component {
    /// Such as `policy-watcher`.
    pub name: &'static str,
    /// The port of its container.
    pub(crate) port: Port,
    /// The port of its Service.
    pub(crate) service_port: u16,
    /// Rights in every namespace. A stolen token grants all of them.
    pub(crate) cluster: &'static [Rule],
    /// Rights in the platform's own namespace.
    pub(crate) own_namespace: &'static [Rule],
    /// What its account may change, where RBAC cannot say it.
    pub(crate) limit: Option<fn() -> AccountLimit>,
    /// Further objects that it needs.
    pub(crate) others: fn() -> Vec<Object>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rule_has_a_wildcard() {
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
                // RBAC cannot restrict these verbs by name: such a rule would grant nothing
                // (https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources).
                let unnamed = ["create", "list", "watch", "deletecollection"];
                let is_named = !rule.names.is_empty();
                assert!(!is_named || !rule.verbs.iter().any(|v| unnamed.contains(v)), "{rule:?}");
            }
        }
    }

    #[test]
    fn no_component_may_escalate_or_read_all_secrets() {
        let sensitive = ["secrets", "roles", "clusterroles", "rolebindings", "clusterrolebindings"];
        for component in COMPONENTS {
            for rule in component.cluster {
                assert!(!rule.resources.iter().any(|r| sensitive.contains(r)), "{rule:?}");
                assert!(
                    !["escalate", "bind", "impersonate"].iter().any(|v| rule.verbs.contains(v))
                );
            }
        }
    }
}
