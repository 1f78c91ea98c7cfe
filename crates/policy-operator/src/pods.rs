//! The facts of all pods.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use policy_core::custom::{CustomInput, CustomResults};
use policy_core::facts::{Lifecycle, PodFacts};
use policy_core::index::Index;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::view::PodView;
use policy_core::workload::ObjectKind;
use policy_runtime::watch::{RawEvent, Sink};
use tokio::time::Instant;

use crate::custom::{self, CustomStore, Now, SetId, Version};
use crate::interner::Interner;
use crate::policies::Policies;
use crate::remediation::{HealthTable, PodHealth};

/// The policies of a namespace are due that long after the first change of a pod: pods seldom
/// change alone. Not after the last one: a namespace that always changes would never be judged.
pub(crate) const GATHERING: Duration = Duration::from_millis(100);

/// The pods, shared by their watch and the reconciler. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Pods(Arc<Shared>);

struct Shared {
    excluded: ExcludedNamespaces,
    policies: Policies,
    /// The results of custom checks. Its lock is taken within that of the state, never around it.
    custom: CustomStore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    index: Index<Arc<PodFacts>>,
    interner: Interner,
    health: HealthTable,
    /// A list is being read: until it is complete the index has deleted pods beside new ones, and
    /// nothing is judged.
    is_listing: bool,
    is_listed: bool,
    /// The namespaces whose policies are due once the list is complete.
    waiting: BTreeSet<Arc<str>>,
}

impl State {
    /// Whether the index has exactly the pods that exist.
    fn is_complete(&self) -> bool {
        self.is_listed && !self.is_listing
    }

    /// Removes a pod. Returns whether that changed anything.
    fn remove(&mut self, namespace: &str, name: &str) -> bool {
        let was_injected = self.health.remove(namespace, name);
        let was_there = self.index.remove(namespace, name);
        self.interner.removed(usize::from(was_there));
        was_there | was_injected
    }

    fn wait(&mut self, namespace: &str) {
        if !self.waiting.contains(namespace) {
            self.waiting.insert(namespace.into());
        }
    }
}

impl Pods {
    /// No pods. Their changes add policies to the queue.
    pub(crate) fn new(excluded: ExcludedNamespaces, policies: Policies) -> Self {
        Self(Arc::new(Shared {
            excluded,
            policies,
            custom: CustomStore::default(),
            state: Mutex::default(),
        }))
    }

    /// Whether a namespace is never judged.
    pub(crate) fn excludes(&self, namespace: &str) -> bool {
        self.0.excluded.contains(namespace)
    }

    /// The pods of a namespace, in no order. `None` while a list is being read; the policies of the
    /// namespace are then due once it is complete.
    ///
    /// They are shared, so that the evaluation of a large namespace delays neither the changes of
    /// pods nor the evaluation of another namespace.
    pub(crate) fn of(&self, namespace: &str) -> Option<Vec<Arc<PodFacts>>> {
        let mut state = self.0.state.lock();
        if state.is_complete() {
            return Some(state.index.records(namespace));
        }
        state.wait(namespace);
        None
    }

    /// The results of custom checks.
    pub(crate) fn custom(&self) -> &CustomStore {
        &self.0.custom
    }

    /// Whether a pod is known.
    pub(crate) fn contains(&self, namespace: &str, name: &str) -> bool {
        self.0.state.lock().index.contains(namespace, name)
    }

    /// Sets what custom checks found in a pod of a list. Whether it exists the watch knows.
    pub(crate) fn judged(
        &self,
        namespace: &str,
        name: &str,
        version: Version,
        results: Vec<(SetId, CustomResults)>,
    ) {
        let state = self.0.state.lock();
        if state.index.contains(namespace, name) {
            self.0.custom.set_listed(namespace, name, version, results);
        }
    }

    /// How many pods there are.
    pub(crate) fn len(&self) -> usize {
        self.0.state.lock().index.len()
    }

