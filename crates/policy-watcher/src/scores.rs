//! The pods of the cluster as they are scored, kept up to date by the watch.

use std::sync::Arc;

use metrics::{Counter, counter, describe_counter};
use parking_lot::Mutex;
use policy_core::Timestamp;
use policy_core::evaluate::evaluate;
use policy_core::facts::PodFacts;
use policy_core::index::{Index, ScoredPod};
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::CompiledPolicy;
use policy_core::score::Tally;
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
    /// The last whole numbers, while a list is under way: until it is complete the index holds
    /// pods that are gone beside those that are new.
    last_whole: Option<Totals>,
}

/// What the pods of the cluster, and of each namespace, add up to.
struct Totals {
    cluster: Tally,
    namespaces: Vec<(Arc<str>, Tally)>,
}

/// The same, to be read.
pub(crate) struct View<'a> {
    /// All pods.
    pub(crate) cluster: &'a Tally,
    /// Those of each namespace that has any, sorted by name.
    pub(crate) namespaces: Vec<(&'a Arc<str>, &'a Tally)>,
    /// The second since 1970 at which the next pod changes by the passing of time.
    pub(crate) next_due: Option<i64>,
}

impl Pods {
    fn totals(&self) -> Totals {
        let namespaces = self.index.namespaces();
        let namespaces = namespaces.map(|(name, tally)| (Arc::clone(name), *tally));
        Totals { cluster: *self.index.total(), namespaces: namespaces.collect() }
    }

    fn view(&self) -> View<'_> {
        let next_due = self.index.next_due();
        match &self.last_whole {
            Some(whole) => {
                let namespaces = whole.namespaces.iter().map(|(name, tally)| (name, tally));
                View { cluster: &whole.cluster, namespaces: namespaces.collect(), next_due }
            }
            None => View {
                cluster: self.index.total(),
                namespaces: self.index.namespaces().collect(),
                next_due,
            },
        }
    }
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

    /// Gives the numbers as they are at that moment: pods that are Pending for too long by now are
    /// counted, though no event tells of it. While a list is under way these are the last whole
    /// ones; `None` before the first.
    pub(crate) fn at<T>(&self, now: Timestamp, read: impl FnOnce(View<'_>) -> T) -> Option<T> {
        self.update(|pods| {
            pods.index.advance(now.as_second());
            pods.is_listed.then(|| read(pods.view()))
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
        work(&mut self.0.pods.lock())
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
        self.scores.update(|pods| {
            // One that broke off has left its traces in the index.
            if pods.is_listed && pods.last_whole.is_none() {
                pods.last_whole = Some(pods.totals());
            }
            pods.index.begin_relist();
        });
    }

    fn list_completes(&mut self) {
        self.is_listing = false;
        self.scores.update(|pods| {
            pods.index.finish_relist();
            pods.is_listed = true;
            pods.last_whole = None;
        });
    }

    fn applied(&mut self, pod: PodView) {
        let counter = if self.is_listing { &self.relisted } else { &self.applied };
        counter.increment(1);
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let Some(name) = pod.metadata.name.as_deref() else { return };
        let Inner { policy, excluded, .. } = &*self.scores.0;
        if excluded.contains(namespace) {
            return;
        }
        let evaluation =
            evaluate(&PodFacts::of_pod(&pod, namespace).checked, policy, Timestamp::now());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> PodView {
        let pod = r#"{"metadata": {"namespace": "shop", "name": "NAME"},
            "spec": {"containers": [{"name": "c", "image": "nginx"}]},
            "status": {"phase": "Running"}}"#;
        serde_json::from_str(&pod.replace("NAME", name)).unwrap()
    }

    fn pods(scores: &Scores) -> Option<(u64, u64)> {
        scores.at(Timestamp::now(), |view| {
            (view.cluster.pods(), view.namespaces.iter().map(|(_, tally)| tally.pods()).sum())
        })
    }

    #[test]
    fn while_a_list_is_under_way_the_last_whole_numbers_stay() {
        let policy = CompiledPolicy::default_profile();
        let scores = Scores::new(policy, ExcludedNamespaces::default());
        let mut sink = scores.sink();
        sink.list_begins();
        sink.applied(pod("a"));
        assert_eq!(pods(&scores), None, "nothing is true before the first whole list");
        sink.applied(pod("b"));
        sink.list_completes();
        assert_eq!(pods(&scores), Some((2, 2)));
        // It breaks off, and so does the next one.
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
}
