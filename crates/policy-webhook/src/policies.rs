//! The compiled policies of the cluster.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};
use policy_core::admission::{Injection, NamedPolicy, NamespacePolicies};
use policy_core::api::{DevOpsPolicyStatus, MAX_WORKLOADS, RemediatedWorkload, RemediationState};
use policy_core::policy::{CompiledPolicy, PoliciesByRank, PolicyRank};
use policy_core::remediation::Fields;
use policy_core::text::truncated;
use policy_core::view::PolicyView;
use policy_runtime::watch::Sink;
use tracing::warn;

/// The longest reason of an invalid policy that is kept, in bytes. It may quote the policy.
const MAX_REASON: usize = 1024;

/// The policies, shared by the watch and the requests. A request loads the set once, so a change
/// during the request does not affect its verdict.
#[derive(Clone, Default)]
pub(crate) struct Policies(Arc<ArcSwapOption<PolicySet>>);

/// The policies by namespace.
#[derive(Clone, Default)]
pub(crate) struct PolicySet(HashMap<Arc<str>, Arc<NamespaceSet>>);

/// What requests of a namespace need.
struct NamespaceSet {
    policies: NamespacePolicies,
    /// What is filled in for the new pods of workloads.
    injections: HashMap<Arc<str>, Injection>,
}

/// A namespace without policies.
static NONE: NamespacePolicies = NamespacePolicies { judged: Vec::new(), excess: 0 };

impl Policies {
    /// No policies yet, and the sink for their watch.
    #[must_use]
    pub(crate) fn new() -> (Self, PolicySink) {
        let policies = Self::default();
        let sink = PolicySink {
            policies: policies.clone(),
            set: PolicySet::default(),
            known: HashMap::new(),
            list: 0,
        };
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
    pub(crate) fn of(&self, namespace: &str) -> &NamespacePolicies {
        self.0.get(namespace).map_or(&NONE, |set| &set.policies)
    }

    /// What is filled in for the new pods of a workload, by its kind and name, such as
    /// `Deployment/web`.
    #[must_use]
    pub(crate) fn injection(&self, namespace: &str, workload: &str) -> Option<&Injection> {
        self.0.get(namespace)?.injections.get(workload)
    }

    /// The number of policies, and of their namespaces.
    #[must_use]
    pub(crate) fn counts(&self) -> (usize, usize) {
        let policies = self.0.values().map(|set| set.policies.judged.len() + set.policies.excess);
        (policies.sum(), self.0.len())
    }

    /// Invalid policies, as `namespace/name: reason`.
    pub(crate) fn invalid(&self) -> impl Iterator<Item = String> {
        self.0.iter().flat_map(|(namespace, set)| {
            set.policies.judged.iter().filter_map(move |policy| {
                let reason = policy.rules.as_ref().err()?;
                Some(format!("{namespace}/{}: {reason}", policy.name))
            })
        })
    }

    /// The namespaces with more policies than are judged, and by how many.
    pub(crate) fn over_limit(&self) -> impl Iterator<Item = (&Arc<str>, usize)> {
        let all = self.0.iter().map(|(namespace, set)| (namespace, set.policies.excess));
        all.filter(|(_, excess)| *excess > 0)
    }
}

/// Receives the policies of the watch.
pub(crate) struct PolicySink {
    policies: Policies,
    /// The latest set; requests see it once it is published.
    set: PolicySet,
    known: HashMap<Arc<str>, KnownPolicies>,
    /// The number of lists that have begun.
    list: u64,
}

/// All policies of a namespace, also those over the limit: each of them is judged once an older one
/// is deleted.
#[derive(Default)]
struct KnownPolicies {
    by_age: PoliciesByRank<KnownPolicy>,
    by_name: HashMap<Arc<str>, PolicyRank>,
}

struct KnownPolicy {
    rules: Result<Arc<CompiledPolicy>, String>,
    /// What its status says is filled in for the new pods of workloads.
    injected: Injected,
    /// The number of the last list that has it.
    list: u64,
}

/// The fields that are filled in for the new pods of workloads, sorted by kind and name.
type Injected = Vec<(Arc<str>, Fields)>;

/// What the status of an enforce policy says is filled in for new pods. Most policies have none.
fn injected(rules: &CompiledPolicy, status: Option<&DevOpsPolicyStatus>) -> Injected {
    if rules.remediation().is_none() {
        return Injected::new();
    }
    let status = status.and_then(|status| status.remediation.as_ref());
    let workloads = status.into_iter().flat_map(|status| &status.workloads);
    let injected = workloads.filter(|workload| workload.state == RemediationState::Injecting);
    let injected =
        injected.take(MAX_WORKLOADS).map(|RemediatedWorkload { workload, fields, .. }| {
            (Arc::from(workload.as_str()), Fields::parse(fields.iter().map(String::as_str)))
        });
    let mut injected: Injected = injected.collect();
    injected.sort_by(|(one, _), (other, _)| one.cmp(other));
    injected
}

impl KnownPolicies {
    fn get_mut(&mut self, name: &str) -> Option<&mut KnownPolicy> {
        self.by_age.get_mut(self.by_name.get(name)?)
    }

