//! What many pods have in common, stored once.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use policy_core::facts::{
    ContainerFacts, ContainerImage, ImageFact, PodFacts, PodImages, RunFacts,
};
use policy_core::workload::Workload;

/// With fewer values than that, unused ones are not searched for.
const MIN_LIMIT: usize = 1_024;

/// The values that the facts of pods share: of the pods of one workload everything but their names
/// and how they run, and names of all. Without this each pod has its own copies: two thirds of its
/// memory, and an evaluation of a namespace reads that much more.
#[derive(Default)]
pub(crate) struct Interner {
    names: Interned<str>,
    workloads: Interned<Workload>,
    containers: Interned<[ContainerFacts]>,
    images: Interned<PodImages>,
    /// How many pods were removed since unused values were last searched for.
    removed: usize,
}

impl Interner {
    /// Replaces the values in the facts by those that are stored.
    pub(crate) fn intern(&mut self, facts: &mut PodFacts) {
        if self.is_full() {
            self.remove_unused();
        }
        let Self { names, workloads, containers, images, .. } = self;
        names.intern(&mut facts.namespace);
        workloads.intern_with(&mut facts.workload, |Workload { group, kind, name }| {
            for text in [group, kind, name] {
                names.intern(text);
            }
        });
        containers.intern_with(&mut facts.checked.containers, |containers| {
            for container in containers {
                names.intern(&mut container.name);
                if let ImageFact::NotPinned(image) = &mut container.image {
                    names.intern(image);
                }
            }
        });
        if let Some(of_pod) = &mut facts.images {
            images.intern_with(of_pod, |PodImages(images)| {
                for ContainerImage { container, image, digest } in images {
                    for text in [container, image, digest] {
                        names.intern(text);
                    }
                }
            });
        }
        for reason in facts.checked.runs.iter_mut().flat_map(RunFacts::reasons_mut) {
            names.intern(reason);
        }
    }

    /// Counts pods that were removed. After half as many as there are names, unused values are
    /// searched for, so that a cluster that shrinks leaves nothing behind.
    pub(crate) fn removed(&mut self, pods: usize) {
        self.removed += pods;
        if self.removed >= MIN_LIMIT.max(self.names.values.len() / 2) {
            self.remove_unused();
        }
    }

    fn is_full(&self) -> bool {
        let Self { names, workloads, containers, images, .. } = self;
        names.is_full() || workloads.is_full() || containers.is_full() || images.is_full()
    }

    fn remove_unused(&mut self) {
        // These three first, as they use names.
        self.workloads.remove_unused();
        self.containers.remove_unused();
        self.images.remove_unused();
        self.names.remove_unused();
        self.removed = 0;
    }
}

/// Values that are in use, each once.
struct Interned<T: ?Sized> {
    values: HashSet<Arc<T>>,
    /// At that many values, unused ones are removed.
    limit: usize,
}

impl<T: ?Sized> Default for Interned<T> {
    fn default() -> Self {
        Self { values: HashSet::new(), limit: MIN_LIMIT }
    }
}

impl<T: ?Sized + Eq + Hash> Interned<T> {
    /// Replaces a value by the stored one, which is equal.
    fn intern(&mut self, value: &mut Arc<T>) {
        self.intern_with(value, |_| {});
    }

    /// Like [`Interned::intern`]; this interns the parts of a value that is new.
    fn intern_with(&mut self, value: &mut Arc<T>, parts: impl FnOnce(&mut T)) {
        if let Some(stored) = self.values.get(&**value) {
            *value = Arc::clone(stored);
            return;
        }
        if let Some(value) = Arc::get_mut(value) {
            parts(value);
        }
        self.values.insert(Arc::clone(value));
    }

    fn is_full(&self) -> bool {
        self.values.len() >= self.limit
    }

    fn remove_unused(&mut self) {
        self.values.retain(|value| Arc::strong_count(value) > 1);
        // At twice the number in use, the search costs little for each new value.
        self.limit = MIN_LIMIT.max(self.values.len() * 2);
        self.values.shrink_to(self.limit);
    }
}

