//! The facts of all pods, and the namespaces whose facts have changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use policy_core::facts::{Lifecycle, PodFacts};
use policy_core::index::Index;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::view::PodView;
use policy_runtime::watch::Sink;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::names::Names;

/// Changes of a namespace are gathered for so long after the first one: pods seldom come alone.
/// Not after the last one: a namespace that never rests would never be looked at.
pub(crate) const GATHERING: Duration = Duration::from_millis(100);

/// The pods, shared between the watch and those who ask.
#[derive(Clone)]
pub(crate) struct Pods(Arc<Inner>);

struct Inner {
    excluded: ExcludedNamespaces,
    state: Mutex<State>,
    /// Told when a namespace changed, and when a list is complete.
    changed: Notify,
}

#[derive(Default)]
struct State {
    index: Index<PodFacts>,
    names: Names,
    /// A list is under way: until it is complete the index holds pods that are gone beside those
    /// that are new, and nothing is judged.
    is_listing: bool,
    is_listed: bool,
    /// The namespaces to be looked at anew, and when.
    due: BTreeMap<Arc<str>, Instant>,
}

impl State {
    /// Whether the index holds the pods as they are.
    fn is_whole(&self) -> bool {
        self.is_listed && !self.is_listing
    }

    fn mark(&mut self, namespace: &str, at: Instant) {
        if !self.due.contains_key(namespace) {
            self.due.insert(namespace.into(), at);
        }
    }
}

impl Pods {
    /// No pods yet.
    #[must_use]
    pub(crate) fn new(excluded: ExcludedNamespaces) -> Self {
        let changed = Notify::new();
        Self(Arc::new(Inner { excluded, state: Mutex::default(), changed }))
    }

    /// Whether pods of the namespace are judged at all.
    #[must_use]
    pub(crate) fn excludes(&self, namespace: &str) -> bool {
        self.0.excluded.contains(namespace)
    }

    /// Looks at the pods of a namespace. `None` while they are not known as a whole; the namespace
    /// then counts as changed once they are.
    pub(crate) fn read<T>(
        &self,
        namespace: &str,
        look: impl FnOnce(&mut dyn Iterator<Item = &PodFacts>) -> T,
    ) -> Option<T> {
        self.update(|state| {
            if state.is_whole() {
                return Some(look(&mut state.index.pods(namespace).map(|(_, facts)| facts)));
            }
            state.mark(namespace, Instant::now());
            None
        })
    }

    /// How many pods are kept.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.update(|state| state.index.len())
    }

    /// Waits for namespaces to be looked at anew. Each is given once for all its changes since it
    /// was last given.
    pub(crate) async fn changed(&self) -> Vec<Arc<str>> {
        loop {
            let told = self.0.changed.notified();
            let now = Instant::now();
            let next = self.update(|state| {
                if !state.is_whole() {
                    return Err(None);
                }
                let is_ready = |(_, at): &(&Arc<str>, &Instant)| **at <= now;
                let ready = state.due.iter().filter(is_ready).map(|(name, _)| Arc::clone(name));
                let ready: Vec<Arc<str>> = ready.collect();
                for namespace in &ready {
                    state.due.remove(namespace);
                }
                if ready.is_empty() { Err(state.due.values().min().copied()) } else { Ok(ready) }
            });
            match next {
                Ok(ready) => return ready,
                Err(None) => told.await,
                Err(Some(at)) => tokio::select! {
                    () = told => {}
                    () = tokio::time::sleep_until(at) => {}
                },
            }
        }
    }

    /// What a watch of all pods is to be given.
    #[must_use]
    pub(crate) fn sink(&self) -> PodSink {
        PodSink(self.clone())
    }

    fn update<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the index; where that changed a namespace, it is to be looked at.
    fn change(&self, namespace: &str, work: impl FnOnce(&mut State) -> bool) {
        let is_changed = self.update(|state| {
            let is_changed = work(state);
            if is_changed {
                state.mark(namespace, Instant::now() + GATHERING);
            }
            is_changed
        });
        if is_changed {
            self.0.changed.notify_one();
        }
    }
}

