//! The policies of the cluster, and what is remembered of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_runtime::reflector::store::Writer;
use kube_runtime::reflector::{Store, store};
use kube_runtime::watcher::Event;
use policy_core::view::PolicyView;
use policy_runtime::watch::Sink;
use tokio::sync::Notify;

use crate::key::Key;
use crate::memory::Memory;

/// The policies, shared between the watch, the controller and who tells of them.
#[derive(Clone)]
pub(crate) struct Policies(Arc<Inner>);

struct Inner {
    store: Store<PolicyView>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    known: BTreeMap<Key, Known>,
    /// Those that changed by somebody's hand, not by a write of a status.
    changed: BTreeSet<Key>,
    is_listing: bool,
}

struct Known {
    version: Version,
    memory: Arc<Mutex<Memory>>,
}

/// What makes another policy of it. Everything that the operator writes into a status leaves this
/// as it is, so that no write is its own cause.
#[derive(PartialEq, Eq)]
struct Version {
    uid: Option<String>,
    generation: Option<i64>,
    finalizers: Vec<String>,
    is_deleted: bool,
}

impl Version {
    fn of(metadata: &ObjectMeta) -> Self {
        Self {
            uid: metadata.uid.clone(),
            generation: metadata.generation,
            finalizers: metadata.finalizers.clone().unwrap_or_default(),
            is_deleted: metadata.deletion_timestamp.is_some(),
        }
    }
}

impl Policies {
    /// No policies yet, and what a watch of all of them is to be given.
    #[must_use]
    pub(crate) fn new() -> (Self, PolicySink) {
        let (store, writer) = store();
        let inner = Inner { store, state: Mutex::default(), changed: Notify::new() };
        let policies = Self(Arc::new(inner));
        let sink = PolicySink { policies: policies.clone(), writer, listed: None };
        (policies, sink)
    }

    /// The policies themselves.
    #[must_use]
    pub(crate) fn store(&self) -> Store<PolicyView> {
        self.0.store.clone()
    }

    /// What is remembered of a policy; `None` where it is gone.
    #[must_use]
    pub(crate) fn memory(&self, key: &Key) -> Option<Arc<Mutex<Memory>>> {
        self.update(|state| state.known.get(key).map(|known| Arc::clone(&known.memory)))
    }

    /// What is remembered of all policies.
    #[must_use]
    pub(crate) fn memories(&self) -> Vec<(Key, Arc<Mutex<Memory>>)> {
        self.update(|state| {
            let memories = state.known.iter();
            memories.map(|(key, known)| (key.clone(), Arc::clone(&known.memory))).collect()
        })
    }

    /// The policies of a namespace.
    #[must_use]
    pub(crate) fn of_namespace(&self, namespace: &str) -> Vec<Key> {
        self.update(|state| {
            let keys = state.known.range(Key::new(namespace, "")..).map(|(key, _)| key);
            keys.take_while(|key| key.namespace == namespace).cloned().collect()
        })
    }

    /// How many there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.update(|state| state.known.len())
    }

    /// Waits for policies that changed.
    pub(crate) async fn changed(&self) -> BTreeSet<Key> {
        loop {
            let told = self.0.changed.notified();
            let changed = self.update(|state| {
                if state.is_listing { BTreeSet::new() } else { std::mem::take(&mut state.changed) }
            });
            if !changed.is_empty() {
                return changed;
            }
            told.await;
        }
    }

    fn update<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes in the policies of a watch.
pub(crate) struct PolicySink {
    policies: Policies,
    writer: Writer<PolicyView>,
    /// Those of the list that is under way.
    listed: Option<BTreeSet<Key>>,
}

impl State {
    /// Notes that a policy was seen.
    fn note(&mut self, key: &Key, metadata: &ObjectMeta) {
        let version = Version::of(metadata);
        let known = self.known.get(key);
        if let Some(known) = known.filter(|known| known.version == version) {
            // Most often this is a status that was written here.
            let mut memory = known.memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.sees(metadata.resource_version.as_deref());
            return;
        }
        let same = known.filter(|known| known.version.uid == version.uid);
        let memory = same.map(|known| Arc::clone(&known.memory)).unwrap_or_default();
        self.known.insert(key.clone(), Known { version, memory });
        self.changed.insert(key.clone());
    }
}

impl Sink<PolicyView> for PolicySink {
    fn list_begins(&mut self) {
        self.listed = Some(BTreeSet::new());
        self.policies.update(|state| state.is_listing = true);
        self.writer.apply_watcher_event(&Event::Init);
    }

