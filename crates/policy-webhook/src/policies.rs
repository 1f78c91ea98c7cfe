//! The compiled policies of the cluster.

mod known;
mod state;
#[cfg(test)]
pub(crate) mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};
use policy_core::admission::{Injection, NamedPolicy, NamespacePolicies};
use policy_core::namespaces::{ExcludedNamespaces, NAME_LABEL};
use policy_core::policy::{ClusterScope, MAX_PER_NAMESPACE, PolicyName};

#[cfg(test)]
pub(crate) use state::PolicySink;
pub(crate) use state::Sinks;

/// The policies, shared by the watches and the requests. A request loads the set once, so a change
/// during the request does not affect its verdict.
#[derive(Clone, Default)]
pub(crate) struct Policies(Arc<ArcSwapOption<PolicySet>>);

/// The policies by namespace.
#[derive(Clone, Default)]
pub(crate) struct PolicySet {
    namespaces: HashMap<Arc<str>, Arc<NamespaceSet>>,
    /// In the order in which they are judged.
    cluster: Arc<[ClusterPolicy]>,
    excluded: Arc<ExcludedNamespaces>,
}

/// What requests of a namespace need.
#[derive(Default)]
struct NamespaceSet {
    policies: NamespacePolicies,
    /// How many policies the namespace itself has.
    own: usize,
    /// What is filled in for the new pods of workloads.
    injections: HashMap<Arc<str>, Injection>,
}

/// A cluster policy, and where it applies.
struct ClusterPolicy {
    policy: NamedPolicy,
    scope: ClusterScope,
}

/// The first policies of that number, as many as are judged.
fn first_judged(all: impl Iterator<Item = NamedPolicy>, number: usize) -> NamespacePolicies {
    let judged = all.take(MAX_PER_NAMESPACE).collect();
    NamespacePolicies {
        judged,
        excess: number.saturating_sub(MAX_PER_NAMESPACE),
        ..NamespacePolicies::default()
    }
}

impl Policies {
    /// No policies yet, and the sinks for the watches that bring them.
    #[must_use]
    pub(crate) fn new(excluded: ExcludedNamespaces) -> (Self, Sinks) {
        let policies = Self::default();
        let sinks = Sinks::new(policies.clone(), excluded);
        (policies, sinks)
    }

    /// The present policies; `None` before the initial lists are complete.
    #[must_use]
    pub(crate) fn load(&self) -> Guard<Option<Arc<PolicySet>>> {
        self.0.load()
    }
}

impl PolicySet {
    /// The policies that apply to a namespace. One that the watch has not brought yet has no labels
    /// but its name.
    #[must_use]
    pub(crate) fn of(&self, namespace: &str) -> Cow<'_, NamespacePolicies> {
        if let Some(set) = self.namespaces.get(namespace) {
            return Cow::Borrowed(&set.policies);
        }
        let labels = [(NAME_LABEL.to_owned(), namespace.to_owned())].into();
        let selecting: Vec<_> = self.selecting(namespace, &labels).collect();
        let number = selecting.len();
        let policies = selecting.into_iter().map(|(_, policy)| policy.clone());
        Cow::Owned(first_judged(policies, number))
    }

    /// The cluster policies that apply to a namespace, by their index.
    fn selecting(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> impl Iterator<Item = (usize, &NamedPolicy)> {
        let all = self.cluster.iter().enumerate();
        let selecting =
            all.filter(move |(_, of)| of.scope.selects(namespace, labels, &self.excluded));
        selecting.map(|(index, of)| (index, &of.policy))
    }

    /// What is filled in for the new pods of a workload, by its kind and name, such as
    /// `Deployment/web`.
    #[must_use]
    pub(crate) fn injection(&self, namespace: &str, workload: &str) -> Option<&Injection> {
        self.namespaces.get(namespace)?.injections.get(workload)
    }

    /// The number of policies of namespaces, and of the namespaces that have some.
    #[must_use]
    pub(crate) fn counts(&self) -> (usize, usize) {
        let own = self.namespaces.values().map(|set| set.own).filter(|own| *own > 0);
        own.fold((0, 0), |(policies, namespaces), own| (policies + own, namespaces + 1))
    }

    /// The number of cluster policies.
    #[must_use]
    pub(crate) fn cluster_policies(&self) -> usize {
        self.cluster.len()
    }

    /// Invalid policies, as `namespace/name: reason`.
    pub(crate) fn invalid(&self) -> impl Iterator<Item = String> {
        let reason = |namespace: &str, policy: &NamedPolicy| {
            let reason = policy.rules.as_ref().err()?;
            Some(format!("{}: {reason}", policy.name.qualified(namespace)))
        };
        let cluster = self.cluster.iter().filter_map(move |of| reason("", &of.policy));
        let own = self.namespaces.iter().flat_map(move |(namespace, set)| {
            let judged = set.policies.judged.iter();
            let own = judged.filter(|policy| matches!(policy.name, PolicyName::Namespaced(_)));
            own.filter_map(move |policy| reason(namespace, policy))
        });
        cluster.chain(own)
    }

    /// The namespaces with more policies than are judged, and by how many.
    pub(crate) fn over_limit(&self) -> impl Iterator<Item = (&Arc<str>, usize)> {
        let all = self.namespaces.iter().map(|(namespace, set)| (namespace, set.policies.excess));
        all.filter(|(_, excess)| *excess > 0)
    }
}
