//! A workload of any kind with its labels, from which exemptions select.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::metadata::bounded_metadata;
use crate::labels::{Labels, has_own_labels, is_controlled};
use crate::workload::{ObjectKind, Workload};

/// A workload: its name, its labels and what controls it. One with more labels than fit into 32 KiB
/// cannot be decoded: whoever leaves some out selects wrongly. Its kind is that of the list or watch, as
/// the API server leaves it out of the members.
#[derive(kube_derive::Resource, Deserialize, Clone, Debug)]
#[resource(
    inherit = "Deployment",
    crates(kube_core = "::kube_core", k8s_openapi = "::k8s_openapi")
)]
pub struct WorkloadView {
    /// The names, the version, the labels and the controller.
    #[serde(deserialize_with = "bounded_metadata")]
    pub metadata: ObjectMeta,
}

impl WorkloadView {
    /// Namespace, name and labels of a workload of that kind; no labels where it is part of another
    /// workload, as a `ReplicaSet` of a Deployment is. That has the labels of the pod template.
    #[must_use]
    pub fn into_labelled(self, kind: ObjectKind) -> (String, String, Option<Labels>) {
        let Self { mut metadata } = self;
        let name = metadata.name.take().unwrap_or_default();
        let workload = Workload::of(kind, &name, &metadata);
        let labels = metadata.labels.take().unwrap_or_default();
        let is_own = has_own_labels(kind, &name, &workload, is_controlled(&metadata));
        let labels = is_own.then(|| labels.into());
        (metadata.namespace.unwrap_or_default(), name, labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(kind: ObjectKind, metadata: &str) -> Option<Labels> {
        let text = format!(r#"{{"metadata": {metadata}, "spec": {{"template": 1}}}}"#);
        let view: WorkloadView = serde_json::from_str(&text).unwrap();
        view.into_labelled(kind).2
    }

    #[test]
    fn the_part_of_another_workload_has_no_labels_of_its_own() {
        let web = r#"{"name": "web-5d8", "labels": {"tier": "web", "pod-template-hash": "5d8"}, "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "controller": true}]}"#;
        assert_eq!(labels(ObjectKind::ReplicaSet, web), None);
        let foreign = web.replace("apps/v1", "example.com/v1").replace("Deployment", "Release");
        let unhashed = web.replace("pod-template-hash", "hash");
        for controlled in [foreign.replace("pod-template-hash", "hash"), unhashed] {
            assert_eq!(labels(ObjectKind::ReplicaSet, &controlled), None, "{controlled}");
        }
        let bare = r#"{"name": "web-5d8", "labels": {"tier": "web"}, "managedFields": [{}]}"#;
        let own = labels(ObjectKind::ReplicaSet, bare).unwrap();
        assert_eq!(own.get("tier"), Some("web"));
        let job = r#"{"name": "j-29696320", "ownerReferences": [
            {"apiVersion": "batch/v1", "kind": "CronJob", "name": "j", "controller": true}]}"#;
        assert_eq!(labels(ObjectKind::Job, job), None);
        let owned = job.replace("batch/v1", "example.com/v1").replace("CronJob", "Run");
        assert_eq!(
            labels(ObjectKind::Job, &owned),
            Some(Labels::default()),
            "no labels are labels"
        );
    }
}
