//! What is kept of the objects of a watch where few of them matter: something of these, and nothing of
//! all others.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::counter;
use parking_lot::Mutex;
use policy_core::namespaces::ExcludedNamespaces;
use policy_metrics::every_service::DROPPED;
use policy_runtime::watch::Sink;

use crate::pods::GATHERING;
use crate::policies::Policies;

/// The most objects of which something is kept, of some 300 bytes each. Who can write them can make any
/// number.
const MAX_KEPT: usize = 20_000;

/// What is kept, shared by its watch and the reconciler. A change makes the policies of the namespace
/// due. Cheap to clone; all clones are one.
pub(crate) struct Kept<T>(Arc<Shared<T>>);

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Shared<T> {
    excluded: ExcludedNamespaces,
    policies: Policies,
    objects: Mutex<Objects<T>>,
}

struct Objects<T> {
    by_namespace: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Object<T>>>,
    len: usize,
    /// The list that is being read, or was read last.
    list: u64,
}

struct Object<T> {
    kept: T,
    /// The list that had it last.
    list: u64,
}

impl<T: PartialEq> Objects<T> {
    fn get_mut(&mut self, namespace: &str, name: &str) -> Option<&mut Object<T>> {
        self.by_namespace.get_mut(namespace)?.get_mut(name)
    }

    /// Sets what is kept of an object. Returns whether that is a change.
    fn set(&mut self, namespace: &str, name: &str, kept: Option<T>) -> bool {
        let Some(kept) = kept else { return self.remove(namespace, name) };
        let list = self.list;
        if let Some(known) = self.get_mut(namespace, name) {
            known.list = list;
            let is_changed = known.kept != kept;
            known.kept = kept;
            return is_changed;
        }
        if self.len >= MAX_KEPT {
            counter!(DROPPED.name, "what" => "kept objects").increment(1);
            return false;
        }
        let all = self.by_namespace.entry(namespace.into()).or_default();
        all.insert(name.into(), Object { kept, list });
        self.len += 1;
        true
    }

    fn remove(&mut self, namespace: &str, name: &str) -> bool {
        let Some(all) = self.by_namespace.get_mut(namespace) else { return false };
        let was_known = all.remove(name).is_some();
        if all.is_empty() {
            self.by_namespace.remove(namespace);
        }
        self.len -= usize::from(was_known);
        was_known
    }

    /// Removes those that the last list did not have. Returns their namespaces.
    fn remove_unlisted(&mut self) -> Vec<Arc<str>> {
        let (mut changed, list) = (Vec::new(), self.list);
        let mut removed = 0;
        self.by_namespace.retain(|namespace, all| {
            let before = all.len();
            all.retain(|_, object| object.list == list);
            if all.len() < before {
                removed += before - all.len();
                changed.push(Arc::clone(namespace));
            }
            !all.is_empty()
        });
        self.len -= removed;
        changed
    }
}

impl<T: PartialEq> Kept<T> {
    /// Nothing yet. Changes add policies to the queue.
    pub(crate) fn new(excluded: ExcludedNamespaces, policies: Policies) -> Self {
        let objects = Objects { by_namespace: BTreeMap::new(), len: 0, list: 0 };
        Self(Arc::new(Shared { excluded, policies, objects: Mutex::new(objects) }))
    }

    /// Of how many objects something is kept.
    pub(crate) fn len(&self) -> usize {
        self.0.objects.lock().len
    }

    /// What is kept of the objects of a namespace, by name.
    pub(crate) fn of<R>(&self, namespace: &str, each: impl FnMut((&Arc<str>, &T)) -> R) -> Vec<R> {
        let objects = self.0.objects.lock();
        let all = objects.by_namespace.get(namespace).into_iter().flatten();
        all.map(|(name, object)| (name, &object.kept)).map(each).collect()
    }

    /// Passes on what is kept of all objects, by namespace and name.
    pub(crate) fn for_each(&self, mut take: impl FnMut(&str, &str, &T)) {
        for (namespace, all) in &self.0.objects.lock().by_namespace {
            for (name, object) in all {
                take(namespace, name, &object.kept);
            }
        }
    }

    /// The sink for a watch of all objects. `read` tells namespace and name, and what is kept.
    pub(crate) fn sink<V>(
        &self,
        read: impl Fn(V) -> (String, String, Option<T>) + Send + 'static,
    ) -> KeptSink<T, V> {
        KeptSink { kept: self.clone(), read: Box::new(read) }
    }

    fn change(&self, namespace: &str, work: impl FnOnce(&mut Objects<T>) -> bool) {
        if work(&mut self.0.objects.lock()) {
            self.0.policies.namespace_changed(namespace, GATHERING);
        }
    }
}

