//! The labels of an object.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::facts::PodFacts;
use crate::workload::{ObjectKind, Workload};

/// Labels, compact: a cluster has thousands of workloads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Box<[(Box<str>, Box<str>)]>);

impl Labels {
    /// Those of an object that is a workload itself; `None` of a pod, and of the part of another
    /// workload, such as a `ReplicaSet` with the labels of the pod template of its Deployment.
    #[must_use]
    pub fn of_workload(facts: &PodFacts, metadata: &ObjectMeta) -> Option<Self> {
        let PodFacts { kind, name, workload, .. } = facts;
        has_own_labels(*kind, name, workload, is_controlled(metadata))
            .then(|| metadata.labels.clone().unwrap_or_default().into())
    }

    /// The value of a label; `None` where there is none of that key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let index = self.0.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        Some(&self.0[index].1)
    }
}

impl From<BTreeMap<String, String>> for Labels {
    fn from(labels: BTreeMap<String, String>) -> Self {
        Self(labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

/// The labels of the workloads of a cluster, by namespace: a pod does not have them.
#[derive(Clone, Debug, Default)]
pub struct WorkloadLabels(BTreeMap<Arc<str>, BTreeMap<Workload, Labels>>);

impl WorkloadLabels {
    /// Adds a workload.
    pub fn insert(&mut self, namespace: &str, workload: Workload, labels: Labels) {
        self.0.entry(namespace.into()).or_default().insert(workload, labels);
    }

    /// Those of the workload of a pod.
    #[must_use]
    pub fn of(&self, pod: &PodFacts) -> Option<&Labels> {
        self.0.get(&pod.namespace)?.get(&*pod.workload)
    }
}

/// Whether another object controls that one.
pub(crate) fn is_controlled(metadata: &ObjectMeta) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true))
}

/// Whether the workload of an object is the object itself, and no pod. A `ReplicaSet` that something
/// controls has the labels of a pod template, also where it does not tell which workload it is of.
pub(crate) fn has_own_labels(
    kind: ObjectKind,
    name: &str,
    workload: &Workload,
    is_controlled: bool,
) -> bool {
    let replicates = matches!(kind, ObjectKind::ReplicaSet | ObjectKind::ReplicationController);
    kind != ObjectKind::Pod
        && !(replicates && is_controlled)
        && *workload.kind == *kind.as_str()
        && *workload.name == *name
        && kind.is_of_group(&workload.group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_label_is_found_by_its_key() {
        let labels = [("tier", "web"), ("a", ""), ("z", "1")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let labels = Labels::from(BTreeMap::from(labels));
        assert_eq!((labels.get("tier"), labels.get("a")), (Some("web"), Some("")));
        assert_eq!((labels.get("Tier"), labels.get("")), (None, None));
    }
}
