//! The labels of workloads, for exemptions that select workloads by them.
//!
//! ```text
//! watches of workloads, from the first such exemption on ─ Kept: labels ── changed namespaces
//!                                                              │                  │
//!                       policy for the pods of a namespace ◄── WorkloadLabels::of ◄── reconcile
//! ```
//!
//! A pod does not have the labels of its workload, so the engine is told which workloads by name a
//! selector selects. Nothing is watched while no policy asks: most clusters have no such exemption.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kube::Client;
use policy_core::labels::Labels;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::{CompiledPolicy, LabelledWorkload};
use policy_core::view::WorkloadView;
use policy_core::workload::{ObjectKind, Workload};
use policy_runtime::service::Service;
use policy_runtime::watch::{Target, WatchStatus};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::kept::Kept;
use crate::policies::Policies;

/// The first judgement waits so long for the initial lists. Later it goes on without, and says so.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// The kinds, and what their watches are called.
const KINDS: [(ObjectKind, Target); 7] = [
    kind(
        ObjectKind::Deployment,
        "Deployment labels",
        "labels of Deployments",
        "/apis/apps/v1/deployments",
    ),
    kind(
        ObjectKind::StatefulSet,
        "StatefulSet labels",
        "labels of StatefulSets",
        "/apis/apps/v1/statefulsets",
    ),
    kind(
        ObjectKind::DaemonSet,
        "DaemonSet labels",
        "labels of DaemonSets",
        "/apis/apps/v1/daemonsets",
    ),
    kind(
        ObjectKind::ReplicaSet,
        "ReplicaSet labels",
        "labels of ReplicaSets",
        "/apis/apps/v1/replicasets",
    ),
    kind(
        ObjectKind::ReplicationController,
        "ReplicationController labels",
        "labels of ReplicationControllers",
        "/api/v1/replicationcontrollers",
    ),
    kind(ObjectKind::Job, "Job labels", "labels of Jobs", "/apis/batch/v1/jobs"),
    kind(ObjectKind::CronJob, "CronJob labels", "labels of CronJobs", "/apis/batch/v1/cronjobs"),
];

const fn kind(
    kind: ObjectKind,
    name: &'static str,
    plural: &'static str,
    path: &'static str,
) -> (ObjectKind, Target) {
    (kind, Target { kind: name, plural, path, is_optional: false })
}

/// The labels of workloads, shared by their watches and the reconciler. Cheap to clone; all clones are
/// one.
#[derive(Clone)]
pub(crate) struct WorkloadLabels {
    kinds: Arc<[OfKind]>,
    begin: CancellationToken,
}

struct OfKind {
    kind: ObjectKind,
    labels: Kept<Labels>,
    /// Of its watch, once that has begun.
    watch: OnceLock<Arc<OnceLock<WatchStatus>>>,
}

impl OfKind {
    fn status(&self) -> Option<&WatchStatus> {
        self.watch.get()?.get()
    }

    fn is_listed(&self) -> bool {
        self.status().is_some_and(WatchStatus::is_listed)
    }

    fn has_failed(&self) -> bool {
        self.status().is_some_and(|status| status.report().errors > 0)
    }
}

impl WorkloadLabels {
    /// No workloads, and no watches. Changes add policies to the queue.
    pub(crate) fn new(excluded: &ExcludedNamespaces, policies: &Policies) -> Self {
        let of_kind = |(kind, _): (ObjectKind, Target)| OfKind {
            kind,
            labels: Kept::new(excluded.clone(), policies.clone()),
            watch: OnceLock::new(),
        };
        Self { kinds: KINDS.into_iter().map(of_kind).collect(), begin: CancellationToken::new() }
    }

    /// Lets the watches begin once they are needed.
    pub(crate) fn watch(&self, service: &mut Service<Config>, client: &Client) {
        for (of_kind, (kind, target)) in self.kinds.iter().zip(KINDS) {
            let sink = of_kind.labels.sink(move |view: WorkloadView| view.into_labelled(kind));
            let begin = self.begin.clone();
            let watch = service.watch_from::<WorkloadView, _>(client, target, sink, begin);
            of_kind.watch.get_or_init(|| watch);
        }
    }

    /// How many workloads there are.
    pub(crate) fn len(&self) -> usize {
        self.kinds.iter().map(|of_kind| of_kind.labels.len()).sum()
    }

    /// The watches that have begun.
    pub(crate) fn begun(&self) -> impl Iterator<Item = &WatchStatus> {
        self.kinds.iter().filter_map(OfKind::status)
    }

