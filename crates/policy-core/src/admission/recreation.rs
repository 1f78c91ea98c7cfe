//! What runs in a cluster, as if it were created again.

use super::Creation;
use super::requester::{CONTROLLER_MANAGER, NODE_USERS};
use crate::facts::{CheckedFacts, ContainerRole, PodFacts, Runs};
use crate::labels::Labels;
use crate::workload::{ObjectKind, Workload};

/// A running pod, from which the creation of its workload and its own are judged. What something
/// else set in the pod counts as if its template had it.
#[derive(Clone, Debug)]
pub struct Recreation<'a> {
    pod: &'a PodFacts,
    /// The labels of its workload.
    labels: Option<&'a Labels>,
    /// The kind of its workload; `None` for one that is not judged itself.
    kind: Option<ObjectKind>,
    facts: CheckedFacts,
}

impl<'a> Recreation<'a> {
    /// Of a running pod, with the labels of its workload where they are known.
    #[must_use]
    pub fn of(pod: &'a PodFacts, labels: Option<&'a Labels>) -> Self {
        let Workload { group, kind, .. } = &*pod.workload;
        Self {
            pod,
            labels,
            kind: ObjectKind::in_group(group, kind),
            facts: without_ephemeral(&pod.checked),
        }
    }

    /// The creation by a user: of its workload, and of the pod itself where it has none that is judged.
    /// Mirrors of static pods are created by their node.
    #[must_use]
    pub fn by_user(&self) -> Creation<'_> {
        let Workload { group, kind, name } = &*self.pod.workload;
        match self.kind {
            Some(kind) => self.creation(kind, name, ""),
            None if group.is_empty() && &**kind == "Node" => {
                self.creation(ObjectKind::Pod, &self.pod.name, NODE_USERS)
            }
            None => self.creation(ObjectKind::Pod, &self.pod.name, ""),
        }
    }

    /// The creation of the pod by the controller of its workload; `None` where the cluster's own
    /// controllers do not create it.
    #[must_use]
    pub fn by_controller(&self) -> Option<Creation<'_>> {
        self.kind
            .filter(|kind| *kind != ObjectKind::Pod)
            .map(|_| self.creation(ObjectKind::Pod, &self.pod.name, CONTROLLER_MANAGER))
    }

    fn creation<'s>(&'s self, kind: ObjectKind, name: &'s str, user: &'s str) -> Creation<'s> {
        Creation {
            kind,
            namespace: &self.pod.namespace,
            name,
            workload: Some(&self.pod.workload),
            labels: self.labels,
            user,
            facts: &self.facts,
            is_before_limit_ranges: false,
        }
    }
}

/// No pod is created with ephemeral containers: they are added later.
fn without_ephemeral(facts: &CheckedFacts) -> CheckedFacts {
    let containers = facts.containers.iter();
    let others = containers.filter(|container| container.role != ContainerRole::Ephemeral);
    CheckedFacts {
        lifecycle: facts.lifecycle,
        containers: others.cloned().collect(),
        // No check that runs at admission is about them.
        runs: Runs::default(),
        blocking_budget: None,
    }
}
