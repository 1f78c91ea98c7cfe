//! The scores of the pods of the cluster, kept up to date by the watch.

use std::sync::Arc;

use metrics::{Counter, counter};
use parking_lot::Mutex;
use policy_core::Timestamp;
use policy_core::custom::CustomInput;
use policy_core::evaluate::evaluate_with;
use policy_core::facts::PodFacts;
use policy_core::index::{Index, ScoredPod};
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::CompiledPolicy;
use policy_core::score::Tally;
use policy_core::view::PodView;
use policy_core::workload::ObjectKind;
use policy_metrics::every_service::DROPPED;
use policy_metrics::watcher::POD_EVENTS;
use policy_runtime::watch::{RawEvent, Sink};

/// The scores, shared by the watch and the endpoints. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Scores(Arc<Shared>);

struct Shared {
    /// The policy by which the next list is evaluated.
    configured: Mutex<Arc<CompiledPolicy>>,
    /// Why its file is not used as it is now.
    refused: Mutex<Option<String>>,
    excluded: ExcludedNamespaces,
    pods: Mutex<Pods>,
}

struct Pods {
    index: Index<ScoredPod>,
    /// The policy by which the pods are evaluated; during a list, by which those of the list are.
    policy: Arc<CompiledPolicy>,
    /// Whether a list has been completed. Until then the index lacks pods.
    is_listed: bool,
    /// The totals from before a relist. While it runs, the index has deleted pods beside new ones.
    before_relist: Option<Arc<Totals>>,
}

/// The totals of the pods.
pub(crate) struct Totals {
    /// The policy by which they were evaluated.
    pub(crate) policy: Arc<CompiledPolicy>,
    /// Of all pods.
    pub(crate) cluster: Tally,
    /// Of each namespace with pods, sorted by name.
    pub(crate) namespaces: Vec<(Arc<str>, Tally)>,
}

impl Pods {
    fn totals(&self) -> Arc<Totals> {
        let namespaces = self.index.namespaces();
        let namespaces = namespaces.map(|(name, tally)| (Arc::clone(name), *tally));
        Arc::new(Totals {
            policy: Arc::clone(&self.policy),
            cluster: *self.index.total(),
            namespaces: namespaces.collect(),
        })
    }
}

impl Scores {
    /// No pods yet.
    #[must_use]
    pub(crate) fn new(policy: CompiledPolicy, excluded: ExcludedNamespaces) -> Self {
        let policy = Arc::new(policy);
        let pods = Pods {
            index: Index::default(),
            policy: Arc::clone(&policy),
            is_listed: false,
            before_relist: None,
        };
        let (configured, pods) = (Mutex::new(policy), Mutex::new(pods));
        Self(Arc::new(Shared { configured, refused: Mutex::default(), excluded, pods }))
    }

    /// Evaluates the pods of the next list, and all that follow, by this policy. Until that list is
    /// complete the totals are those under the policy before. Returns whether it is another one.
    pub(crate) fn set_policy(&self, policy: CompiledPolicy) -> bool {
        let mut configured = self.0.configured.lock();
        let is_other = **configured != policy;
        if is_other {
            *configured = Arc::new(policy);
        }
        is_other
    }

    /// The policy by which the next list is evaluated.
    pub(crate) fn configured(&self) -> Arc<CompiledPolicy> {
        Arc::clone(&self.0.configured.lock())
    }

    /// Says why the policy's file is not used as it is now; `None` where it is.
    pub(crate) fn refuse_policy(&self, why: Option<String>) {
        *self.0.refused.lock() = why;
    }

    /// Why the policy's file is not used as it is now.
    #[must_use]
    pub(crate) fn refused_policy(&self) -> Option<String> {
        self.0.refused.lock().clone()
    }

