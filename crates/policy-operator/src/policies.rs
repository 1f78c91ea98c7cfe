//! The policies of the cluster, each with its state. Cluster policies are beside those of
//! namespaces, as the policies of the empty namespace.

mod changed;
mod memory;
mod namespace;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use policy_core::api::{EnforcementMode, ViolationsBySeverity};
use policy_core::remediation::RemediationRules;
use policy_core::score::Score;
use policy_core::view::{ClusterPolicyView, PolicyView};
use policy_runtime::watch::Sink;

use crate::judgement::Judged;
use crate::policy_key::PolicyKey;
use crate::policy_state::PolicyState;
use crate::queue::ReconcileQueue;
use crate::remediation::Standing;
pub(crate) use memory::OthersMemory;
use memory::enforced;
use namespace::{Known, Namespace};

/// The values of the metrics of a policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PolicyGauges {
    pub(crate) mode: EnforcementMode,
    pub(crate) score: Score,
    pub(crate) violations: u64,
    pub(crate) by_severity: ViolationsBySeverity,
}

impl PolicyGauges {
    pub(crate) fn of(Judged { policy, verdict, summary, .. }: &Judged) -> Self {
        Self {
            mode: policy.mode(),
            score: verdict.score,
            violations: summary.total_violations,
            by_severity: summary.violations_by_severity,
        }
    }
}

/// A policy's state. A reconcile holds the lock from its start to its end.
pub(crate) type SharedState = Arc<tokio::sync::Mutex<PolicyState>>;

/// The policies, shared by their watch, the controller and the metrics. A change of one adds it to
/// the queue. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(crate) struct Policies {
    known: Arc<Mutex<ByNamespace>>,
    pub(crate) queue: ReconcileQueue,
}

type ByNamespace = BTreeMap<Arc<str>, Namespace>;

/// The number of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PolicyCounts {
    pub(crate) all: usize,
    /// Those beyond the most that are judged in a namespace.
    pub(crate) excess: usize,
}

fn find<'a>(known: &'a mut ByNamespace, key: &PolicyKey) -> Option<&'a mut Known> {
    known.get_mut(&key.namespace)?.get_mut(&key.name)
}

impl Policies {
    /// A policy with its state.
    pub(crate) fn get(&self, key: &PolicyKey) -> Option<(Arc<PolicyView>, SharedState)> {
        let mut all = self.known.lock();
        let known = find(&mut all, key)?;
        let (policy, status, state) =
            (Arc::clone(&known.policy), known.status(), Arc::clone(&known.state));
        drop(all);
        let status = status.read().map(Arc::new);
        Some((Arc::new(PolicyView { status, ..(*policy).clone() }), state))
    }

    /// Whether there is such a policy.
    pub(crate) fn contains(&self, key: &PolicyKey) -> bool {
        find(&mut self.known.lock(), key).is_some()
    }

    /// Whether a policy is among those of its namespace that are judged.
    pub(crate) fn is_judged(&self, policy: &PolicyView) -> bool {
        let key = PolicyKey::of(&policy.metadata);
        self.known.lock().get(&key.namespace).is_none_or(|known| known.is_judged(policy))
    }

    /// What the policies of a namespace that are judged and in enforce mode fill in, the oldest
    /// first.
    pub(crate) fn enforcing(&self, namespace: &str) -> Vec<(Arc<str>, RemediationRules)> {
        let all = self.known.lock();
        let Some(known) = all.get(namespace) else { return Vec::new() };
        let judged = known.judged().filter_map(|name| Some((name, known.get(name)?)));
        let enforcing = judged.filter_map(|(name, known)| {
            let rules = known.policy.rules.as_ref().ok()?.remediation()?;
            Some((Arc::clone(name), rules.clone()))
        });
        enforcing.collect()
    }

    /// Whether each policy in enforce mode remediates, apart from those that do not want it now.
    pub(crate) fn remediating(&self) -> Vec<(PolicyKey, bool)> {
        let all = self.known.lock();
        let each = all.iter().flat_map(|(namespace, known)| {
            known.iter().map(move |(name, known)| (namespace, name, known))
        });
        let remediating = each.filter_map(|(namespace, name, known)| {
            // No other has the condition; those are not even read.
            if known.policy.rules.as_ref().is_ok_and(|rules| rules.remediation().is_none()) {
                return None;
            }
            let standing = Standing::read(&known.status().read()?.conditions)?;
            if standing.is_withheld_by_policy() {
                return None;
            }
            let (namespace, name) = (Arc::clone(namespace), Arc::clone(name));
            Some((PolicyKey { namespace, name }, standing == Standing::Remediating))
        });
        remediating.collect()
    }