    /// Adds a policy, or replaces the one of the same name.
    fn insert(&mut self, age: PolicyRank, policy: KnownPolicy) {
        let name = Arc::clone(age.name());
        if let Some(before) = self.by_name.insert(name, age.clone()) {
            self.by_age.remove(&before);
        }
        self.by_age.insert(age, policy);
    }

    fn remove(&mut self, name: &str) -> bool {
        let age = self.by_name.remove(name);
        age.is_some_and(|age| self.by_age.remove(&age).is_some())
    }

    /// Drops those that the list does not have.
    fn keep_listed(&mut self, list: u64) {
        self.by_age.retain(|policy| policy.list == list);
        self.by_name.retain(|_, age| self.by_age.contains(age));
    }

    /// The oldest, which are judged, and the number of the others. Where two have a workload, the
    /// older one fills it in.
    fn for_requests(&self, namespace: &str) -> NamespaceSet {
        let mut injections = HashMap::new();
        for (age, policy) in self.by_age.judged() {
            for (workload, fields) in &policy.injected {
                injections.entry(Arc::clone(workload)).or_insert_with(|| Injection {
                    policy: format!("{namespace}/{}", age.name()),
                    fields: fields.clone(),
                });
            }
        }
        let judged = self.by_age.judged().map(|(age, policy)| NamedPolicy {
            name: Arc::clone(age.name()),
            rules: policy.rules.clone(),
        });
        let excess = self.by_age.excess().len();
        NamespaceSet {
            policies: NamespacePolicies { judged: judged.collect(), excess },
            injections,
        }
    }
}

impl PolicySink {
    /// Publishes the policies of a namespace that has changed; before the initial list is complete,
    /// none.
    fn publish(&mut self, namespace: &str) {
        if self.policies.0.load().is_none() {
            return;
        }
        match self.known.get_key_value(namespace) {
            Some((namespace, known)) if !known.by_age.is_empty() => {
                let set = Arc::new(known.for_requests(namespace));
                self.set.0.insert(Arc::clone(namespace), set);
            }
            _ => {
                self.known.remove(namespace);
                self.set.0.remove(namespace);
            }
        }
        self.policies.0.store(Some(Arc::new(self.set.clone())));
    }

    fn get_mut(&mut self, namespace: &str, name: &str) -> Option<&mut KnownPolicy> {
        self.known.get_mut(namespace)?.get_mut(name)
    }
}

impl Sink<PolicyView> for PolicySink {
    fn list_begins(&mut self) {
        self.list += 1;
    }

    fn list_completes(&mut self) {
        self.known.retain(|_, known| {
            known.keep_listed(self.list);
            !known.by_age.is_empty()
        });
        let sets = self.known.iter().map(|(namespace, known)| {
            (Arc::clone(namespace), Arc::new(known.for_requests(namespace)))
        });
        self.set = PolicySet(sets.collect());
        self.policies.0.store(Some(Arc::new(self.set.clone())));
    }

    fn applied(&mut self, policy: PolicyView) {
        let PolicyView { metadata, rules, status, .. } = policy;
        let age = PolicyRank::of(&metadata);
        let namespace = metadata.namespace.unwrap_or_default();
        // A deleted policy no longer applies, also while a finalizer delays its removal.
        if metadata.deletion_timestamp.is_some() {
            return self.deleted(&namespace, age.name());
        }
        let rules = rules.map_err(|invalid| {
            truncated(invalid.to_string().into(), MAX_REASON, MAX_REASON).into_owned()
        });
        let injected =
            rules.as_ref().map(|rules| injected(rules, status.as_deref())).unwrap_or_default();
        let list = self.list;
        let known = self.known.entry(namespace.as_str().into()).or_default();
        if known.by_name.get(age.name()) == Some(&age)
            && let Some(known) = known.get_mut(age.name())
        {
            known.list = list;
            if known.rules == rules && known.injected == injected {
                // Most updates only change the rest of the status.
                return;
            }
        }
        if let Err(reason) = &rules {
            warn!("policy {namespace}/{} is invalid and does not apply: {reason}", age.name());
        }
        known.insert(age, KnownPolicy { rules, injected, list });
        self.publish(&namespace);
    }

    fn undecodable(&mut self, namespace: &str, name: &str) {
        let list = self.list;
        if let Some(known) = self.get_mut(namespace, name) {
            known.list = list;
        }
    }

