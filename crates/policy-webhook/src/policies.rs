//! The compiled policies of the cluster.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};
use policy_core::admission::NamedPolicy;
use policy_core::view::PolicyView;
use policy_runtime::watch::Sink;
use tracing::warn;

/// The policies, shared by the watch and the requests. A request loads the set once, so a change
/// during the request does not affect its verdict.
#[derive(Clone, Default)]
pub(crate) struct Policies(Arc<ArcSwapOption<PolicySet>>);

/// The policies by namespace, each sorted by name.
#[derive(Clone, Default)]
pub(crate) struct PolicySet(HashMap<Arc<str>, Arc<[NamedPolicy]>>);

impl Policies {
    /// No policies yet, and the sink for their watch.
    #[must_use]
    pub(crate) fn new() -> (Self, PolicySink) {
        let policies = Self::default();
        let sink =
            PolicySink { policies: policies.clone(), set: PolicySet::default(), listed: None };
        (policies, sink)
    }

    /// The present policies; `None` before the initial list is complete.
    #[must_use]
    pub(crate) fn load(&self) -> Guard<Option<Arc<PolicySet>>> {
        self.0.load()
    }
}

impl PolicySet {
    /// The policies of a namespace.
    #[must_use]
    pub(crate) fn of(&self, namespace: &str) -> &[NamedPolicy] {
        self.0.get(namespace).map_or(&[], |policies| policies)
    }

    /// The number of policies, and of their namespaces.
    #[must_use]
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.0.values().map(|policies| policies.len()).sum(), self.0.len())
    }

    /// Invalid policies, as `namespace/name: reason`.
    pub(crate) fn invalid(&self) -> impl Iterator<Item = String> {
        self.0.iter().flat_map(|(namespace, policies)| {
            policies.iter().filter_map(move |policy| {
                let reason = policy.rules.as_ref().err()?;
                Some(format!("{namespace}/{}: {reason}", policy.name))
            })
        })
    }

    /// Adds a policy, or replaces the one of the same name.
    fn insert(&mut self, namespace: &str, policy: NamedPolicy) {
        let mut policies = self.of(namespace).to_vec();
        match policies.binary_search_by(|other| other.name.cmp(&policy.name)) {
            Ok(index) => policies[index] = policy,
            Err(index) => policies.insert(index, policy),
        }
        self.0.insert(namespace.into(), policies.into());
    }

    fn retain(&mut self, namespace: &str, is_kept: impl Fn(&NamedPolicy) -> bool) {
        let kept: Vec<_> = self.of(namespace).iter().filter(|p| is_kept(p)).cloned().collect();
        if kept.is_empty() {
            self.0.remove(namespace);
        } else {
            self.0.insert(namespace.into(), kept.into());
        }
    }
}

/// Receives the policies of the watch.
pub(crate) struct PolicySink {
    policies: Policies,
    /// The latest set; requests see it once it is published.
    set: PolicySet,
    /// During a list: the policies that it has held so far, by namespace and name.
    listed: Option<BTreeSet<(String, String)>>,
}

impl PolicySink {
    /// Publishes the set, except before the initial list is complete.
    fn publish(&self) {
        if self.policies.0.load().is_some() {
            self.policies.0.store(Some(Arc::new(self.set.clone())));
        }
    }

    fn note_listed(&mut self, namespace: &str, name: &str) {
        if let Some(listed) = &mut self.listed {
            listed.insert((namespace.to_owned(), name.to_owned()));
        }
    }
}