/// Keeps what matters of the objects of a watch.
pub(crate) struct KeptSink<T, V> {
    kept: Kept<T>,
    read: Box<dyn Fn(V) -> (String, String, Option<T>) + Send>,
}

impl<T: PartialEq + Send, V> Sink<V> for KeptSink<T, V> {
    fn list_begins(&mut self) {
        self.kept.0.objects.lock().list += 1;
    }

    fn list_completes(&mut self) {
        let changed = self.kept.0.objects.lock().remove_unlisted();
        for namespace in changed {
            self.kept.0.policies.namespace_changed(&namespace, GATHERING);
        }
    }

    fn applied(&mut self, object: V) {
        let (namespace, name, kept) = (self.read)(object);
        if !self.kept.0.excluded.contains(&namespace) {
            self.kept.change(&namespace, |objects| objects.set(&namespace, &name, kept));
        }
    }

    fn undecodable(&mut self, namespace: &str, name: &str) {
        let mut objects = self.kept.0.objects.lock();
        let list = objects.list;
        if let Some(known) = objects.get_mut(namespace, name) {
            known.list = list;
        }
    }

    fn deleted(&mut self, namespace: &str, name: &str) {
        self.kept.change(namespace, |objects| objects.remove(namespace, name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name, and something of it that matters or not.
    type View = (&'static str, &'static str, Option<u8>);

    fn read((namespace, name, kept): View) -> (String, String, Option<u8>) {
        (namespace.to_owned(), name.to_owned(), kept)
    }

    fn kept() -> (Kept<u8>, KeptSink<u8, View>) {
        let kept = Kept::new(ExcludedNamespaces::default(), Policies::default());
        let sink = kept.sink(read);
        (kept, sink)
    }

    fn of(kept: &Kept<u8>) -> Vec<String> {
        kept.of("shop", |(name, kept)| format!("{name} {kept}"))
    }

    #[test]
    fn only_what_matters_is_kept() {
        let (kept, mut sink) = kept();
        for object in
            [("shop", "web", Some(1)), ("shop", "db", None), ("kube-system", "dns", Some(1))]
        {
            sink.applied(object);
        }
        assert_eq!((of(&kept), kept.len()), (vec!["web 1".to_owned()], 1));
        sink.undecodable("shop", "web");
        assert_eq!(kept.len(), 1, "as it was");
        sink.applied(("shop", "web", None));
        assert_eq!((of(&kept).len(), kept.len()), (0, 0));
        sink.applied(("shop", "web", Some(1)));
        sink.deleted("shop", "web");
        assert_eq!(kept.len(), 0);
    }

    #[test]
    fn what_a_list_lacks_is_gone() {
        let (kept, mut sink) = kept();
        for name in ["a", "b", "c"] {
            sink.applied(("shop", name, Some(1)));
        }
        sink.list_begins();
        sink.applied(("shop", "b", Some(2)));
        sink.undecodable("shop", "c");
        assert_eq!(kept.len(), 3, "until it is complete");
        sink.list_completes();
        assert_eq!((of(&kept), kept.len()), (vec!["b 2".to_owned(), "c 1".to_owned()], 2));
    }

    #[test]
    fn their_number_is_bounded() {
        let kept = Kept::new(ExcludedNamespaces::default(), Policies::default());
        let mut sink = kept.sink(|number: usize| ("shop".to_owned(), number.to_string(), Some(1)));
        for number in 0..=MAX_KEPT {
            sink.applied(number);
        }
        assert_eq!(kept.len(), MAX_KEPT);
        sink.deleted("shop", "0");
        sink.applied(MAX_KEPT);
        assert_eq!(kept.len(), MAX_KEPT);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_change_makes_policies_due() {
        let policies = Policies::default();
        let policy = serde_json::json!({ "metadata": { "namespace": "shop", "name": "strict" } });
        policies.sink().applied(serde_json::from_value(policy).unwrap());
        let kept = Kept::new(ExcludedNamespaces::default(), policies.clone());
        let due = async || {
            let next = tokio::time::timeout(GATHERING * 2, policies.queue.next()).await;
            next.inspect(|key| policies.queue.finish(key, crate::queue::Outcome::default())).is_ok()
        };
        let mut sink = kept.sink(read);
        assert!(due().await, "the policy is new");
        let steps =
            [(None, false), (Some(1), true), (Some(1), false), (Some(2), true), (None, true)];
        for (now, is_change) in steps {
            sink.applied(("shop", "web", now));
            assert_eq!(due().await, is_change, "{now:?}");
        }
    }
}