    /// The values of the metrics of each policy that can be judged.
    pub(crate) fn gauges(&self) -> Vec<(PolicyKey, PolicyGauges)> {
        let all = self.known.lock();
        let each = all.iter().flat_map(|(namespace, known)| {
            known.iter().map(move |(name, known)| (namespace, name, known))
        });
        let with_gauges = each.filter_map(|(namespace, name, known)| {
            let (namespace, name) = (Arc::clone(namespace), Arc::clone(name));
            Some((PolicyKey { namespace, name }, known.gauges?))
        });
        with_gauges.collect()
    }

    /// How many there are.
    pub(crate) fn counts(&self) -> PolicyCounts {
        let all = self.known.lock();
        PolicyCounts {
            all: all.values().map(Namespace::len).sum(),
            excess: all.values().map(Namespace::excess).sum(),
        }
    }

    /// Adds the policies that judge the pods of a namespace to the queue, as these changed.
    pub(crate) fn namespace_changed(&self, namespace: &str, delay: Duration) {
        let mut all = self.known.lock();
        self.cluster_due(&mut all, namespace, delay);
        let Some((namespace, known)) = all.get_key_value(namespace) else { return };
        for name in known.judged() {
            let (namespace, name) = (Arc::clone(namespace), Arc::clone(name));
            self.queue.add_after(&PolicyKey { namespace, name }, delay);
        }
    }

    /// Adds all policies to the queue, as they may have to be written.
    pub(crate) fn all_due(&self) {
        for (namespace, known) in &*self.known.lock() {
            for (name, _) in known.iter() {
                let (namespace, name) = (Arc::clone(namespace), Arc::clone(name));
                self.queue.add_urgent(&PolicyKey { namespace, name });
            }
        }
    }

    /// Sets the values of the metrics of a policy.
    pub(crate) fn set_gauges(&self, policy: &PolicyView, gauges: Option<PolicyGauges>) {
        let mut all = self.known.lock();
        let known = find(&mut all, &PolicyKey::of(&policy.metadata));
        if let Some(known) = known.filter(|known| known.is(policy)) {
            known.gauges = gauges;
        }
    }

    /// Stores a policy from the answer to a write, before the watch shows it.
    pub(crate) fn written(&self, policy: Option<PolicyView>) {
        let Some(policy) = policy else { return };
        let key = PolicyKey::of(&policy.metadata);
        let mut all = self.known.lock();
        let known = find(&mut all, &key).filter(|known| known.is(&policy));
        if known.is_some_and(|known| !known.is_newer_than(&policy)) {
            self.store(&mut all, &key, policy);
        }
    }

    /// Stores a version of a policy, and adds what that changes to the queue.
    fn store(&self, all: &mut ByNamespace, key: &PolicyKey, policy: PolicyView) {
        let namespace = all.entry(Arc::clone(&key.namespace)).or_default();
        let before = namespace.get(&key.name).and_then(|known| enforced(&known.policy));
        let is_other_rule = before != enforced(&policy);
        let changed = namespace.set(policy, key, &self.queue);
        self.judged_changed(all, key, changed);
        if is_other_rule {
            self.others_changed(all, key);
        }
    }

    fn remove(&self, all: &mut ByNamespace, key: &PolicyKey) {
        let Some(namespace) = all.get_mut(&key.namespace) else { return };
        let changed = namespace.remove(&key.name);
        if namespace.len() == 0 {
            all.remove(&key.namespace);
        }
        self.judged_changed(all, key, changed);
        self.others_changed(all, key);
    }

    /// Adds policies to the queue that are judged from now on, or no longer. What changed while one
    /// was not judged is not known.
    fn judged_changed(
        &self,
        all: &mut ByNamespace,
        PolicyKey { namespace, .. }: &PolicyKey,
        names: impl IntoIterator<Item = Arc<str>>,
    ) {
        for name in names {
            let key = PolicyKey { namespace: Arc::clone(namespace), name };
            if let Some(known) = find(all, &key) {
                known.changed = None;
            }
            self.queue.add_urgent(&key);
        }
    }

    /// The sink for a watch of the policies of all namespaces.
    pub(crate) fn sink(&self) -> PolicySink {
        PolicySink { policies: self.clone(), of_cluster: false, listed: None }
    }

