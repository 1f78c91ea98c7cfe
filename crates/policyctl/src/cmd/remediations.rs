//! `policyctl remediations`

use futures::StreamExt as _;
use policy_core::Timestamp;
use policy_core::report::{RemediationReport, ReportedRemediation};
use serde_json::Value;

use super::analyze::live;
use crate::cluster::namespaced::Event;
use crate::cluster::workloads::WorkloadName;
use crate::cluster::{self, Cluster};
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::output::{self, Output};
use crate::policies::PolicyApi;

const EXAMPLES: &str = "\
Examples:
  policyctl remediations             all namespaces
  policyctl remediations -n shop     one namespace
  policyctl remediations -o json

Lists what enforce mode did and did not do with each workload: since when, by which policy, which
fields, and why. It is what the operator wrote into the status of the policies, beside the fields
that the field manager policy-operator owns now in at most 200 workloads. Nothing is written.
`policyctl revert` takes remediations back.
Output: table (default), json and yaml (docs/remediations.schema.json).";

/// The most workloads that are read.
const MOST: usize = 200;
/// How many are read at a time.
const AT_A_TIME: usize = 8;

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args, global: &Global) -> anyhow::Result<Exit> {
    let form = global.output(&[Output::Table, Output::Json, Output::Yaml], &Scope::CLUSTER)?;
    let report = cluster::run(read(global))?;
    output::report(&report, &report.not_read, form, global.console())?;
    if report.policies.is_empty() && report.not_read.is_empty() {
        global.console().note("no policy is in enforce mode");
    }
    Ok(if report.not_read.is_empty() { Exit::Fine } else { Exit::Cluster })
}

async fn read(global: &Global) -> anyhow::Result<RemediationReport> {
    let cluster = live::connect(global).await?;
    let namespace = global.target.namespace.as_deref();
    let (mut policies, mut not_read) = (Vec::<Value>::new(), Vec::new());
    let api = PolicyApi::of(&cluster).await?;
    api.read(namespace, &mut |event| match event {
        Event::Page(page) => policies.extend(page.objects),
        Event::NotRead { part, error } => not_read.push((part, error)),
    })
    .await;
    let source = live::source(&cluster, namespace);
    let mut report = RemediationReport::of(source, &policies, Timestamp::now());
    for (part, error) in not_read {
        report.failed(&part, error.reason().to_owned());
    }
    compare(&cluster, &mut report).await;
    Ok(report)
}

/// Adds the workloads as they are now.
async fn compare(cluster: &Cluster, report: &mut RemediationReport) {
    let named = report.workloads.iter_mut().filter_map(|entry| {
        let (kind, name) = entry.to_compare()?;
        let (namespace, name) = (entry.namespace.clone(), name.to_owned());
        Some((WorkloadName { namespace, kind, name }, entry))
    });
    let named: Vec<(WorkloadName, &mut ReportedRemediation)> = named.collect();
    report.not_compared = named.len().saturating_sub(MOST) as u64;
    let compared = futures::stream::iter(named.into_iter().take(MOST))
        .map(|(name, entry)| async move {
            let problem = match name.get(cluster).await {
                Ok(workload) => entry.compare(workload.as_ref()).err(),
                Err(error) => Some(error.reason().to_owned()),
            };
            problem.map(|problem| (name.to_string(), problem))
        })
        .buffered(AT_A_TIME);
    let problems: Vec<_> = compared.filter_map(std::future::ready).collect().await;
    for (what, problem) in problems {
        report.failed(&what, problem);
    }
}
