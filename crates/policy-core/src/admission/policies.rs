//! The policies by which a request is decided.

use std::sync::Arc;

use crate::custom::{CustomChecks, CustomNamespace};
use crate::policy::{CompiledPolicy, PolicyName};

/// A policy that applies to the request's namespace.
#[derive(Clone, Debug)]
pub struct NamedPolicy {
    /// Its name.
    pub name: PolicyName,
    /// The compiled policy, or why it is invalid.
    pub rules: Result<Arc<CompiledPolicy>, String>,
}

impl NamedPolicy {
    /// Whether a custom check depends on the labels of the namespace.
    #[must_use]
    pub fn needs_namespace(&self) -> bool {
        let custom = self.rules.as_ref().ok().and_then(|rules| rules.custom());
        custom.is_some_and(CustomChecks::need_namespace)
    }
}

/// The policies that apply to a namespace.
#[derive(Clone, Debug, Default)]
pub struct NamespacePolicies {
    /// Those that are judged, in the order in which they are: see
    /// [`PoliciesByRank`](crate::policy::PoliciesByRank).
    pub judged: Vec<NamedPolicy>,
    /// How many others there are, beyond [`MAX_PER_NAMESPACE`](crate::policy::MAX_PER_NAMESPACE).
    pub excess: usize,
    /// The namespace as custom checks see it; `None` where its labels are not known.
    pub namespace: Option<Arc<CustomNamespace>>,
}

impl NamespacePolicies {
    /// Whether a valid one of those that are judged is such a policy.
    pub(super) fn any(&self, is_such: impl Fn(&CompiledPolicy) -> bool) -> bool {
        let rules = self.judged.iter().filter_map(|policy| policy.rules.as_ref().ok());
        rules.into_iter().any(|rules| is_such(rules))
    }
}

impl From<NamedPolicy> for NamespacePolicies {
    fn from(policy: NamedPolicy) -> Self {
        Self { judged: vec![policy], ..Self::default() }
    }
}