    /// The sink for a watch of all cluster policies.
    pub(crate) fn cluster_sink(&self) -> ClusterPolicySink {
        ClusterPolicySink(PolicySink { policies: self.clone(), of_cluster: true, listed: None })
    }
}

/// Stores the policies of a watch.
pub(crate) struct PolicySink {
    policies: Policies,
    /// Whether they are cluster policies.
    of_cluster: bool,
    /// The policies of the list that is being read.
    listed: Option<BTreeSet<PolicyKey>>,
}

impl Sink<PolicyView> for PolicySink {
    fn list_begins(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    fn list_completes(&mut self) {
        let Some(listed) = self.listed.take() else { return };
        let mut all = self.policies.known.lock();
        let unlisted = all.iter().flat_map(|(namespace, known)| {
            known.iter().map(|(name, _)| {
                let (namespace, name) = (Arc::clone(namespace), Arc::clone(name));
                PolicyKey { namespace, name }
            })
        });
        let of_this_kind = unlisted.filter(|key| key.is_cluster() == self.of_cluster);
        let unlisted: Vec<_> = of_this_kind.filter(|key| !listed.contains(key)).collect();
        for key in unlisted {
            self.policies.remove(&mut all, &key);
        }
    }

    fn applied(&mut self, policy: PolicyView) {
        let key = PolicyKey::of(&policy.metadata);
        let mut all = self.policies.known.lock();
        let known = find(&mut all, &key).filter(|known| known.is(&policy));
        // The watch lags behind the answer to a write. A list does not: it counts even where
        // versions are smaller, as after a restore of etcd.
        let is_old =
            self.listed.is_none() && known.is_some_and(|known| known.is_newer_than(&policy));
        if !is_old {
            self.policies.store(&mut all, &key, policy);
        }
        drop(all);
        if let Some(listed) = &mut self.listed {
            listed.insert(key);
        }
    }

    fn undecodable(&mut self, namespace: &str, name: &str) {
        if let Some(listed) = &mut self.listed {
            listed.insert(PolicyKey::new(namespace, name));
        }
    }

    fn deleted(&mut self, namespace: &str, name: &str) {
        let mut all = self.policies.known.lock();
        self.policies.remove(&mut all, &PolicyKey::new(namespace, name));
    }
}

/// Stores the cluster policies of a watch.
pub(crate) struct ClusterPolicySink(PolicySink);

impl Sink<ClusterPolicyView> for ClusterPolicySink {
    fn list_begins(&mut self) {
        self.0.list_begins();
    }

    fn list_completes(&mut self) {
        self.0.list_completes();
    }

    fn applied(&mut self, policy: ClusterPolicyView) {
        self.0.applied(policy.into());
    }

    fn undecodable(&mut self, namespace: &str, name: &str) {
        self.0.undecodable(namespace, name);
    }