impl Sink<PolicyView> for PolicySink {
    fn list_begins(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    fn list_completes(&mut self) {
        let listed = self.listed.take().unwrap_or_default();
        let namespaces: Vec<_> = self.set.0.keys().cloned().collect();
        for namespace in namespaces {
            let is_listed = |policy: &NamedPolicy| {
                listed.contains(&(namespace.to_string(), policy.name.to_string()))
            };
            self.set.retain(&namespace, is_listed);
        }
        self.policies.0.store(Some(Arc::new(self.set.clone())));
    }

    fn applied(&mut self, policy: PolicyView) {
        let metadata = policy.metadata;
        let (namespace, name) =
            (metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default());
        // A deleted policy no longer applies, also while a finalizer delays its removal.
        if metadata.deletion_timestamp.is_some() {
            return self.deleted(&namespace, &name);
        }
        self.note_listed(&namespace, &name);
        let rules = policy.rules.map_err(|invalid| invalid.to_string());
        let known = self.set.of(&namespace).iter().find(|known| *known.name == *name);
        if known.is_some_and(|known| known.rules == rules) {
            // Most updates only change the status.
            return;
        }
        if let Err(reason) = &rules {
            warn!("policy {namespace}/{name} is invalid and does not apply: {reason}");
        }
        self.set.insert(&namespace, NamedPolicy { name: name.into(), rules });
        self.publish();
    }

    fn undecodable(&mut self, namespace: &str, name: &str) {
        self.note_listed(namespace, name);
    }

    fn deleted(&mut self, namespace: &str, name: &str) {
        if self.set.of(namespace).iter().any(|policy| *policy.name == *name) {
            self.set.retain(namespace, |policy| *policy.name != *name);
            self.publish();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(name: &str, spec: &Value) -> PolicyView {
        let policy = json!({ "metadata": { "namespace": "shop", "name": name }, "spec": spec });
        serde_json::from_value(policy).unwrap()
    }

    fn now(policies: &Policies) -> Arc<PolicySet> {
        policies.load().clone().unwrap()
    }

    fn names(policies: &Policies) -> Vec<String> {
        now(policies).of("shop").iter().map(|policy| policy.name.to_string()).collect()
    }

    #[test]
    fn policies_apply_only_after_the_initial_list() {
        let (policies, mut sink) = Policies::new();
        sink.list_begins();
        sink.applied(policy("b", &json!({})));
        assert!(policies.load().is_none());
        sink.applied(policy("a", &json!({})));
        sink.list_completes();
        assert_eq!(names(&policies), ["a", "b"]);
        assert_eq!(now(&policies).counts(), (2, 1));
    }

    #[test]
    fn changes_apply_at_once_and_a_list_removes_what_it_lacks() {
        let (policies, mut sink) = Policies::new();
        sink.list_begins();
        sink.applied(policy("a", &json!({})));
        sink.list_completes();
        sink.applied(policy("b", &json!({})));
        assert_eq!(names(&policies), ["a", "b"]);
        sink.list_begins();
        sink.applied(policy("c", &json!({})));
        sink.undecodable("shop", "b");
        assert_eq!(names(&policies), ["a", "b", "c"], "an incomplete list removes nothing");
        sink.list_completes();
        assert_eq!(names(&policies), ["b", "c"]);
        sink.deleted("shop", "b");
        sink.deleted("shop", "c");
        assert_eq!(now(&policies).counts(), (0, 0));
    }

    #[test]
    fn a_status_changes_nothing_and_a_spec_does() {
        let (policies, mut sink) = Policies::new();
        sink.list_begins();
        sink.list_completes();
        sink.applied(policy("a", &json!({ "maxRestartCount": 1 })));
        let before = now(&policies);
        sink.applied(policy("a", &json!({ "maxRestartCount": 1 })));
        assert!(Arc::ptr_eq(&before, &now(&policies)));
        sink.applied(policy("a", &json!({ "maxRestartCount": -1 })));
        let invalid: Vec<_> = now(&policies).invalid().collect();
        assert_eq!(invalid, ["shop/a: spec.maxRestartCount: must be 0 or more, not -1"]);
    }

    #[test]
    fn a_policy_that_is_being_deleted_does_not_apply() {
        let (policies, mut sink) = Policies::new();
        sink.list_begins();
        sink.applied(policy("a", &json!({})));
        sink.list_completes();
        let mut going = policy("a", &json!({}));
        let deleted = json!("2026-01-01T00:00:00Z");
        going.metadata.deletion_timestamp = serde_json::from_value(deleted).unwrap();
        sink.applied(going);
        assert_eq!(now(&policies).counts(), (0, 0));
    }
}
