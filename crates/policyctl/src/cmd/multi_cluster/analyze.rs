//! `policyctl multi-cluster analyze`

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use policy_core::Timestamp;
use policy_core::report::{
    AssessedCluster, Assessment, ClusterOutcome, ClusterPart, ClustersReport, Coverage, ReadCluster,
};
use policy_core::text::printable;

use super::reference::Facts;
use crate::cluster::Context;
use crate::cluster::fleet::{Answer, Reached, Selection};
use crate::cluster::namespaced::Listed;
use crate::cmd::analyze::live::{assess, blocked, know_cluster};
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::judgement::{Judgement, exit_of_denied};
use crate::output::{self, Output};
use crate::report;

const EXAMPLES: &str = "\
Examples:
  policyctl multi-cluster analyze
  policyctl multi-cluster analyze --contexts 'prod-*,staging' --policy policy.yaml
  policyctl multi-cluster analyze --contexts prod-eu,prod-us --bundle baseline --per-cluster
  policyctl multi-cluster analyze --contexts 'prod-*' --reference prod-eu
  policyctl multi-cluster analyze --bundle restricted --fail-on denied
  policyctl multi-cluster analyze -o table -o markdown=clusters.md

Reads all contexts of the kubeconfig by default, eight at a time. A cluster that cannot be read keeps
its row with the reason and does not change the score of the others; the exit code is then 3. A
cluster of several contexts counts once. --reference also compares each cluster with that one, and
exits with 1 where any differs. --fail-on denied counts the objects of each cluster that the webhook
would deny if a user created them now, under the policy alone; with --per-cluster it names the first
100 of each.
Output: table (default), json and yaml (docs/clusters.schema.json), markdown; -o FORMAT=FILE writes
one into a file, and can be repeated.";

const FORMATS: [Output; 4] = [Output::Table, Output::Json, Output::Yaml, Output::Markdown];

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,

    /// Also show the summary of each cluster
    #[arg(long)]
    per_cluster: bool,

    /// Also show how the clusters differ from this context: policies, webhook configurations,
    /// definitions, versions of Kubernetes, and images of the services
    #[arg(long, value_name = "CONTEXT")]
    reference: Option<String>,

    #[command(flatten)]
    judgement: Judgement,
}

pub(super) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let outputs = global.outputs(&FORMATS, &Scope::CLUSTER)?;
    let choice = &args.judgement.choice;
    let policy = choice.policy()?;
    let admission = args.judgement.admission(&policy);
    let excluded = choice.exclusion.namespaces();
    let mut fleet = args.selection.fleet(global)?;
    if let Some(reference) = &args.reference {
        fleet.include(reference)?;
    }
    let now = Timestamp::now();
    let namespace = global.target.namespace.as_deref();
    let whole = WholeServers::default();
    let answers = fleet.each(async |reached| {
        let facts = match args.reference {
            Some(_) => {
                let facts = async { Ok(Facts::read(&reached.cluster).await) };
                Some(reached.within(facts).await?)
            }
            None => None,
        };
        let context = reached.context;
        let found = if let Some(other) = whole.of(context) {
            Found { outcome: ClusterOutcome::SameAs(other), uid: None }
        } else {
            let empty = Assessment::new(&policy, &excluded, now)
                .counting_only()
                .judging_admission(admission.as_ref());
            read(&reached, namespace, empty).await
        };
        if found.coverage().is_some_and(|coverage| coverage.failed.is_empty()) {
            whole.add(context);
        }
        Ok((found, facts))
    });
    let mut facts = BTreeMap::new();
    let found = answers.into_iter().map(|Answer { context, result }| match result {
        Ok((found, of_cluster)) => {
            facts.extend(of_cluster.map(|of_cluster| (&*context.name, of_cluster)));
            (context, found)
        }
        Err(error) => {
            let outcome = ClusterOutcome::Failed(error.reason().to_owned());
            (context, Found { outcome, uid: None })
        }
    });
    let found = once_each(found.collect());
    let mut report = ClustersReport::new(&policy, choice.name(), found);
    if let Some(reference) = &args.reference {
        compare(&mut report, reference, &facts);
    }
    for output in &outputs {
        output.write(|out| match output.form {
            Output::Json => report::json(&report, out),
            Output::Yaml => report::yaml(&report, out),
            Output::Markdown => {
                Ok(out.write_all(report::clusters_as_markdown(&report).as_bytes())?)
            }
            _ => {
                let style = output.table_style(global.console());
                Ok(report::write_clusters(&report, args.per_cluster, style, out)?)
            }
        })?;
    }
    if !outputs.iter().any(|output| output.form == Output::Table && output.file.is_none()) {
        print_gaps(&report);
    }
    let exit = if report.is_complete() { Exit::Fine } else { Exit::Cluster };
    let exit = if report.differs() { exit.max(Exit::Findings) } else { exit };
    let exit = exit.max(args.judgement.exit_of_summary(&choice.name(), &policy, &report.summary));
    let denied = report.clusters.iter().filter_map(|cluster| {
        let of = format!("{}: ", printable(&cluster.context));
        Some(exit_of_denied(&of, cluster.denied.as_ref()?))
    });
    Ok(denied.fold(exit, Exit::max))
}

