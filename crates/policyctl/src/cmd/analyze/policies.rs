//! `analyze --policies cluster`: each policy of the cluster on the pods of its namespace.

use std::collections::{BTreeMap, BTreeSet};

use policy_core::Timestamp;
use policy_core::facts::PodFacts;
use policy_core::policy::CompiledPolicy;
use policy_core::report::{Assessment, CoverageCounter};
use policy_core::text::printable;

use super::live;
use crate::cluster;
use crate::exit::Exit;
use crate::global::Global;
use crate::judgement::Judgement;
use crate::limits::{self, NotJudged};
use crate::output::{self, Output};
use crate::policies::{Policy, PolicyApi};
use crate::report::{self, PolicyReports};

pub(super) fn analyze(
    judgement: &Judgement,
    format: Output,
    global: &Global,
) -> anyhow::Result<Exit> {
    let (reports, policies, exit) = cluster::run(judged(judgement, global))?;
    let style = global.console().table_style();
    output::stream(|out| match format {
        Output::Json => report::json(&reports.reports, out),
        Output::Yaml => report::yaml(&reports.reports, out),
        _ => Ok(report::write_policies(&reports, style, out)?),
    })?;
    if format != Output::Table {
        output::not_read(&reports.coverage.failed);
        for (namespace, pods) in &reports.without_policy {
            let namespace = format_args!("namespace {namespace} has {pods} pods and no policy");
            global.console().note(namespace);
        }
    }
    let not_read = if reports.coverage.failed.is_empty() { Exit::Fine } else { Exit::Cluster };
    let judged = reports.reports.iter().zip(&policies);
    let thresholds =
        judged.map(|(report, policy)| judgement.exit(&report.policy, policy, &report.summary));
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
    let listed = PolicyApi::of(&cluster).await?.list(namespace).await;
    let mut exit = listed.report_gaps();
    let (mut names, mut policies): (Vec<&Policy>, Vec<CompiledPolicy>) = (Vec::new(), Vec::new());
    let not_judged = listed.not_judged().unwrap_or_default();
    for line in limits::lines(&not_judged) {
        global.console().note(printable(&line));
    }
    let not_judged: BTreeSet<_> = not_judged.into_iter().map(NotJudged::key).collect();
    let judged = listed.policies.iter().filter(|(key, _)| !not_judged.contains(*key));
    let judged = judged.map(|(_, policy)| policy);
    for policy in judged.filter(|policy| !excluded.contains(&policy.namespace)) {
        match policy.compiled() {
            Ok(compiled) => {
                names.push(policy);
                policies.push(compiled);
            }
            Err(invalid) => {
                exit = exit.max(Exit::Error);
                output::failure(&output::problems(&policy.is_invalid(), &invalid));
            }
        }
    }
    let now = Timestamp::now();
    let mut assessments: BTreeMap<&str, Vec<(&Policy, Assessment<'_>)>> = BTreeMap::new();
    for (policy, compiled) in names.iter().zip(&policies) {
        let assessment = Assessment::new(compiled, &excluded, now);
        assessments.entry(&policy.namespace).or_default().push((policy, assessment));
    }
    let mut coverage = CoverageCounter::default();
    let mut without_policy: BTreeMap<String, u64> = BTreeMap::new();
    live::read(&cluster, namespace, &excluded, global.console(), &mut |event| {
        for pod in live::pods_of(event, &mut coverage) {
            let facts = PodFacts::of_pod(&pod, "");
            if !coverage.pod(&facts, &excluded) {
                continue;
            }
            match assessments.get_mut(&*facts.namespace) {
                Some(own) => own.iter_mut().for_each(|(_, own)| own.live_pod(&pod, &facts)),
                None => *without_policy.entry(facts.namespace.to_string()).or_default() += 1,
            }
        }
    })
    .await;
    let reports = assessments.into_values().flatten().map(|(policy, assessment)| {
        assessment.finish(live::source(&cluster, Some(&policy.namespace)), policy.full_name())
    });
    let reports = reports.collect();
    let coverage = coverage.finish();
    Ok((PolicyReports { reports, without_policy, coverage }, policies, exit))
}
