//! Namespaces that are never scored, enforced or denied.

use std::collections::BTreeSet;

use crate::installation::NAMESPACE;

/// The system namespaces with other names than the suffix.
pub const SYSTEM: [&str; 5] =
    ["kube-system", "kube-public", "kube-node-lease", "cert-manager", "istio-system"];
/// The suffix of further system namespaces.
pub const SYSTEM_SUFFIX: &str = "-system";

/// The label of each namespace with its name, which the API server sets, so that nobody can choose
/// it:
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-metadata-name>.
pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The namespaces in which admission judges nobody, besides those with the suffix: those of the
/// system, and the platform's own, which has to come back after any policy.
pub fn unjudged_at_admission() -> impl Iterator<Item = &'static str> {
    SYSTEM.into_iter().chain([NAMESPACE])
}

/// The namespaces that are left out: system namespaces, and those that configuration adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExcludedNamespaces {
    added: BTreeSet<String>,
}

impl ExcludedNamespaces {
    /// System namespaces and these.
    pub fn with(added: impl IntoIterator<Item = String>) -> Self {
        Self { added: added.into_iter().collect() }
    }

    /// Those that admission leaves out: the platform's own as well.
    #[must_use]
    pub fn at_admission(mut self) -> Self {
        self.added.insert(NAMESPACE.to_owned());
        self
    }

    /// Those beside the system namespaces.
    pub fn added(&self) -> impl Iterator<Item = &str> {
        self.added.iter().map(String::as_str)
    }

    /// Whether the namespace is left out.
    #[must_use]
    pub fn contains(&self, namespace: &str) -> bool {
        is_system_namespace(namespace) || self.added.contains(namespace)
    }
}

fn is_system_namespace(namespace: &str) -> bool {
    SYSTEM.contains(&namespace) || namespace.ends_with(SYSTEM_SUFFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_namespaces_and_added_ones_are_left_out() {
        let excluded = ExcludedNamespaces::with(["sandbox".to_owned()]);
        for name in ["kube-system", "cert-manager", "gatekeeper-system", "-system", "sandbox"] {
            assert!(excluded.contains(name), "{name}");
        }
        for name in ["default", "kube-devops", "system", "my-system-2", "sandbox-2", ""] {
            assert!(!excluded.contains(name), "{name}");
        }
    }
}
