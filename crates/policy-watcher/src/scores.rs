//! The pods of the cluster as they are scored, kept up to date by the watch.

use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, counter, describe_counter};
use policy_core::Timestamp;
use policy_core::evaluate::evaluate;
use policy_core::facts::PodFacts;
use policy_core::index::{Index, ScoredPod};
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::CompiledPolicy;
use policy_core::view::PodView;
use policy_runtime::watch::Sink;

/// The scores, shared between the watch and those who ask.
#[derive(Clone)]
pub(crate) struct Scores(Arc<Inner>);

struct Inner {
    policy: CompiledPolicy,
    excluded: ExcludedNamespaces,
    pods: Mutex<Pods>,
}

#[derive(Default)]
struct Pods {
    index: Index<ScoredPod>,
    /// Whether there ever was a whole list: before that, nothing of the index is true.
    is_listed: bool,
}

impl Scores {
    /// No pods, to be judged by that policy.
    #[must_use]
    pub(crate) fn new(policy: CompiledPolicy, excluded: ExcludedNamespaces) -> Self {
        Self(Arc::new(Inner { policy, excluded, pods: Mutex::default() }))
    }

    /// The policy by which pods are judged.
    #[must_use]
    pub(crate) fn policy(&self) -> &CompiledPolicy {
        &self.0.policy
    }

    /// Gives the pods as they are at that moment: those that are Pending for too long by now are
    /// counted, though no event tells of it. `None` before the first whole list.
    pub(crate) fn at<T>(
        &self,
        now: Timestamp,
        read: impl FnOnce(&Index<ScoredPod>) -> T,
    ) -> Option<T> {
        self.update(|pods| {
            pods.index.advance(now.as_second());
            pods.is_listed.then(|| read(&pods.index))
        })
    }

    /// How many pods are kept, those of a list that is not whole included.
    #[must_use]
    pub(crate) fn tracked(&self) -> usize {
        self.update(|pods| pods.index.len())
    }

    /// What a watch of all pods is to be given.
    #[must_use]
    pub(crate) fn sink(&self) -> PodSink {
        describe_counter!("pod_events_total", "Pods seen by the watch.");
        let events = |event| {
            let counter = counter!("pod_events_total", "event" => event);
            counter.increment(0);
            counter
        };
        PodSink {
            scores: self.clone(),
            is_listing: false,
            applied: events("applied"),
            deleted: events("deleted"),
            relisted: events("relisted"),
        }
    }

    fn update<T>(&self, work: impl FnOnce(&mut Pods) -> T) -> T {
        // A panic half-way leaves totals that a relist does not mend; but the watch has ended
        // with it, and so does the process.
        work(&mut self.0.pods.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes in the pods of a watch.
pub(crate) struct PodSink {
    scores: Scores,
    is_listing: bool,
    applied: Counter,
    deleted: Counter,
    relisted: Counter,
}

impl Sink<PodView> for PodSink {
    fn list_begins(&mut self) {
        self.is_listing = true;
        self.scores.update(|pods| pods.index.begin_relist());
    }

    fn list_completes(&mut self) {
        self.is_listing = false;
        self.scores.update(|pods| {
            pods.index.finish_relist();
            pods.is_listed = true;
        });
    }

    fn applied(&mut self, pod: PodView) {
        let counter = if self.is_listing { &self.relisted } else { &self.applied };
        counter.increment(1);
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let Inner { policy, excluded, .. } = &*self.scores.0;
        if excluded.contains(namespace) {
            return;
        }
        let evaluation = evaluate(&PodFacts::of_pod(&pod, namespace), policy, Timestamp::now());
        let record = ScoredPod::of(&evaluation);
        self.scores.update(|pods| pods.index.set(namespace, name, record));
    }

    fn undecodable(&mut self, namespace: &str, name: &str) {
        self.scores.update(|pods| pods.index.keep(namespace, name));
    }

    fn deleted(&mut self, namespace: &str, name: &str) {
        self.deleted.increment(1);
        self.scores.update(|pods| pods.index.remove(namespace, name));
    }
}
