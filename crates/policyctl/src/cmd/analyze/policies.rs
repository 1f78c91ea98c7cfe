//! `analyze --policies cluster`: each policy of the cluster on the pods of its namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use policy_core::Timestamp;
use policy_core::facts::PodFacts;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::CompiledPolicy;
use policy_core::report::{Assessment, CoverageCounter};
use policy_core::text::printable;

use super::drains::BlockedDrains;
use super::live;
use crate::cluster::{self, Cluster, workload_labels};
use crate::exit::Exit;
use crate::global::Global;
use crate::judgement::Judgement;
use crate::limits::{self, NotJudged};
use crate::output::{self, Destined, Output};
use crate::policies::{NamespaceLabels, PolicyApi, ScopedPolicy};
use crate::report::{self, PolicyReports};

pub(super) fn analyze(
    judgement: &Judgement,
    outputs: &[Destined],
    global: &Global,
) -> anyhow::Result<Exit> {
    let (reports, policies, exit) = cluster::run(judged(judgement, global))?;
    for output in outputs {
        let style = output.table_style(global.console());
        output.write(|out| match output.form {
            Output::Json => report::json(&reports.reports, out),
            Output::Yaml => report::yaml(&reports.reports, out),
            _ => Ok(report::write_policies(&reports, style, out)?),
        })?;
    }
    if !super::is_table_shown(outputs) {
        output::not_read(&reports.coverage.failed);
        for (namespace, pods) in &reports.without_policy {
            let namespace = format_args!("namespace {namespace} has {pods} pods and no policy");
            global.console().note(namespace);
        }
    }
    let not_read = if reports.coverage.failed.is_empty() { Exit::Fine } else { Exit::Cluster };
    let judged = reports.reports.iter().zip(&policies);
    let thresholds = judged.map(|(report, policy)| judgement.exit(report, policy));
    Ok(thresholds.fold(exit.max(not_read), Exit::max))
}

/// A report for each valid policy, these policies in the same order, and the exit code for gaps.
async fn judged(
    judgement: &Judgement,
    global: &Global,
) -> anyhow::Result<(PolicyReports, Vec<CompiledPolicy>, Exit)> {
    let cluster = live::connect(global).await?;
    let namespace = global.target.namespace.as_deref();
    let excluded = judgement.choice.exclusion.namespaces();
    let (policies, exit) = valid(&cluster, namespace, &excluded, global).await?;
    let now = Timestamp::now();
    let mut by_namespace: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut assessments = Vec::new();
    let admission: Vec<_> =
        policies.iter().map(|policy| judgement.admission(&policy.compiled)).collect();
    for (index, ScopedPolicy { compiled, namespaces, .. }) in policies.iter().enumerate() {
        let assessment = Assessment::new(compiled, &excluded, now);
        assessments.push(assessment.judging_admission(admission[index].as_ref()));
        for namespace in namespaces {
            by_namespace.entry(namespace).or_default().push(index);
        }
    }
    let mut coverage = CoverageCounter::default();
    let mut without_policy: BTreeMap<String, u64> = BTreeMap::new();
    let blocked = if policies.iter().any(|policy| policy.compiled.needs_budgets()) {
        BlockedDrains::read(&cluster, namespace, &excluded, &mut coverage).await
    } else {
        BlockedDrains::default()
    };
    let rules = || policies.iter().map(|policy| &policy.compiled);
    let namespaces = NamespaceLabels::for_custom(&cluster, namespace, rules(), &mut coverage).await;
    let workloads =
        workload_labels::read(&cluster, namespace, &excluded, rules(), &mut coverage).await;
    for assessment in &mut assessments {
        assessment.know_namespaces(Arc::clone(&namespaces));
        assessment.know_workloads(Arc::clone(&workloads));
    }
    let is_whole = rules().any(|policy| policy.custom().is_some());
    live::read(&cluster, namespace, &excluded, is_whole, global.console(), &mut |event| {
        for pod in live::pods_of(event, &mut coverage) {
            let mut facts = PodFacts::of_pod(&pod.view, "");
            blocked.tell(&mut facts);
            if !coverage.pod(&facts, &excluded) {
                continue;
            }
            let Some(policies) = by_namespace.get(&*facts.namespace) else {
                *without_policy.entry(facts.namespace.to_string()).or_default() += 1;
                continue;
            };
            for index in policies {
                assessments[*index].live_pod(&pod, &facts);
            }
        }
    })
    .await;
    let unread = live::read_deployments(&cluster, namespace, &excluded, &mut |deployment| {
        for index in by_namespace.get(deployment.key().0).into_iter().flatten() {
            assessments[*index].live_deployment(deployment);
        }
    })
    .await;
    live::note_unread(&mut coverage, unread);
    let reports = assessments.into_iter().zip(&policies).map(|(assessment, policy)| {
        let policy = &policy.policy;
        let namespace = if policy.is_cluster() { namespace } else { Some(&*policy.namespace) };
        assessment.finish(live::source(&cluster, namespace), policy.full_name())
    });
    let reports = reports.collect();
    let coverage = coverage.finish();
    let policies = policies.into_iter().map(|policy| policy.compiled).collect();
    Ok((PolicyReports { reports, without_policy, coverage }, policies, exit))
}

/// The valid policies that judge pods of the namespace, or of any, cluster policies first.
async fn valid(
    cluster: &Cluster,
    namespace: Option<&str>,
    excluded: &ExcludedNamespaces,
    global: &Global,
) -> anyhow::Result<(Vec<ScopedPolicy>, Exit)> {
    let api = PolicyApi::of(cluster).await?;
    let mut policies =
        api.scoped_if_allowed(namespace.as_ref().map(std::slice::from_ref), excluded).await?;
    let listed = api.list(namespace).await;
    let mut exit = listed.report_gaps();
    let not_judged = listed.not_judged().unwrap_or_default();
    for line in limits::lines(&not_judged) {
        global.console().note(printable(&line));
    }
    let not_judged: BTreeSet<_> = not_judged.into_iter().map(NotJudged::key).collect();
    let own = listed.policies.into_iter().filter(|(key, _)| !not_judged.contains(key));
    let own = own.map(|(_, policy)| policy).filter(|policy| !excluded.contains(&policy.namespace));
    for policy in own {
        let namespaces = [policy.namespace.clone()].into();
        match policy.compiled() {
            Ok(compiled) => policies.push(ScopedPolicy { policy, compiled, namespaces }),
            Err(invalid) => {
                exit = exit.max(Exit::Error);
                output::failure(&output::problems(&policy.is_invalid(), &invalid));
            }
        }
    }
    Ok((policies, exit))
}
