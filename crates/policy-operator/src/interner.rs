//! Names that many pods have in common, stored once.

use std::collections::HashSet;
use std::sync::Arc;

use policy_core::facts::{ImageFact, PodFacts};
use policy_core::workload::Workload;

/// With fewer names than that, unused ones are not searched for.
const MIN_LIMIT: usize = 1_024;

/// The names of namespaces, workloads, containers and reasons. Without this each pod has its own copies:
/// a third of its memory, and an evaluation of a namespace reads that much more.
#[derive(Default)]
pub(crate) struct Interner {
    names: HashSet<Arc<str>>,
    /// At that many names, unused ones are removed.
    limit: usize,
}

impl Interner {
    /// Replaces the names in the facts by those that are stored.
    pub(crate) fn intern(&mut self, facts: &mut PodFacts) {
        let Workload { group, kind, name } = &mut facts.workload;
        for text in [&mut facts.namespace, group, kind, name] {
            self.intern_name(text);
        }
        for container in &mut facts.checked.containers {
            self.intern_name(&mut container.name);
            if let ImageFact::NotPinned(image) = &mut container.image {
                self.intern_name(image);
            }
            for reason in container.run.iter_mut().flat_map(|run| run.reasons_mut()) {
                self.intern_name(reason);
            }
        }
    }

    fn intern_name(&mut self, text: &mut Arc<str>) {
        if let Some(stored) = self.names.get(&**text) {
            *text = Arc::clone(stored);
            return;
        }
        if self.names.len() >= self.limit {
            self.names.retain(|name| Arc::strong_count(name) > 1);
            // At twice the number in use, the search costs little for each new name.
            self.limit = MIN_LIMIT.max(self.names.len() * 2);
        }
        self.names.insert(Arc::clone(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(namespace: &str, workload: &str) -> PodFacts {
        let pod = serde_json::json!({ "metadata": { "name": "web", "namespace": namespace,
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": workload,
                "controller": true }] } });
        PodFacts::of_pod(&serde_json::from_value(pod).unwrap(), "")
    }

    #[test]
    fn equal_names_are_stored_once() {
        let mut interner = Interner::default();
        let (mut a, mut b) = (facts("shop", "db"), facts("shop", "cache"));
        let before = b.clone();
        interner.intern(&mut a);
        interner.intern(&mut b);
        assert_eq!(b, before);
        assert!(Arc::ptr_eq(&a.namespace, &b.namespace));
        assert!(Arc::ptr_eq(&a.workload.kind, &b.workload.kind));
        assert_eq!(interner.names.len(), 5);
    }

    #[test]
    fn unused_names_are_removed() {
        let mut interner = Interner::default();
        let mut kept = facts("shop", "db");
        interner.intern(&mut kept);
        for number in 0..10 * MIN_LIMIT {
            interner.intern(&mut facts("shop", &format!("job-{number}")));
        }
        assert!(interner.names.len() <= MIN_LIMIT, "{}", interner.names.len());
        let mut again = facts("shop", "db");
        interner.intern(&mut again);
        assert!(Arc::ptr_eq(&kept.workload.name, &again.workload.name));
    }
}
