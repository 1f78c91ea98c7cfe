//! The labels of the workloads of a cluster, for exemptions that select workloads by them.

use std::sync::Arc;

use policy_core::labels::WorkloadLabels;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::CompiledPolicy;
use policy_core::report::CoverageCounter;
use policy_core::view::WorkloadView;
use policy_core::workload::{ObjectKind, Workload};

use super::Cluster;
use super::namespaced::{Event, Listed};

/// The kinds that may have labels of their own.
const KINDS: [(ObjectKind, Listed); 7] = [
    (ObjectKind::Deployment, metadata("Deployments", |name| path("apps", "deployments", name))),
    (ObjectKind::StatefulSet, metadata("StatefulSets", |name| path("apps", "statefulsets", name))),
    (ObjectKind::DaemonSet, metadata("DaemonSets", |name| path("apps", "daemonsets", name))),
    (ObjectKind::ReplicaSet, metadata("ReplicaSets", |name| path("apps", "replicasets", name))),
    (
        ObjectKind::ReplicationController,
        metadata("ReplicationControllers", |name| path("", "replicationcontrollers", name)),
    ),
    (ObjectKind::Job, metadata("Jobs", |name| path("batch", "jobs", name))),
    (ObjectKind::CronJob, metadata("CronJobs", |name| path("batch", "cronjobs", name))),
];

const fn metadata(plural: &'static str, path: fn(Option<&str>) -> String) -> Listed {
    Listed { plural, path, is_metadata: true }
}

fn path(group: &str, plural: &str, namespace: Option<&str>) -> String {
    let api = if group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{group}/v1") };
    let within = namespace.map(|name| format!("/namespaces/{name}")).unwrap_or_default();
    format!("{api}{within}/{plural}")
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
    for (kind, listed) in KINDS {
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