    /// The totals at a time. Pods that have become Pending for too long by then are counted,
    /// although no event reports that. During a relist these are the totals from before it; `None`
    /// until the initial list is complete.
    ///
    /// A copy, so that the watch goes on while a page of 100 000 series is rendered.
    #[must_use]
    pub(crate) fn at(&self, now: Timestamp) -> Option<Arc<Totals>> {
        self.update(|pods| {
            pods.index.advance(now.as_second());
            let before_relist = pods.before_relist.as_ref().map(Arc::clone);
            pods.is_listed.then(|| before_relist.unwrap_or_else(|| pods.totals()))
        })
    }

    /// The second (since 1970) at which the next pod changes only because time passes.
    #[must_use]
    pub(crate) fn next_due(&self) -> Option<i64> {
        self.update(|pods| pods.index.next_due())
    }

    /// How many pods are in the index, also during the initial list.
    #[must_use]
    pub(crate) fn tracked(&self) -> usize {
        self.update(|pods| pods.index.len())
    }

    /// The sink for a watch of all pods.
    #[must_use]
    pub(crate) fn sink(&self) -> PodSink {
        policy_runtime::metrics::describe(&POD_EVENTS);
        let events = |event| {
            let counter = counter!(POD_EVENTS.name, "event" => event);
            counter.increment(0);
            counter
        };
        PodSink {
            scores: self.clone(),
            policy: self.configured(),
            is_listing: false,
            applied: events("applied"),
            deleted: events("deleted"),
            relisted: events("relisted"),
            without_result: counter!(DROPPED.name, "what" => "results of custom checks"),
        }
    }

    fn update<T>(&self, work: impl FnOnce(&mut Pods) -> T) -> T {
        work(&mut self.0.pods.lock())
    }
}

/// Scores the pods of a watch.
pub(crate) struct PodSink {
    scores: Scores,
    /// The policy by which pods are evaluated since the last list began. One that is set meanwhile
    /// counts from the next list on, so that no two pods are ever evaluated by different ones.
    policy: Arc<CompiledPolicy>,
    is_listing: bool,
    applied: Counter,
    deleted: Counter,
    relisted: Counter,
    /// Custom checks without a result for a pod.
    without_result: Counter,
}

impl Sink<PodView> for PodSink {
    fn list_begins(&mut self) {
        self.is_listing = true;
        self.policy = self.scores.configured();
        let policy = Arc::clone(&self.policy);
        self.scores.update(|pods| {
            // After a relist that failed, the index has both deleted and new pods: then the totals
            // from before that one stay.
            if pods.is_listed && pods.before_relist.is_none() {
                pods.before_relist = Some(pods.totals());
            }
            pods.policy = policy;
            pods.index.begin_relist();
        });
    }

    fn list_completes(&mut self) {
        self.is_listing = false;
        self.scores.update(|pods| {
            pods.index.finish_relist();
            pods.is_listed = true;
            pods.before_relist = None;
        });
    }

    fn applied(&mut self, pod: PodView) {
        self.apply(&pod, None);
    }

    fn applied_from(&mut self, pod: PodView, event: RawEvent<'_>) {
        self.apply(&pod, Some(event));
    }

    fn undecodable(&mut self, namespace: &str, name: &str) {
        self.scores.update(|pods| pods.index.keep(namespace, name));
    }

    fn deleted(&mut self, namespace: &str, name: &str) {
        self.deleted.increment(1);
        self.scores.update(|pods| pods.index.remove(namespace, name));
    }
}

impl PodSink {
    fn apply(&self, pod: &PodView, event: Option<RawEvent<'_>>) {
        let counter = if self.is_listing { &self.relisted } else { &self.applied };
        counter.increment(1);
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let Some(name) = pod.metadata.name.as_deref() else { return };
        if self.scores.0.excluded.contains(namespace) {
            return;
        }
        let custom = self.policy.custom().zip(event).map(|(checks, event)| {
            let input = CustomInput::of_read(ObjectKind::Pod, event.object().ok());
            checks.judge(&input, None)
        });
        let without_result = custom.as_ref().map_or(0, |custom| custom.failures.len());
        self.without_result.increment(without_result as u64);
        let facts = PodFacts::of_pod(pod, namespace);
        let evaluation =
            evaluate_with(&facts, &self.policy, custom.as_ref(), None, Timestamp::now());
        let record = ScoredPod::of(name, &evaluation);
        self.scores.update(|pods| pods.index.set(namespace, name, record));
    }
}

