//! The labels of the workloads of a cluster, for exemptions that select workloads by them.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::ReplicationController;
use kube::Resource;
use policy_core::labels::WorkloadLabels;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::CompiledPolicy;
use policy_core::report::CoverageCounter;
use policy_core::view::WorkloadView;
use policy_core::workload::{ObjectKind, Workload};

use super::Cluster;
use super::namespaced::{Event, Listed};

/// The kinds whose objects make pods, with the lists of their metadata.
pub(crate) const WORKLOADS: [(ObjectKind, Listed); 7] = [
    (ObjectKind::Deployment, metadata::<Deployment>("Deployments")),
    (ObjectKind::StatefulSet, metadata::<StatefulSet>("StatefulSets")),
    (ObjectKind::DaemonSet, metadata::<DaemonSet>("DaemonSets")),
    (ObjectKind::ReplicaSet, metadata::<ReplicaSet>("ReplicaSets")),
    (
        ObjectKind::ReplicationController,
        metadata::<ReplicationController>("ReplicationControllers"),
    ),
    (ObjectKind::Job, metadata::<Job>("Jobs")),
    (ObjectKind::CronJob, metadata::<CronJob>("CronJobs")),
];

const fn metadata<K: Resource<DynamicType = ()>>(plural: &'static str) -> Listed {
    Listed { plural, path: |namespace| K::url_path(&(), namespace), is_metadata: true }
}

/// Reads the labels of the workloads, where one of the policies needs them. What cannot be read is noted:
/// a selector does not select it.
pub(crate) async fn read(
    cluster: &Cluster,
    namespace: Option<&str>,
    excluded: &ExcludedNamespaces,
    policies: impl IntoIterator<Item = &CompiledPolicy>,
    coverage: &mut CoverageCounter,
) -> Arc<WorkloadLabels> {
    let mut found = WorkloadLabels::default();
    if !policies.into_iter().any(CompiledPolicy::has_selectors) {
        return Arc::new(found);
    }
    for (kind, listed) in WORKLOADS {
        let mut take = |event: Event<WorkloadView>| match event {
            Event::Page(page) => {
                for workload in page.objects {
                    if let (namespace, name, Some(labels)) = workload.into_labelled(kind) {
                        found.insert(&namespace, Workload::of_kind(kind, &name), labels);
                    }
                }
            }
            Event::NotRead { part, error } => {
                let reason = error.reason();
                let message =
                    format!("no selector of an exemption selects those of {part}: {reason}");
                coverage.note(&listed.plural.into(), None, message);
            }
        };
        listed.read(cluster, namespace, Some(excluded), &mut take).await;
    }
    Arc::new(found)
}