    fn deleted(&mut self, namespace: &str, name: &str) {
        self.0.deleted(namespace, name);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use policy_core::policy::MAX_PER_NAMESPACE;

    use super::*;
    use crate::queue::Outcome;

    fn policy(name: &str, uid: &str, generation: i64, score: i64, version: &str) -> PolicyView {
        let restarts = if generation < 0 { "no number".into() } else { serde_json::json!(1) };
        serde_json::from_value(serde_json::json!({
            "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
            "metadata": { "namespace": "shop", "name": name, "uid": uid, "generation": generation,
                "resourceVersion": version },
            "spec": { "maxRestartCount": restarts },
            "status": { "healthScore": score },
        }))
        .unwrap()
    }

    fn listed(all: impl IntoIterator<Item = PolicyView>) -> (Policies, PolicySink) {
        let policies = Policies::default();
        let mut sink = policies.sink();
        sink.list_begins();
        all.into_iter().for_each(|policy| sink.applied(policy));
        sink.list_completes();
        (policies, sink)
    }

    /// The policies in the queue that are due now.
    async fn due(policies: &Policies) -> BTreeSet<String> {
        let mut due = BTreeSet::new();
        let moment = Duration::from_millis(1);
        while let Ok(key) = tokio::time::timeout(moment, policies.queue.next()).await {
            policies.queue.finish(&key, Outcome::default());
            due.insert(key.to_string());
        }
        due
    }

    fn keys<const N: usize>(keys: [&str; N]) -> BTreeSet<String> {
        keys.map(str::to_owned).into()
    }

    fn score(policies: &Policies) -> Option<i32> {
        let (policy, _) = policies.get(&PolicyKey::new("shop", "a"))?;
        policy.status.as_ref().and_then(|status| status.health_score)
    }

    #[tokio::test(start_paused = true)]
    async fn a_written_status_causes_no_reconcile() {
        let (policies, mut sink) = listed([policy("a", "1", 1, 50, "1")]);
        assert_eq!(due(&policies).await, keys(["shop/a"]));
        sink.applied(policy("a", "1", 1, 60, "2"));
        assert_eq!(due(&policies).await, keys([]));
        assert_eq!(score(&policies), Some(60));
        sink.applied(policy("a", "1", 2, 60, "3"));
        assert_eq!(due(&policies).await, keys(["shop/a"]));
        let mut held = policy("a", "1", 2, 60, "4");
        held.finalizers.others = 1;
        sink.applied(held.clone());
        assert_eq!(due(&policies).await, keys(["shop/a"]));
        sink.applied(held);
        assert_eq!(due(&policies).await, keys([]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_that_cannot_be_decoded_is_reconciled_as_well() {
        let (policies, _) = listed([policy("a", "1", 1, 0, "1"), policy("b", "2", -1, 0, "2")]);
        assert_eq!(due(&policies).await, keys(["shop/a", "shop/b"]));
        let (broken, _) = policies.get(&PolicyKey::new("shop", "b")).unwrap();
        assert!(broken.rules.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_state_belongs_to_one_object_and_goes_with_it() {
        let (policies, mut sink) =
            listed([policy("a", "1", 1, 0, "1"), policy("b", "2", 1, 0, "2")]);
        let key = PolicyKey::new("shop", "a");
        let state = || policies.get(&key).unwrap().1;
        let first = state();
        sink.applied(policy("a", "1", 2, 0, "3"));
        assert!(Arc::ptr_eq(&first, &state()));
        sink.applied(policy("a", "3", 1, 0, "4"));
        assert!(!Arc::ptr_eq(&first, &state()), "another policy of that name");
        sink.deleted("shop", "a");
        assert!(policies.get(&key).is_none());
        sink.list_begins();
        sink.applied(policy("c", "4", 1, 0, "5"));
        sink.list_completes();
        assert_eq!(policies.counts().all, 1, "b is gone with the list");
        due(&policies).await;
        policies.namespace_changed("sho", Duration::ZERO);
        assert_eq!(due(&policies).await, keys([]));
        policies.namespace_changed("shop", Duration::ZERO);
        assert_eq!(due(&policies).await, keys(["shop/c"]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_answer_to_a_write_counts_until_the_watch_is_newer() {
        let (policies, mut sink) = listed([policy("a", "1", 1, 50, "8")]);
        due(&policies).await;
        policies.written(Some(policy("a", "1", 1, 60, "10")));
        assert_eq!(score(&policies), Some(60));
        sink.applied(policy("a", "1", 1, 50, "9"));
        assert_eq!(score(&policies), Some(60), "the watch lags behind");
        assert_eq!(due(&policies).await, keys([]));
        sink.applied(policy("a", "1", 1, 70, "11"));
        assert_eq!(score(&policies), Some(70), "written by another replica");
        policies.written(Some(policy("a", "1", 1, 60, "10")));
        assert_eq!(score(&policies), Some(70), "the answer lags behind");
        policies.written(Some(policy("a", "1", 2, 80, "12")));
        assert_eq!(due(&policies).await, keys(["shop/a"]), "the spec changed in between");
        sink.applied(policy("a", "1", 2, 70, "odd"));
        assert_eq!(score(&policies), Some(70));
        policies.written(Some(policy("a", "2", 1, 90, "13")));
        assert_eq!(score(&policies), Some(70), "another policy of that name");
        policies.written(Some(policy("b", "3", 1, 90, "14")));
        assert_eq!(policies.counts().all, 1, "deleted meanwhile");
        sink.list_begins();
        sink.applied(policy("a", "1", 2, 30, "2"));
        sink.list_completes();
        assert_eq!(score(&policies), Some(30), "etcd was restored");
    }

    /// A policy that was created in that second.
    fn aged(name: &str, second: i64) -> PolicyView {
        let mut policy = policy(name, name, 1, 0, "1");
        let created = policy_core::Timestamp::from_second(second).unwrap();
        policy.metadata.creation_timestamp = Some(Time(created));
        policy
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_policies_of_a_namespace_are_judged_and_the_next_when_one_is_deleted() {
        let most = i64::try_from(MAX_PER_NAMESPACE).unwrap();
        let name = |second: i64| format!("p-{second:03}");
        let all = (0..most + 3).rev().map(|second| aged(&name(second), second));
        let (policies, mut sink) = listed(all);
        assert_eq!(due(&policies).await.len(), MAX_PER_NAMESPACE + 3, "each has a status");
        let counts = policies.counts();
        assert_eq!((counts.all, counts.excess), (MAX_PER_NAMESPACE + 3, 3));
        let judged = |second: i64| policies.is_judged(&aged(&name(second), second));
        assert_eq!([most - 1, most, most + 2].map(judged), [true, false, false]);
        policies.namespace_changed("shop", Duration::ZERO);
        let changed = due(&policies).await;
        assert_eq!(changed.len(), MAX_PER_NAMESPACE);
        assert!(!changed.contains(&format!("shop/{}", name(most))), "{changed:?}");
        // The oldest is deleted: the next one takes its place.
        sink.deleted("shop", &name(0));
        assert_eq!(due(&policies).await, keys([&format!("shop/{}", name(most))]));
        assert_eq!([most, most + 1].map(judged), [true, false]);
        // One whose deletion waits for another finalizer takes no place either.
        let mut held = aged(&name(1), 1);
        held.metadata.deletion_timestamp = held.metadata.creation_timestamp.clone();
        sink.applied(held.clone());
        let both = [1, most + 1].map(|second| format!("shop/{}", name(second)));
        assert_eq!(due(&policies).await, keys([&both[0], &both[1]]));
        sink.applied(held);
        assert_eq!(due(&policies).await, keys([]));
        // One that is not judged is deleted.
        sink.deleted("shop", &name(most + 2));
        assert_eq!((due(&policies).await, policies.counts().excess), (keys([]), 0));
        // An older one, as of the same second, displaces the youngest.
        sink.applied(aged("restored", 2));
        let displaced = format!("shop/{}", name(most + 1));
        assert_eq!(due(&policies).await, keys(["shop/restored", &displaced]));
        assert!(!judged(most + 1));
    }

    fn cluster_policy(name: &str, priority: i32, version: u32) -> ClusterPolicyView {
        serde_json::from_value(serde_json::json!({
            "metadata": { "name": name, "uid": name, "generation": version,
                "resourceVersion": version.to_string(),
                "creationTimestamp": "2026-11-29T08:00:00Z" },
            "spec": { "priority": priority },
        }))
        .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_of_one_kind_says_nothing_of_the_other() {
        let (policies, mut sink) = listed([policy("a", "1", 1, 0, "1")]);
        let mut cluster = policies.cluster_sink();
        cluster.list_begins();
        cluster.applied(cluster_policy("a", 0, 1));
        cluster.list_completes();
        assert_eq!(due(&policies).await, keys(["ClusterDevOpsPolicy/a", "shop/a"]));
        sink.list_begins();
        sink.list_completes();
        assert!(policies.get(&PolicyKey::new("", "a")).is_some());
        assert_eq!(policies.counts().all, 1);
        cluster.list_begins();
        cluster.list_completes();
        assert_eq!(policies.counts().all, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn of_too_many_cluster_policies_those_of_the_highest_priority_are_judged() {
        let policies = Policies::default();
        let mut sink = policies.cluster_sink();
        for number in 0..=MAX_PER_NAMESPACE {
            sink.applied(cluster_policy(&format!("p-{number:03}"), 0, 1));
        }
        let last = PolicyKey::new("", &format!("p-{MAX_PER_NAMESPACE:03}"));
        let before_last = PolicyKey::new("", &format!("p-{:03}", MAX_PER_NAMESPACE - 1));
        let is_judged = |key: &PolicyKey| policies.is_judged(&policies.get(key).unwrap().0);
        assert_eq!([&before_last, &last].map(is_judged), [true, false]);
        due(&policies).await;
        policies.take_changed(&last);
        sink.applied(cluster_policy(&last.name, 1, 2));
        assert_eq!([&before_last, &last].map(is_judged), [false, true]);
        let both = BTreeSet::from([&last, &before_last].map(ToString::to_string));
        assert_eq!(due(&policies).await, both);
        assert_eq!(policies.take_changed(&last), None, "what changed meanwhile is not known");
        // A namespace that changes is a matter of those that are judged.
        policies.take_changed(&before_last);
        policies.namespace_changed("shop", Duration::ZERO);
        assert_eq!(due(&policies).await.len(), MAX_PER_NAMESPACE);
        assert_eq!(policies.take_changed(&last), Some([Arc::from("shop")].into()));
    }
}