#[cfg(test)]
mod tests {
    use policy_core::api::DevOpsPolicySpec;

    use super::*;

    fn pod(name: &str) -> PodView {
        let pod = r#"{"metadata": {"namespace": "shop", "name": "NAME"},
            "spec": {"containers": [{"name": "c", "image": "nginx"}]},
            "status": {"phase": "Running"}}"#;
        serde_json::from_str(&pod.replace("NAME", name)).unwrap()
    }

    fn pods(scores: &Scores) -> Option<(u64, u64)> {
        let totals = scores.at(Timestamp::now())?;
        let namespaces = totals.namespaces.iter().map(|(_, tally)| tally.pods());
        Some((totals.cluster.pods(), namespaces.sum()))
    }

    #[test]
    fn during_a_relist_the_totals_from_before_it_stay() {
        let policy = CompiledPolicy::default_profile();
        let scores = Scores::new(policy, ExcludedNamespaces::default());
        let mut sink = scores.sink();
        sink.list_begins();
        sink.applied(pod("a"));
        assert_eq!(pods(&scores), None, "the initial list is not complete");
        sink.applied(pod("b"));
        sink.list_completes();
        assert_eq!(pods(&scores), Some((2, 2)));
        // Two relists fail.
        for _ in 0..2 {
            sink.list_begins();
            for name in ["c", "d", "e"] {
                sink.applied(pod(name));
            }
            assert_eq!(pods(&scores), Some((2, 2)));
        }
        sink.list_begins();
        for name in ["c", "d", "e"] {
            sink.applied(pod(name));
        }
        sink.list_completes();
        assert_eq!(pods(&scores), Some((3, 3)));
        sink.deleted("shop", "c");
        assert_eq!(pods(&scores), Some((2, 2)));
    }

    /// A changed policy shows nothing between the score under the old one and that under the new.
    #[test]
    fn a_changed_policy_counts_from_the_next_complete_list_on() {
        let compile = |spec: &str| {
            let spec: DevOpsPolicySpec = serde_json::from_str(spec).unwrap();
            CompiledPolicy::compile(&spec).unwrap()
        };
        let strict = r#"{"forbidLatestTag": true}"#;
        let exempting = r#"{"forbidLatestTag": true, "exemptions": [{"checks": ["latest-tag"],
            "workload": {"kind": "Pod", "name": "a"}, "reason": "r"}]}"#;
        let scores = Scores::new(compile(strict), ExcludedNamespaces::default());
        let numbers = || {
            let totals = scores.at(Timestamp::now()).unwrap();
            let found = (totals.cluster.total_findings(), totals.cluster.total_exempted());
            (found, totals.policy.exemptions().is_some())
        };
        let mut sink = scores.sink();
        let list = |sink: &mut PodSink, names: &[&str]| {
            sink.list_begins();
            for name in names {
                sink.applied(pod(name));
            }
        };
        list(&mut sink, &["a", "b"]);
        sink.list_completes();
        assert_eq!(numbers(), ((2, 0), false));
        assert!(!scores.set_policy(compile(strict)), "the same");
        assert!(scores.set_policy(compile(exempting)));
        sink.applied(pod("c"));
        assert_eq!(numbers(), ((3, 0), false), "all by the old one");
        list(&mut sink, &["a"]);
        assert_eq!(numbers(), ((3, 0), false), "the list is not complete");
        list(&mut sink, &["a", "b", "c"]);
        sink.list_completes();
        assert_eq!(numbers(), ((2, 1), true));
    }
}