    /// The pods of a namespace that are not healthy or were changed at admission, by name.
    pub(crate) fn unhealthy(&self, namespace: &str) -> Vec<(Box<str>, PodHealth)> {
        self.0.state.lock().health.of(namespace)
    }

    /// How many pods of all namespaces are not healthy or were changed at admission.
    pub(crate) fn unhealthy_len(&self) -> usize {
        self.0.state.lock().health.len()
    }

    /// The sink for a watch of all pods.
    pub(crate) fn sink(&self) -> PodSink {
        PodSink(self.clone())
    }

    /// Changes the index. Where that changed the namespace, its policies are due.
    fn change(&self, namespace: &str, work: impl FnOnce(&mut State) -> bool) {
        let mut state = self.0.state.lock();
        if !work(&mut state) {
            return;
        }
        if state.is_complete() {
            drop(state);
            self.0.policies.namespace_changed(namespace, GATHERING);
        } else {
            state.wait(namespace);
        }
    }
}

/// Stores the facts of the pods of a watch.
pub(crate) struct PodSink(Pods);

impl Sink<PodView> for PodSink {
    fn list_begins(&mut self) {
        let mut state = self.0.0.state.lock();
        state.is_listing = true;
        state.index.begin_relist();
        state.health.begin_relist();
    }

    fn list_completes(&mut self) {
        let mut state = self.0.0.state.lock();
        let before = state.index.len();
        let removed = state.index.finish_relist();
        let gone = before - state.index.len();
        for namespace in &removed {
            let exists = |name: &str| state.index.contains(namespace, name);
            self.0.0.custom.retain(namespace, exists);
        }
        state.interner.removed(gone);
        state.health.finish_relist();
        let mut changed = std::mem::take(&mut state.waiting);
        changed.extend(removed);
        state.is_listing = false;
        state.is_listed = true;
        drop(state);
        for namespace in changed {
            self.0.0.policies.namespace_changed(&namespace, Duration::ZERO);
        }
    }

    fn applied(&mut self, pod: PodView) {
        self.apply(&pod, None);
    }

    fn applied_from(&mut self, pod: PodView, event: RawEvent<'_>) {
        self.apply(&pod, Some(event));
    }

    fn undecodable(&mut self, namespace: &str, name: &str) {
        let mut state = self.0.0.state.lock();
        state.index.keep(namespace, name);
        state.health.keep(namespace, name);
    }

    fn deleted(&mut self, namespace: &str, name: &str) {
        self.0.change(namespace, |state| {
            self.0.0.custom.remove(namespace, name);
            state.remove(namespace, name)
        });
    }
}