    fn list_completes(&mut self) {
        let listed = self.listed.take().unwrap_or_default();
        let writer = &mut self.writer;
        self.policies.update(|state| {
            writer.apply_watcher_event(&Event::InitDone);
            state.is_listing = false;
            state.known.retain(|key, _| listed.contains(key));
            state.changed.retain(|key| listed.contains(key));
        });
        self.policies.0.changed.notify_one();
    }

    fn applied(&mut self, policy: PolicyView) {
        let key = Key::of(&policy.metadata);
        let is_listing = self.listed.is_some();
        let writer = &mut self.writer;
        // In one: who is woken by the one finds the other.
        self.policies.update(|state| {
            state.note(&key, &policy.metadata);
            let event = if is_listing { Event::InitApply(policy) } else { Event::Apply(policy) };
            writer.apply_watcher_event(&event);
        });
        if let Some(listed) = &mut self.listed {
            listed.insert(key);
        }
        self.policies.0.changed.notify_one();
    }

    fn undecodable(&mut self, namespace: &str, name: &str) {
        if let Some(listed) = &mut self.listed {
            listed.insert(Key::new(namespace, name));
        }
    }

    fn deleted(&mut self, namespace: &str, name: &str) {
        let key = Key::new(namespace, name);
        let last = self.policies.0.store.get(&key.reference());
        let writer = &mut self.writer;
        self.policies.update(|state| {
            state.known.remove(&key);
            state.changed.remove(&key);
            if let Some(last) = last {
                writer.apply_watcher_event(&Event::Delete((*last).clone()));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn policy(name: &str, uid: &str, generation: i64, score: i64) -> PolicyView {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
            "metadata": { "namespace": "shop", "name": name, "uid": uid, "generation": generation },
            "spec": { "maxRestartCount": if generation < 0 { "no number".into() } else { serde_json::json!(1) } },
            "status": { "healthScore": score },
        }))
        .unwrap()
    }

    fn listed(all: impl IntoIterator<Item = PolicyView>) -> (Policies, PolicySink) {
        let (policies, mut sink) = Policies::new();
        sink.list_begins();
        all.into_iter().for_each(|policy| sink.applied(policy));
        sink.list_completes();
        (policies, sink)
    }

    async fn changed(policies: &Policies) -> Vec<String> {
        let changed = tokio::time::timeout(Duration::from_secs(1), policies.changed()).await;
        changed.unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_changes_no_policy() {
        let (policies, mut sink) = listed([policy("a", "1", 1, 50)]);
        assert_eq!(changed(&policies).await, ["shop/a"]);
        sink.applied(policy("a", "1", 1, 60));
        assert!(changed(&policies).await.is_empty());
        let key = Key::new("shop", "a");
        let last = policies.store().get(&key.reference()).unwrap();
        assert_eq!(last.status.as_ref().unwrap().health_score, Some(60));
        sink.applied(policy("a", "1", 2, 60));
        assert_eq!(changed(&policies).await, ["shop/a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_cannot_be_decoded_is_there_as_well() {
        let (policies, _sink) = listed([policy("a", "1", 1, 0), policy("b", "2", -1, 0)]);
        assert_eq!(changed(&policies).await, ["shop/a", "shop/b"]);
        let broken = policies.store().get(&Key::new("shop", "b").reference()).unwrap();
        assert!(broken.rules.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_one_objects_and_goes_with_it() {
        let (policies, mut sink) = listed([policy("a", "1", 1, 0), policy("b", "2", 1, 0)]);
        let key = Key::new("shop", "a");
        let first = policies.memory(&key).unwrap();
        sink.applied(policy("a", "1", 2, 0));
        assert!(Arc::ptr_eq(&first, &policies.memory(&key).unwrap()));
        sink.applied(policy("a", "3", 1, 0));
        assert!(!Arc::ptr_eq(&first, &policies.memory(&key).unwrap()), "another of that name");
        sink.deleted("shop", "a");
        assert!(policies.memory(&key).is_none());
        assert!(policies.store().get(&key.reference()).is_none());
        sink.list_begins();
        sink.applied(policy("c", "4", 1, 0));
        sink.list_completes();
        assert_eq!(policies.of_namespace("shop"), [Key::new("shop", "c")]);
        assert_eq!(changed(&policies).await, ["shop/c"]);
        assert!(policies.of_namespace("sho").is_empty());
    }
}
