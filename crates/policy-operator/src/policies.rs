//! The policies of the cluster, each with its state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use policy_core::api::EnforcementMode;
use policy_core::report::Summary;
use policy_core::score::Score;
use policy_core::view::PolicyView;
use policy_runtime::watch::Sink;

use crate::policy_key::PolicyKey;
use crate::policy_state::PolicyState;
use crate::queue::ReconcileQueue;

/// The values of the metrics of a policy.
pub(crate) type PolicyGauges = (EnforcementMode, Score, Summary);

/// A policy's state. A reconcile holds the lock from its start to its end.
pub(crate) type SharedState = Arc<tokio::sync::Mutex<PolicyState>>;

/// The policies, shared by their watch, the controller and the metrics. A change of one adds it to
/// the queue. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(crate) struct Policies {
    known: Arc<Mutex<BTreeMap<PolicyKey, Known>>>,
    pub(crate) queue: ReconcileQueue,
}

struct Known {
    policy: Arc<PolicyView>,
    state: SharedState,
    gauges: Option<PolicyGauges>,
}

impl Known {
    /// Whether it is the same object, not one that was created later under the same name.
    fn is(&self, policy: &PolicyView) -> bool {
        self.policy.metadata.uid == policy.metadata.uid
    }

    /// Whether a version of the object is older than the known one. Versions can be compared since
    /// Kubernetes 1.35 (<https://github.com/kubernetes/enhancements/issues/5504>), and with etcd
    /// always could.
    fn is_newer_than(&self, policy: &PolicyView) -> bool {
        let version = |policy: &PolicyView| -> Option<u64> {
            policy.metadata.resource_version.as_deref()?.parse().ok()
        };
        version(&self.policy).zip(version(policy)).is_some_and(|(known, other)| known > other)
    }

    /// Replaces the policy by another version, and adds it to the queue where it changed. A status
    /// is no change, so that the operator's own writes cause no reconcile.
    fn replace(&mut self, policy: PolicyView, key: &PolicyKey, queue: &ReconcileQueue) {
        let (old, new) = (&self.policy.metadata, &policy.metadata);
        if old.generation != new.generation || old.deletion_timestamp != new.deletion_timestamp {
            queue.add_urgent(key);
        } else if old.finalizers != new.finalizers {
            queue.add_after(key, Duration::ZERO);
        }
        self.policy = Arc::new(policy);
    }
}

impl Policies {
    /// A policy with its state.
    pub(crate) fn get(&self, key: &PolicyKey) -> Option<(Arc<PolicyView>, SharedState)> {
        let known = self.known.lock();
        known.get(key).map(|known| (Arc::clone(&known.policy), Arc::clone(&known.state)))
    }

    /// The values of the metrics of each policy that can be judged.
    pub(crate) fn gauges(&self) -> Vec<(PolicyKey, PolicyGauges)> {
        let known = self.known.lock();
        known.iter().filter_map(|(key, known)| Some((key.clone(), known.gauges.clone()?))).collect()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.known.lock().len()
    }

    /// Adds the policies of a namespace to the queue.
    pub(crate) fn namespace_changed(&self, namespace: &str, delay: Duration) {
        let known = self.known.lock();
        let from = known.range(PolicyKey::new(namespace, "")..);
        for (key, _) in from.take_while(|(key, _)| &*key.namespace == namespace) {
            self.queue.add_after(key, delay);
        }
    }

    /// Adds all policies to the queue, as they may have to be written.
    pub(crate) fn became_leader(&self) {
        for key in self.known.lock().keys() {
            self.queue.add_urgent(key);
        }
    }

    /// Sets the values of the metrics of a policy.
    pub(crate) fn set_gauges(&self, policy: &PolicyView, gauges: Option<PolicyGauges>) {
        let mut all = self.known.lock();
        let known = all.get_mut(&PolicyKey::of(&policy.metadata));
        if let Some(known) = known.filter(|known| known.is(policy)) {
            known.gauges = gauges;
        }
    }

    /// Stores a policy from the answer to a write, before the watch shows it.
    pub(crate) fn written(&self, policy: Option<PolicyView>) {
        let Some(policy) = policy else { return };
        let key = PolicyKey::of(&policy.metadata);
        let mut all = self.known.lock();
        let known = all.get_mut(&key).filter(|known| known.is(&policy));
        if let Some(known) = known.filter(|known| !known.is_newer_than(&policy)) {
            known.replace(policy, &key, &self.queue);
        }
    }

    /// The sink for a watch of all policies.
    pub(crate) fn sink(&self) -> PolicySink {
        PolicySink { policies: self.clone(), listed: None }
    }
}

/// Stores the policies of a watch.
pub(crate) struct PolicySink {
    policies: Policies,
    /// The policies of the list that is being read.
    listed: Option<BTreeSet<PolicyKey>>,
}

impl Sink<PolicyView> for PolicySink {
    fn list_begins(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    fn list_completes(&mut self) {
        if let Some(listed) = self.listed.take() {
            self.policies.known.lock().retain(|key, _| listed.contains(key));
        }
    }

    fn applied(&mut self, policy: PolicyView) {
        let key = PolicyKey::of(&policy.metadata);
        let queue = &self.policies.queue;
        let mut all = self.policies.known.lock();
        match all.get_mut(&key).filter(|known| known.is(&policy)) {
            // The watch lags behind the answer to a write. A list does not: it counts even where
            // versions are smaller, as after a restore of etcd.
            Some(known) if self.listed.is_none() && known.is_newer_than(&policy) => {}
            Some(known) => known.replace(policy, &key, queue),
            None => {
                let state = SharedState::default();
                let known = Known { policy: Arc::new(policy), state, gauges: None };
                all.insert(key.clone(), known);
                queue.add_urgent(&key);
            }
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
        self.policies.known.lock().remove(&PolicyKey::new(namespace, name));
    }
}

#[cfg(test)]
mod tests {
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
        held.metadata.finalizers = Some(vec!["example.com/other".to_owned()]);
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
        assert_eq!(policies.len(), 1, "b is gone with the list");
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
        assert_eq!(policies.len(), 1, "deleted meanwhile");
        sink.list_begins();
        sink.applied(policy("a", "1", 2, 30, "2"));
        sink.list_completes();
        assert_eq!(score(&policies), Some(30), "etcd was restored");
    }
}