impl PodSink {
    fn apply(&self, pod: &PodView, event: Option<RawEvent<'_>>) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let Some(name) = pod.metadata.name.as_deref() else { return };
        if self.0.excludes(namespace) {
            return;
        }
        let facts = PodFacts::of_pod(pod, namespace);
        let record = (facts.checked.lifecycle != Lifecycle::Ended).then_some(facts);
        let custom = &self.0.0.custom;
        let version = custom::version(pod.metadata.resource_version.as_deref());
        let now = match record {
            Some(_) => custom.judging_now(namespace, name, version),
            None => Now::Nothing,
        };
        let results = event.zip(now.judging()).map(|(event, judging)| {
            let start = Instant::now();
            let input = CustomInput::of_read(ObjectKind::Pod, event.object().ok());
            let results = judging.judge(&input).collect();
            custom.spent(namespace, start.elapsed());
            results
        });
        self.0.change(namespace, |state| {
            let Some(mut facts) = record else {
                custom.remove(namespace, name);
                return state.remove(namespace, name);
            };
            state.interner.intern(&mut facts);
            let health = PodHealth::of(pod, &facts.workload);
            let has_failed = state.health.set(&facts.namespace, name, health);
            // Before the facts: whoever has these has the results.
            let has_found =
                !matches!(now, Now::Nothing) && custom.set(namespace, name, version, results);
            state.index.apply(namespace, Arc::new(facts)) | has_failed | has_found
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Outcome;

    const MOMENT: Duration = Duration::from_millis(2);

    fn pod(namespace: &str, name: &str, phase: &str) -> PodView {
        serde_json::from_value(serde_json::json!({
            "metadata": { "namespace": namespace, "name": name },
            "spec": { "containers": [{ "name": "c", "image": "nginx" }] },
            "status": { "phase": phase },
        }))
        .unwrap()
    }

    /// A policy in each of two namespaces, without pods.
    async fn listed() -> (Pods, PodSink) {
        let policies = Policies::default();
        let mut sink = policies.sink();
        for namespace in ["bank", "shop"] {
            let policy = serde_json::json!({
                "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
                "metadata": { "namespace": namespace, "name": "strict" }, "spec": {},
            });
            sink.applied(serde_json::from_value(policy).unwrap());
        }
        let pods = Pods::new(ExcludedNamespaces::default(), policies);
        let mut sink = pods.sink();
        sink.list_begins();
        sink.list_completes();
        due_within(&pods, MOMENT).await;
        (pods, sink)
    }

    /// The namespaces whose policies are due within that time.
    async fn due_within(pods: &Pods, limit: Duration) -> Vec<String> {
        let queue = &pods.0.policies.queue;
        let end = tokio::time::Instant::now() + limit;
        let mut due = Vec::new();
        while let Ok(key) = tokio::time::timeout_at(end, queue.next()).await {
            queue.finish(&key, Outcome::default());
            due.push(key.namespace.to_string());
        }
        due.sort();
        due
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_gathered_from_the_first_one_on() {
        let (pods, mut sink) = listed().await;
        for number in 0..5 {
            sink.applied(pod("shop", &format!("web-{number}"), "Running"));
            tokio::time::advance(GATHERING / 10).await;
        }
        assert!(due_within(&pods, GATHERING * 4 / 10).await.is_empty());
        assert_eq!(due_within(&pods, GATHERING * 2 / 10).await, ["shop"]);
        assert!(due_within(&pods, GATHERING * 10).await.is_empty(), "once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_whose_facts_are_the_same_changes_nothing() {
        let (pods, mut sink) = listed().await;
        sink.applied(pod("shop", "web", "Running"));
        sink.applied(pod("kube-system", "dns", "Running"));
        assert_eq!(due_within(&pods, GATHERING + MOMENT).await, ["shop"]);
        sink.applied(pod("shop", "web", "Running"));
        sink.applied(pod("shop", "job", "Succeeded"));
        assert!(due_within(&pods, GATHERING * 2).await.is_empty());
        assert_eq!(pods.len(), 1);
        sink.applied(pod("shop", "web", "Failed"));
        assert_eq!(due_within(&pods, GATHERING + MOMENT).await, ["shop"]);
        assert_eq!(pods.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_judged_while_a_list_is_being_read() {
        let (pods, mut sink) = listed().await;
        sink.applied(pod("shop", "web", "Running"));
        assert_eq!(due_within(&pods, GATHERING + MOMENT).await.len(), 1);
        sink.list_begins();
        assert_eq!(pods.of("shop"), None);
        sink.applied(pod("bank", "web", "Running"));
        assert!(due_within(&pods, GATHERING * 10).await.is_empty());
        sink.list_completes();
        assert_eq!(due_within(&pods, MOMENT).await, ["bank", "shop"]);
        assert_eq!(pods.of("shop"), Some(Vec::new()));
    }

    /// Otherwise an evaluation would hold up the watch, and with it the changes of all namespaces.
    #[tokio::test(start_paused = true)]
    async fn pods_change_while_others_are_evaluated() {
        let (pods, mut sink) = listed().await;
        sink.applied(pod("shop", "web", "Running"));
        let evaluated = pods.of("shop").unwrap();
        sink.deleted("shop", "web");
        sink.applied(pod("shop", "next", "Running"));
        let names = |pods: &[Arc<PodFacts>]| {
            pods.iter().map(|pod| pod.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&evaluated), ["web"]);
        assert_eq!(names(&pods.of("shop").unwrap()), ["next"]);
    }
}