/// Takes in the pods of a watch.
pub(crate) struct PodSink(Pods);

impl Sink<PodView> for PodSink {
    fn list_begins(&mut self) {
        self.0.update(|state| {
            state.is_listing = true;
            state.index.begin_relist();
        });
    }

    fn list_completes(&mut self) {
        self.0.update(|state| {
            let now = Instant::now();
            for namespace in state.index.finish_relist() {
                state.mark(&namespace, now);
            }
            state.is_listing = false;
            state.is_listed = true;
        });
        self.0.0.changed.notify_one();
    }

    fn applied(&mut self, pod: PodView) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let Some(name) = pod.metadata.name.as_deref() else { return };
        if self.0.excludes(namespace) {
            return;
        }
        let facts = PodFacts::of_pod(&pod, namespace);
        let record = (facts.checked.lifecycle != Lifecycle::Ended).then_some(facts);
        self.0.change(namespace, |state| {
            let record = record.map(|mut facts| {
                state.names.share(&mut facts);
                facts
            });
            state.index.set(namespace, name, record)
        });
    }

    fn undecodable(&mut self, namespace: &str, name: &str) {
        self.0.update(|state| state.index.keep(namespace, name));
    }

    fn deleted(&mut self, namespace: &str, name: &str) {
        self.0.change(namespace, |state| state.index.remove(namespace, name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    fn pod(namespace: &str, name: &str, phase: &str) -> PodView {
        serde_json::from_value(serde_json::json!({
            "metadata": { "namespace": namespace, "name": name },
            "spec": { "containers": [{ "name": "c", "image": "nginx" }] },
            "status": { "phase": phase },
        }))
        .unwrap()
    }

    fn listed() -> (Pods, PodSink) {
        let pods = Pods::new(ExcludedNamespaces::default());
        let mut sink = pods.sink();
        sink.list_begins();
        sink.list_completes();
        (pods, sink)
    }

    async fn changed_within(pods: &Pods, limit: Duration) -> Vec<Arc<str>> {
        tokio::time::timeout(limit, pods.changed()).await.unwrap_or_default()
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_gathered_from_the_first_one_on() {
        let (pods, mut sink) = listed();
        for number in 0..5 {
            sink.applied(pod("shop", &format!("web-{number}"), "Running"));
            tokio::time::advance(GATHERING / 10).await;
        }
        assert!(changed_within(&pods, GATHERING * 4 / 10).await.is_empty());
        assert_eq!(changed_within(&pods, GATHERING * 2 / 10).await, ["shop".into()]);
        assert!(changed_within(&pods, GATHERING * 10).await.is_empty(), "given once");
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_no_fact_changes_nothing() {
        let (pods, mut sink) = listed();
        sink.applied(pod("shop", "web", "Running"));
        sink.applied(pod("kube-system", "dns", "Running"));
        assert_eq!(changed_within(&pods, GATHERING).await, ["shop".into()]);
        sink.applied(pod("shop", "web", "Running"));
        sink.applied(pod("shop", "job", "Succeeded"));
        assert!(changed_within(&pods, GATHERING * 2).await.is_empty());
        assert_eq!(pods.len(), 1);
        sink.applied(pod("shop", "web", "Failed"));
        assert_eq!(changed_within(&pods, GATHERING).await, ["shop".into()]);
        assert_eq!(pods.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_judged_while_a_list_is_under_way() {
        let (pods, mut sink) = listed();
        sink.applied(pod("shop", "web", "Running"));
        assert_eq!(changed_within(&pods, GATHERING).await.len(), 1);
        sink.list_begins();
        assert_eq!(pods.read("shop", |pods| pods.count()), None);
        sink.applied(pod("bank", "web", "Running"));
        assert!(changed_within(&pods, GATHERING * 10).await.is_empty());
        sink.list_completes();
        assert_eq!(changed_within(&pods, MOMENT).await, ["bank".into(), "shop".into()]);
        assert_eq!(pods.read("shop", |pods| pods.count()), Some(0));
    }
}