/// Compares each cluster that answered with the reference, if that did.
fn compare(report: &mut ClustersReport, reference: &str, facts: &BTreeMap<&str, Facts>) {
    report.reference = Some(reference.to_owned());
    let Some(there) = facts.get(reference) else { return };
    for cluster in report.clusters.iter_mut().filter(|cluster| cluster.context != reference) {
        let here = facts.get(&*cluster.context);
        let compared = here.map(|here| here.compared_with(there, [&cluster.context, reference]));
        cluster.comparison = compared;
    }
}

/// Prints what could not be read, since people may not look into a machine's format.
fn print_gaps(report: &ClustersReport) {
    for cluster in &report.clusters {
        for failed in &cluster.coverage.failed {
            let (source, reason) = (&failed.source, &failed.reason);
            output::error(format_args!("{}: {source}: {reason}", cluster.context));
        }
    }
}

/// The servers that were read whole, each with the context by which it was: it is not read again.
#[derive(Default)]
struct WholeServers(Mutex<BTreeMap<String, String>>);

impl WholeServers {
    fn of(&self, context: &Context) -> Option<String> {
        let servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        servers.get(&context.server.to_ascii_lowercase()).cloned()
    }

    fn add(&self, context: &Context) {
        if !context.server.is_empty() {
            let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            servers.insert(context.server.to_ascii_lowercase(), context.name.clone());
        }
    }
}

/// The result of a context.
struct Found {
    outcome: ClusterOutcome,
    /// [`Cluster::uid`].
    uid: Option<String>,
}

impl Found {
    fn coverage(&self) -> Option<&Coverage> {
        match &self.outcome {
            ClusterOutcome::Read(read) => Some(&read.coverage),
            _ => None,
        }
    }
}

/// Counts a cluster once, however many contexts and addresses it has: of its results the one that
/// read most stays, and of equal ones the first.
fn once_each(found: Vec<(&Context, Found)>) -> Vec<AssessedCluster> {
    let read = |(_, found): &(&Context, Found)| {
        let coverage = found.coverage().filter(|coverage| coverage.objects_read() > 0)?;
        // All complete results are equal, although pods may have changed between them.
        Some(if coverage.failed.is_empty() { u64::MAX } else { coverage.objects_read() })
    };
    let is_same = |(a, a_found): &(&Context, Found), (b, b_found): &(&Context, Found)| {
        let is_one = a_found.uid.is_some() && a_found.uid == b_found.uid;
        is_one || !a.server.is_empty() && a.server.eq_ignore_ascii_case(&b.server)
    };
    let best = |row: &(&Context, Found)| {
        read(row)?;
        let rivals = found.iter().filter(|rival| read(rival).is_some() && is_same(row, rival));
        // `max_by_key` gives the last of equal elements.
        rivals.rev().max_by_key(|rival| read(rival)).map(|(context, _)| context.name.clone())
    };
    let best: Vec<Option<String>> = found.iter().map(best).collect();
    let row = |((context, found), best): ((&Context, Found), Option<String>)| {
        let outcome = match best.filter(|best| *best != context.name) {
            Some(best) => ClusterOutcome::SameAs(best),
            None => found.outcome,
        };
        AssessedCluster { context: context.name.clone(), server: context.server.clone(), outcome }
    };
    found.into_iter().zip(best).map(row).collect()
}

/// Reads a cluster until its deadline.
async fn read(
    reached: &Reached<'_>,
    namespace: Option<&str>,
    mut assessment: Assessment<'_>,
) -> Found {
    let mut uid = None;
    let cluster = &reached.cluster;
    let work = async {
        uid = cluster.uid().await;
        let blocked = blocked(cluster, namespace, &mut assessment).await;
        know_cluster(cluster, namespace, &mut assessment).await;
        let is_whole = assessment.policy().custom().is_some();
        let excluded = assessment.excluded();
        let mut take = |event| assess(&mut assessment, &blocked, event);
        Listed::read_pods(cluster, namespace, Some(excluded), is_whole, &mut take).await;
    };
    if tokio::time::timeout_at(reached.deadline.into(), work).await.is_err() {
        assessment.coverage.not_read(
            &ClusterPart::Whole.to_string().into(),
            None,
            reached.not_in_time(),
        );
    }
    Found { outcome: ClusterOutcome::Read(Box::new(ReadCluster::of(assessment))), uid }
}