#[cfg(test)]
mod tests {
    use policy_core::Timestamp;
    use policy_core::evaluate::evaluate;
    use policy_core::policy::CompiledPolicy;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn facts(namespace: &str, workload: &str, pod: &str, spec: &Value, status: &Value) -> PodFacts {
        let pod = json!({
            "metadata": { "name": pod, "namespace": namespace,
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "StatefulSet",
                    "name": workload, "controller": true }] },
            "spec": spec, "status": status,
        });
        PodFacts::of_pod(&serde_json::from_value(pod).unwrap(), "")
    }

    fn of_workload(workload: &str) -> PodFacts {
        let spec = json!({ "containers": [{ "name": workload, "image": "nginx" }] });
        facts("shop", workload, "web", &spec, &Value::Null)
    }

    #[test]
    fn what_pods_have_in_common_is_stored_once() {
        let mut interner = Interner::default();
        let spec = json!({ "containers": [{ "name": "c", "image": "nginx" }] });
        let image_id = format!("nginx@sha256:{}", "a".repeat(64));
        let status = |restarts| {
            json!({ "containerStatuses": [{ "name": "c", "restartCount": restarts,
                "imageID": image_id }] })
        };
        let (running, restarted) = (status(0), status(7));
        let mut a = facts("shop", "db", "db-0", &spec, &running);
        let mut b = facts("shop", "db", "db-1", &spec, &restarted);
        let mut other = facts("shop", "cache", "cache-0", &json!({}), &Value::Null);
        let before = b.clone();
        for facts in [&mut a, &mut b, &mut other] {
            interner.intern(facts);
        }
        assert_eq!(b, before);
        assert!(Arc::ptr_eq(&a.workload, &b.workload));
        assert!(Arc::ptr_eq(&a.checked.containers, &b.checked.containers));
        assert!(Arc::ptr_eq(a.images.as_ref().unwrap(), b.images.as_ref().unwrap()));
        assert!(Arc::ptr_eq(&a.namespace, &other.namespace));
        assert!(Arc::ptr_eq(&a.workload.kind, &other.workload.kind));
        assert_eq!([interner.workloads.values.len(), interner.containers.values.len()], [2, 2]);
    }

    #[test]
    fn unused_values_are_removed() {
        let mut interner = Interner::default();
        let mut kept = of_workload("db");
        interner.intern(&mut kept);
        for number in 0..10 * MIN_LIMIT {
            interner.intern(&mut of_workload(&format!("job-{number}")));
        }
        let Interner { names, workloads, containers, .. } = &interner;
        let all = [names.values.len(), workloads.values.len(), containers.values.len()];
        assert!(all.into_iter().all(|values| values <= MIN_LIMIT + 4), "{all:?}");
        let mut again = of_workload("db");
        interner.intern(&mut again);
        assert!(Arc::ptr_eq(&kept.workload, &again.workload));
        assert!(Arc::ptr_eq(&kept.checked.containers, &again.checked.containers));
    }

    #[test]
    fn a_cluster_that_shrinks_leaves_nothing_behind() {
        let mut interner = Interner::default();
        let mut pods: Vec<_> =
            (0..10 * MIN_LIMIT).map(|number| of_workload(&format!("web-{number}"))).collect();
        for facts in &mut pods {
            interner.intern(facts);
        }
        let Interner { names, workloads, containers, .. } = &interner;
        let all = [names.values.len(), workloads.values.len(), containers.values.len()];
        assert!(all.into_iter().all(|values| values >= 10 * MIN_LIMIT), "{all:?}");
        while pods.pop().is_some() {
            interner.removed(1);
        }
        let Interner { names, workloads, containers, .. } = &interner;
        for (values, capacity) in [
            (names.values.len(), names.values.capacity()),
            (workloads.values.len(), workloads.values.capacity()),
            (containers.values.len(), containers.values.capacity()),
        ] {
            assert!(values <= 2 * MIN_LIMIT && capacity <= 4 * MIN_LIMIT, "{values}, {capacity}");
        }
    }

    fn container() -> impl Strategy<Value = (Value, Value)> {
        let name = prop::sample::select(vec!["a", "b", "c"]);
        let image = prop::sample::select(vec!["nginx", "nginx:1.27", ""]);
        (name, image, any::<bool>(), any::<bool>(), 0..9, any::<bool>()).prop_map(
            |(name, image, has_probe, has_limit, restarts, waits)| {
                let probe = if has_probe { json!({ "exec": {} }) } else { Value::Null };
                let limits = if has_limit { json!({ "memory": "1Gi" }) } else { json!({}) };
                let state =
                    if waits { json!({ "waiting": { "reason": "Crash" } }) } else { json!({}) };
                let spec = json!({ "name": name, "image": image, "livenessProbe": probe,
                    "resources": { "limits": limits } });
                (spec, json!({ "name": name, "restartCount": restarts, "state": state }))
            },
        )
    }

    fn pod() -> impl Strategy<Value = PodFacts> {
        let workload = prop::sample::select(vec!["db", "cache"]);
        let phase = prop::sample::select(vec!["Running", "Pending", "Failed"]);
        (workload, prop::collection::vec(container(), 0..3), phase).prop_map(
            |(workload, containers, phase)| {
                let (specs, statuses): (Vec<_>, Vec<_>) = containers.into_iter().unzip();
                let status = json!({ "phase": phase, "containerStatuses": statuses });
                facts("shop", workload, "web", &json!({ "containers": specs }), &status)
            },
        )
    }

    proptest! {
        /// Sharing is not seen in any verdict, whatever was stored before.
        #[test]
        fn facts_that_share_evaluate_to_the_same(pods in prop::collection::vec(pod(), 1..12)) {
            let (policy, now) = (CompiledPolicy::default_profile(), Timestamp::now());
            let mut interner = Interner::default();
            for pod in &pods {
                let mut shared = pod.clone();
                interner.intern(&mut shared);
                prop_assert_eq!(evaluate(&shared, &policy, now), evaluate(pod, &policy, now));
                prop_assert_eq!(&shared, pod);
            }
        }
    }
}