    /// The policy for the pods of a namespace.
    pub(crate) async fn resolve(
        &self,
        rules: &Arc<CompiledPolicy>,
        namespace: &str,
    ) -> Arc<CompiledPolicy> {
        if !rules.has_selectors() {
            return Arc::clone(rules);
        }
        self.listed().await;
        let mut known = Vec::new();
        for OfKind { kind, labels, .. } in &*self.kinds {
            known.extend(
                labels.of(namespace, |(name, labels)| {
                    (Workload::of_kind(*kind, name), labels.clone())
                }),
            );
        }
        let namespace = namespace.into();
        let known = known.iter().map(|(workload, labels)| LabelledWorkload {
            namespace: &namespace,
            workload,
            labels,
        });
        Arc::new(rules.selecting(&known.collect::<Vec<_>>()))
    }

    /// Lets the watches begin, and waits until each has listed or failed. Otherwise a policy would be
    /// judged without its exemptions for a moment after each start.
    async fn listed(&self) {
        self.begin.cancel();
        let is_ready = || self.kinds.iter().all(|kind| kind.is_listed() || kind.has_failed());
        let ready = async {
            while !is_ready() {
                tokio::time::sleep(POLL).await;
            }
        };
        // What is missing then is in `unread`.
        let _ = tokio::time::timeout(PATIENCE, ready).await;
    }

    /// Of which workloads the labels are not known, so that no selector selects them; `None` where that
    /// is of no interest to a policy.
    pub(crate) fn unread(&self, rules: &CompiledPolicy) -> Option<String> {
        if !rules.has_selectors() {
            return None;
        }
        let unread = self.kinds.iter().filter(|kind| !kind.is_listed()).map(|of_kind| {
            let error = of_kind.status().and_then(|status| status.report().last_error);
            (of_kind.kind, error)
        });
        let unread: Vec<_> = unread.collect();
        let kinds: Vec<_> = unread.iter().map(|(kind, _)| format!("{kind}s")).collect();
        let why = unread.iter().find_map(|(_, error)| error.clone());
        (!kinds.is_empty()).then(|| {
            let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
            format!(
                "the labels of {} cannot be read{why}, so selectors select none of them",
                kinds.join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use policy_core::api::DevOpsPolicySpec;
    use policy_runtime::watch::Sink as _;
    use serde_json::json;

    use super::*;

    fn rules(exemptions: &serde_json::Value) -> Arc<CompiledPolicy> {
        let spec = json!({ "forbidLatestTag": true, "exemptions": exemptions });
        let spec: DevOpsPolicySpec = serde_json::from_value(spec).unwrap();
        Arc::new(CompiledPolicy::compile(&spec).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_watched_until_an_exemption_has_a_selector() {
        let labels = WorkloadLabels::new(&ExcludedNamespaces::default(), &Policies::default());
        let named = rules(&json!([{ "checks": ["latest-tag"], "reason": "r",
            "workload": { "kind": "Deployment", "name": "web" } }]));
        assert!(Arc::ptr_eq(&labels.resolve(&named, "shop").await, &named));
        assert!(!labels.begin.is_cancelled() && labels.unread(&named).is_none());
        let selecting = rules(&json!([{ "checks": ["latest-tag"], "reason": "r",
            "selector": { "matchLabels": { "tier": "legacy" } } }]));
        for (name, tier) in [("web", "legacy"), ("api", "new")] {
            let deployment = json!({ "metadata": { "namespace": "shop", "name": name,
                "labels": { "tier": tier } } });
            let read = |view: WorkloadView| view.into_labelled(ObjectKind::Deployment);
            let mut sink = labels.kinds[0].labels.sink(read);
            sink.applied(serde_json::from_value(deployment).unwrap());
        }
        let resolved = labels.resolve(&selecting, "shop").await;
        assert!(labels.begin.is_cancelled());
        let known = |rules: &CompiledPolicy, name: &str| {
            let workload = Workload::of_kind(ObjectKind::Deployment, name);
            let subject = policy_core::policy::ExemptionSubject {
                namespace: "shop",
                kind: ObjectKind::Pod,
                name: "p",
                workload: Some(&workload),
                labels: None,
            };
            rules.exemptions().unwrap().matching(&subject).is_some()
        };
        assert!(known(&resolved, "web") && !known(&resolved, "api"));
        let elsewhere = labels.resolve(&selecting, "bank").await;
        assert!(!known(&elsewhere, "web"));
        let unread = labels.unread(&selecting).unwrap();
        assert!(unread.starts_with("the labels of Deployments, StatefulSets, "), "{unread}");
    }
}
