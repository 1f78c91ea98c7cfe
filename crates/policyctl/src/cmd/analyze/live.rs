//! The pods of a cluster, and which rollouts are stuck.

use std::time::Instant;

use policy_core::Timestamp;
use policy_core::custom::LivePod;
use policy_core::facts::PodFacts;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::CompiledPolicy;
use policy_core::report::{Assessment, CoverageCounter, Report, Source};
use policy_core::view::DeploymentView;

use super::drains::BlockedDrains;
use crate::cluster::namespaced::{Event, Listed};
use crate::cluster::{self, Cluster, ClusterError, workload_labels};
use crate::global::Global;
use crate::judgement::Judgement;
use crate::output::Console;
use crate::policies::NamespaceLabels;

/// Reads and judges the pods of a namespace or of the whole cluster.
pub(super) fn analyze(
    judgement: &Judgement,
    policy: &CompiledPolicy,
    global: &Global,
) -> anyhow::Result<Report> {
    cluster::run(async {
        let cluster = connect(global).await?;
        let excluded = judgement.choice.exclusion.namespaces();
        let namespace = global.target.namespace.as_deref();
        let admission = judgement.admission(policy);
        let mut assessment = Assessment::new(policy, &excluded, Timestamp::now())
            .judging_admission(admission.as_ref());
        let blocked = blocked(&cluster, namespace, &mut assessment).await;
        know_cluster(&cluster, namespace, &mut assessment).await;
        let is_whole = policy.custom().is_some();
        read(&cluster, namespace, &excluded, is_whole, global.console(), &mut |event| {
            assess(&mut assessment, &blocked, event);
        })
        .await;
        let coverage = &assessment.coverage;
        if coverage.is_complete() || coverage.objects_read() > 0 {
            let unread = read_deployments(&cluster, namespace, &excluded, &mut |deployment| {
                assessment.live_deployment(deployment);
            })
            .await;
            note_unread(&mut assessment.coverage, unread);
        }
        Ok(assessment.finish(source(&cluster, namespace), judgement.choice.name()))
    })
}

/// Connects; with `-v` prints how long that took.
pub(crate) async fn connect(global: &Global) -> anyhow::Result<Cluster> {
    let start = Instant::now();
    let cluster = global.target.connect().await?;
    global.console().detail(format_args!("{cluster} answered in {:.1?}", start.elapsed()));
    Ok(cluster)
}

/// Tells an assessment what its policy needs to know of the cluster beside the pods: custom checks the
/// labels of namespaces, exemptions those of workloads.
pub(crate) async fn know_cluster(
    cluster: &Cluster,
    namespace: Option<&str>,
    assessment: &mut Assessment<'_>,
) {
    let (policy, excluded) = ([assessment.policy()], assessment.excluded());
    let coverage = &mut assessment.coverage;
    let namespaces = NamespaceLabels::for_custom(cluster, namespace, policy, coverage).await;
    let workloads = workload_labels::read(cluster, namespace, excluded, policy, coverage).await;
    assessment.know_namespaces(namespaces);
    assessment.know_workloads(workloads);
}

/// Reads pods as [`Listed::read_pods`] does, with a progress bar.
pub(crate) async fn read(
    cluster: &Cluster,
    namespace: Option<&str>,
    excluded: &ExcludedNamespaces,
    is_whole: bool,
    console: Console,
    take: &mut impl FnMut(Event<LivePod>),
) {
    let start = Instant::now();
    let progress = console.progress(None, "pods");
    let mut take = |event| {
        if let Event::Page(page) = &event {
            progress.inc(page.objects.len() as u64);
            progress.set_length(progress.position() + page.remaining);
        }
        take(event);
    };
    Listed::read_pods(cluster, namespace, Some(excluded), is_whole, &mut take).await;
    progress.finish_and_clear();
    console.detail(format_args!("read and judged in {:.1?}", start.elapsed()));
}

/// Reads the Deployments. Returns why some could not be read.
pub(super) async fn read_deployments(
    cluster: &Cluster,
    namespace: Option<&str>,
    excluded: &ExcludedNamespaces,
    take: &mut impl FnMut(&DeploymentView),
) -> Option<ClusterError> {
    let mut unread = None;
    let mut take = |event| match event {
        Event::Page(page) => page.objects.iter().for_each(&mut *take),
        Event::NotRead { error, .. } => {
            unread.get_or_insert(error);
        }
    };
    Listed::DEPLOYMENTS.read(cluster, namespace, Some(excluded), &mut take).await;
    unread
}

/// Notes that Deployments could not be read. That is no gap of a judgement, which is one of pods.
pub(super) fn note_unread(coverage: &mut CoverageCounter, unread: Option<ClusterError>) {
    if let Some(error) = unread {
        let message = format!("rollouts that are stuck are not noted: {}", error.reason());
        coverage.note(&"Deployments".into(), None, message);
    }
}

/// The workloads whose drain is blocked, where the policy of the assessment has the check.
pub(crate) async fn blocked(
    cluster: &Cluster,
    namespace: Option<&str>,
    assessment: &mut Assessment<'_>,
) -> BlockedDrains {
    if !assessment.policy().needs_budgets() {
        return BlockedDrains::default();
    }
    let excluded = assessment.excluded();
    BlockedDrains::read(cluster, namespace, excluded, &mut assessment.coverage).await
}

/// Adds an event of reading pods to an assessment.
pub(crate) fn assess(
    assessment: &mut Assessment<'_>,
    blocked: &BlockedDrains,
    event: Event<LivePod>,
) {
    for pod in pods_of(event, &mut assessment.coverage) {
        let mut facts = PodFacts::of_pod(&pod.view, "");
        blocked.tell(&mut facts);
        assessment.live_pod(&pod, &facts);
    }
}

/// The pods that were read; what could not be read is recorded.
pub(crate) fn pods_of(event: Event<LivePod>, coverage: &mut CoverageCounter) -> Vec<LivePod> {
    match event {
        Event::Page(page) => {
            for pod in page.unreadable {
                coverage.not_read(&format!("pod {}", pod.object).into(), None, pod.reason);
            }
            page.objects
        }
        Event::NotRead { part, error } => {
            coverage.not_read(&part.into(), None, error.reason().to_owned());
            Vec::new()
        }
    }
}

/// The source of a report.
pub(crate) fn source(cluster: &Cluster, namespace: Option<&str>) -> Source {
    Source::Cluster {
        context: cluster.context.clone(),
        server: cluster.server.clone(),
        namespace: namespace.map(str::to_owned),
    }
}