    fn deleted(&mut self, namespace: &str, name: &str) {
        if self.known.get_mut(namespace).is_some_and(|known| known.remove(name)) {
            self.publish(namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
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
        now(policies).of("shop").judged.iter().map(|policy| policy.name.to_string()).collect()
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

    /// An enforce policy with these workloads in its status, each with its state.
    fn enforcing(name: &str, workloads: &[(&str, &str)], message: &str) -> PolicyView {
        let workload = |(workload, state): &(&str, &str)| {
            json!({ "workload": workload, "state": state, "since": "2026-01-01T00:00:00Z",
                "fields": [format!("web: requests.cpu={}m", name.len())] })
        };
        let workloads: Vec<_> = workloads.iter().map(workload).collect();
        let spec = json!({ "enforcementMode": "enforce" });
        let status = json!({ "message": message, "remediation": { "workloads": workloads } });
        let policy = json!({ "metadata": { "namespace": "shop", "name": name },
            "spec": spec, "status": status });
        serde_json::from_value(policy).unwrap()
    }

    fn injection(policies: &Policies, workload: &str) -> Option<String> {
        let set = now(policies);
        let found = set.injection("shop", workload)?;
        Some(format!("{} {}", found.policy, found.fields.lines().join(" ")))
    }

    #[test]
    fn injections_follow_the_status_and_the_older_policy_wins() {
        let (policies, mut sink) = Policies::new();
        sink.list_begins();
        let both = [("Deployment/web", "Injecting"), ("StatefulSet/db", "Patched")];
        sink.applied(enforcing("young", &both, ""));
        sink.list_completes();
        assert_eq!(
            injection(&policies, "Deployment/web").unwrap(),
            "shop/young web: requests.cpu=5m"
        );
        assert_eq!(injection(&policies, "StatefulSet/db"), None);
        let before = now(&policies);
        sink.applied(enforcing("young", &both, "something else"));
        assert!(Arc::ptr_eq(&before, &now(&policies)), "the rest of the status does not count");
        sink.applied(enforcing("old", &both[..1], ""));
        assert_eq!(
            injection(&policies, "Deployment/web").unwrap(),
            "shop/old web: requests.cpu=3m"
        );
        sink.applied(enforcing("old", &[("Deployment/web", "Reverted")], ""));
        assert!(injection(&policies, "Deployment/web").unwrap().starts_with("shop/young"));
        sink.applied(enforcing("young", &[], ""));
        assert_eq!(injection(&policies, "Deployment/web"), None);
        // In audit mode nothing is filled in, whatever is left in the status.
        sink.applied(enforcing("young", &both, ""));
        let mut audit = enforcing("young", &both, "");
        audit.rules = policy("young", &json!({})).rules;
        sink.applied(audit);
        assert_eq!(injection(&policies, "Deployment/web"), None);
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

    /// As [`policy`], created at that second.
    fn created_at(second: i64, name: &str) -> PolicyView {
        let time = Timestamp::from_second(second).unwrap();
        let metadata =
            json!({ "namespace": "shop", "name": name, "creationTimestamp": time.to_string() });
        serde_json::from_value(json!({ "metadata": metadata, "spec": {} })).unwrap()
    }

    #[test]
    fn the_oldest_policies_are_judged_and_the_others_counted() {
        let (policies, mut sink) = Policies::new();
        sink.list_begins();
        for second in (0..100).rev() {
            sink.applied(created_at(second, &format!("p-{:03}", 999 - second)));
        }
        sink.list_completes();
        let oldest = |first: i64| -> Vec<_> {
            (first..first + 64).map(|second| format!("p-{:03}", 999 - second)).collect()
        };
        assert_eq!(names(&policies), oldest(0));
        assert_eq!(now(&policies).of("shop").excess, 36);
        assert_eq!(now(&policies).counts(), (100, 1));
        let over_limit: Vec<_> =
            now(&policies).over_limit().map(|(name, excess)| (name.to_string(), excess)).collect();
        assert_eq!(over_limit, [("shop".to_owned(), 36)]);
        sink.applied(created_at(200, "a-younger-one"));
        assert_eq!((names(&policies), now(&policies).of("shop").excess), (oldest(0), 37));
        sink.deleted("shop", "p-999");
        assert_eq!((names(&policies), now(&policies).of("shop").excess), (oldest(1), 36));
        // Deleted and created again, it is the youngest.
        sink.applied(created_at(300, "p-998"));
        assert_eq!(names(&policies), oldest(2));
    }

    /// What a tenant may cause by many policies: each takes some microseconds, whatever their number.
    #[test]
    fn many_policies_of_a_namespace_take_no_longer_than_their_number() {
        let (policies, mut sink) = Policies::new();
        sink.list_begins();
        for second in 0..20_000 {
            sink.applied(created_at(second, &format!("p-{second}")));
        }
        assert!(sink.set.0.is_empty(), "nothing is copied before the list is complete");
        sink.list_completes();
        assert_eq!(now(&policies).of("shop").excess, 20_000 - 64);
        for second in 0..1_000 {
            sink.deleted("shop", &format!("p-{second}"));
        }
        assert_eq!(now(&policies).of("shop").judged.len(), 64);
    }

    #[test]
    fn a_reason_is_kept_short() {
        let (policies, mut sink) = Policies::new();
        sink.list_begins();
        sink.applied(policy("a", &json!({ "enforcementMode": "x".repeat(1 << 20) })));
        sink.list_completes();
        let invalid: Vec<_> = now(&policies).invalid().collect();
        assert!(invalid[0].starts_with("shop/a: the policy cannot be read: "), "{}", invalid[0]);
        assert!(invalid[0].len() < 1100, "{}", invalid[0].len());
    }
}
