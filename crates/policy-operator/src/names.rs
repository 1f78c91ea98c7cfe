//! Names that many pods have in common, kept once.

use std::collections::HashSet;
use std::sync::Arc;

use policy_core::facts::PodFacts;
use policy_core::workload::Workload;

/// Below that many names nobody is looked for that is no longer used.
const FEW: usize = 1_024;

/// The names of namespaces, workloads and containers, each once: without this every pod has its
/// own. That is a third of its memory, and a verdict on a namespace has that much more to fetch.
#[derive(Default)]
pub(crate) struct Names {
    known: HashSet<Arc<str>>,
    /// With so many names, those that nobody uses are let go.
    limit: usize,
}

impl Names {
    /// Replaces the names in the facts by those that are there already.
    pub(crate) fn share(&mut self, facts: &mut PodFacts) {
        let Workload { group, kind, name } = &mut facts.workload;
        for text in [&mut facts.namespace, group, kind, name] {
            self.one(text);
        }
        for container in &mut facts.checked.containers {
            self.one(&mut container.name);
        }
    }

    fn one(&mut self, text: &mut Arc<str>) {
        if let Some(known) = self.known.get(&**text) {
            *text = Arc::clone(known);
            return;
        }
        if self.known.len() >= self.limit {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            // Twice as many as are used, so that looking through them costs each name little.
            self.limit = FEW.max(self.known.len() * 2);
        }
        self.known.insert(Arc::clone(text));
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
    fn equal_names_are_one() {
        let mut names = Names::default();
        let (mut a, mut b) = (facts("shop", "db"), facts("shop", "cache"));
        let before = b.clone();
        names.share(&mut a);
        names.share(&mut b);
        assert_eq!(b, before);
        assert!(Arc::ptr_eq(&a.namespace, &b.namespace));
        assert!(Arc::ptr_eq(&a.workload.kind, &b.workload.kind));
        assert_eq!(names.known.len(), 5);
    }

    #[test]
    fn names_that_nobody_uses_are_let_go() {
        let mut names = Names::default();
        let mut kept = facts("shop", "db");
        names.share(&mut kept);
        for number in 0..10 * FEW {
            names.share(&mut facts("shop", &format!("job-{number}")));
        }
        assert!(names.known.len() <= FEW, "{}", names.known.len());
        let mut again = facts("shop", "db");
        names.share(&mut again);
        assert!(Arc::ptr_eq(&kept.workload.name, &again.workload.name));
    }
}
