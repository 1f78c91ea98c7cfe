//! `policyctl multi-cluster`

use std::time::Duration;

use anyhow::bail;
use futures::{StreamExt as _, stream};
use policy_core::Timestamp;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::report::{
    AssessedCluster, Assessment, ClusterOutcome, ClustersReport, CoverageCounter,
};
use serde::Serialize;

use crate::cluster::namespaced::Listed;
use crate::cluster::{self, Cluster, Context, Contexts};
use crate::cmd::analyze::live::{assess, blocked, know_cluster};
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::judgement::Judgement;
use crate::output::{self, Output};
use crate::report;

const LIST_EXAMPLES: &str = "\
Examples:
  policyctl multi-cluster list-contexts
  policyctl multi-cluster list-contexts --probe   connect to each, and show errors

Output: table (default), json, yaml.";

const ANALYZE_EXAMPLES: &str = "\
Examples:
  policyctl multi-cluster analyze
  policyctl multi-cluster analyze --contexts prod-eu,prod-us --bundle baseline --per-cluster

Reads all contexts of the kubeconfig, eight at a time. A cluster that cannot be read keeps its row
with the reason and does not change the score of the others; the exit code is then 3. A cluster of
several contexts counts once.
Output: table (default), json and yaml (docs/clusters.schema.json).";

/// How many clusters are read at a time; each may hold a page of 7 MB.
const PARALLEL: usize = 8;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// List the contexts of the kubeconfig
    #[command(after_help = LIST_EXAMPLES)]
    ListContexts {
        /// Connect to each of them
        #[arg(long)]
        probe: bool,
    },
    /// Score the pods of several clusters, each by itself and all together
    #[command(after_help = ANALYZE_EXAMPLES)]
    Analyze(AnalyzeArgs),
}

#[derive(clap::Args)]
pub(crate) struct AnalyzeArgs {
    /// The contexts, separated by commas; all by default
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    contexts: Vec<String>,

    /// Also show the summary of each cluster
    #[arg(long)]
    per_cluster: bool,

    /// The deadline of a cluster, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,

    #[command(flatten)]
    judgement: Judgement,
}

pub(crate) fn run(command: &Command, global: &Global) -> anyhow::Result<Exit> {
    match command {
        Command::ListContexts { probe } => list(*probe, global),
        Command::Analyze(args) => analyze(args, global),
    }
}

/// A row of the list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    cluster: String,
    server: String,
    is_current: bool,
    /// Absent without `--probe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<Probe>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    is_reachable: bool,
    /// The version of the server, or the error.
    message: String,
}

fn list(probe: bool, global: &Global) -> anyhow::Result<Exit> {
    let formats = [Output::Table, Output::Json, Output::Yaml];
    let format = global.output(&formats, &[Scope::Kubeconfig])?;
    let contexts = Contexts::load(global.target.kubeconfig.as_deref())?;
    let rows = cluster::run(async {
        let contexts = &contexts;
        let rows = stream::iter(contexts.all()).map(|context| async move {
            let Context { name, cluster, server, is_current } = context;
            let probe = if probe { Some(probed(contexts, &name).await) } else { None };
            Row { name, cluster, server, is_current, probe }
        });
        Ok(rows.buffered(PARALLEL).collect::<Vec<_>>().await)
    })?;
    output::value(&rows, format, || table(&rows))?;
    let has_failed = |row: &Row| row.probe.as_ref().is_some_and(|probe| !probe.is_reachable);
    Ok(if rows.iter().any(has_failed) { Exit::Cluster } else { Exit::Fine })
}

async fn probed(contexts: &Contexts, name: &str) -> Probe {
    match Cluster::connect(contexts, name).await {
        Ok(cluster) => {
            let message = cluster.version.unwrap_or_else(|| "reachable".to_owned());
            Probe { is_reachable: true, message }
        }
        Err(error) => Probe { is_reachable: false, message: error.reason().to_owned() },
    }
}

fn table(rows: &[Row]) -> String {
    let is_probed = rows.iter().any(|row| row.probe.is_some());
    let mut cells = vec![["CURRENT", "NAME", "CLUSTER", "SERVER"].map(str::to_owned).to_vec()];
    if is_probed {
        cells[0].push("REACHABLE".to_owned());
    }
    for row in rows {
        let current = if row.is_current { "*" } else { "" };
        let mut line = [current, &row.name, &row.cluster, &row.server].map(str::to_owned).to_vec();
        if let Some(Probe { is_reachable, message }) = &row.probe {
            line.push(if *is_reachable {
                format!("yes: {message}")
            } else {
                format!("no: {message}")
            });
        }
        cells.push(line);
    }
    output::columns(&cells)
}

fn analyze(args: &AnalyzeArgs, global: &Global) -> anyhow::Result<Exit> {
    let form = global.output(&[Output::Table, Output::Json, Output::Yaml], &Scope::CLUSTER)?;
    let policy = args.judgement.choice.policy()?;
    let excluded = args.judgement.choice.exclusion.namespaces();
    if global.target.context.is_some() {
        bail!("choose clusters with --contexts, not with --context");
    }
    let contexts = Contexts::load(global.target.kubeconfig.as_deref())?;
    let names = args.contexts.iter().map(|name| name.trim());
    let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    if names.is_empty() && !args.contexts.is_empty() {
        bail!("--contexts names no context");
    }
    let chosen = chosen(&contexts, &names)?;
    let now = Timestamp::now();
    let progress = global.console().progress(Some(chosen.len() as u64), "clusters");
    let limit = Duration::from_secs(args.timeout);
    let clusters = cluster::run(async {
        let groups = stream::iter(by_server(&chosen)).map(|group| async {
            let mut rows = Vec::new();
            let mut whole: Option<&Context> = None;
            for (place, context) in group {
                let empty = Assessment::new(&policy, &excluded, now).counting_only();
                let found = match whole {
                    Some(other) => Found::new(ClusterOutcome::SameAs(other.name.clone())),
                    None => read(&contexts, context, empty, &excluded, limit, global).await,
                };
                if found.coverage().is_some_and(CoverageCounter::is_complete) {
                    whole = Some(context);
                }
                progress.inc(1);
                rows.push((place, context, found));
            }
            rows
        });
        let mut rows = groups.buffered(PARALLEL).concat().await;
        rows.sort_by_key(|(place, ..)| *place);
        Ok(once_each(rows.into_iter().map(|(_, context, found)| (context, found)).collect()))
    })?;
    progress.finish_and_clear();
    let report = ClustersReport::new(&policy, args.judgement.choice.name(), clusters);
    output::stream(|out| {
        let style = global.console().table_style();
        match form {
            Output::Json => report::json(&report, out),
            Output::Yaml => report::yaml(&report, out),
            _ => Ok(report::write_clusters(&report, args.per_cluster, style, out)?),
        }
    })?;
    if form != Output::Table {
        for cluster in &report.clusters {
            for failed in &cluster.coverage.failed {
                let (source, reason) = (&failed.source, &failed.reason);
                output::error(format_args!("{}: {source}: {reason}", cluster.context));
            }
        }
    }
    let exit = if report.is_complete() { Exit::Fine } else { Exit::Cluster };
    Ok(exit.max(args.judgement.exit(&args.judgement.choice.name(), &policy, &report.summary)))
}

/// The named contexts, else all with the current one first: of several contexts of one cluster the
/// first is read.
fn chosen(contexts: &Contexts, names: &[&str]) -> anyhow::Result<Vec<Context>> {
    let mut all = contexts.all();
    if names.is_empty() {
        all.sort_by_key(|context| !context.is_current);
        return Ok(all);
    }
    let mut chosen: Vec<Context> = Vec::new();
    for name in names {
        contexts.choose(Some(name))?;
        let is_new = chosen.iter().all(|context| context.name != *name);
        chosen.extend(all.iter().find(|context| context.name == *name && is_new).cloned());
    }
    Ok(chosen)
}

/// The contexts with their positions, grouped by server: those of a group are tried one after the
/// other until one can read everything.
fn by_server(chosen: &[Context]) -> Vec<Vec<(usize, &Context)>> {
    let mut groups: Vec<Vec<(usize, &Context)>> = Vec::new();
    for (place, context) in chosen.iter().enumerate() {
        let is_same = |group: &&mut Vec<(usize, &Context)>| {
            group
                .first()
                .is_some_and(|(_, first)| first.server.eq_ignore_ascii_case(&context.server))
        };
        match groups.iter_mut().find(is_same).filter(|_| !context.server.is_empty()) {
            Some(group) => group.push((place, context)),
            None => groups.push(vec![(place, context)]),
        }
    }
    groups
}

/// The result of a context.
struct Found<'a> {
    outcome: ClusterOutcome<'a>,
    /// [`Cluster::uid`].
    uid: Option<String>,
}

impl<'a> Found<'a> {
    fn new(outcome: ClusterOutcome<'a>) -> Self {
        Self { outcome, uid: None }
    }

    fn coverage(&self) -> Option<&CoverageCounter> {
        match &self.outcome {
            ClusterOutcome::Read(assessment) => Some(&assessment.coverage),
            _ => None,
        }
    }
}

/// Counts a cluster once, however many contexts and addresses it has: of its results the one that
/// read most stays, and of equal ones the first.
fn once_each<'a>(found: Vec<(&Context, Found<'a>)>) -> Vec<AssessedCluster<'a>> {
    let read = |(_, found): &(&Context, Found<'_>)| {
        let coverage = found.coverage().filter(|coverage| coverage.objects_read() > 0)?;
        // All complete results are equal, although pods may have changed between them.
        Some(if coverage.is_complete() { u64::MAX } else { coverage.objects_read() })
    };
    let is_same = |(a, a_found): &(&Context, Found<'_>), (b, b_found): &(&Context, Found<'_>)| {
        let is_one = a_found.uid.is_some() && a_found.uid == b_found.uid;
        is_one || !a.server.is_empty() && a.server.eq_ignore_ascii_case(&b.server)
    };
    let best = |row: &(&Context, Found<'_>)| {
        read(row)?;
        let rivals = found.iter().filter(|rival| read(rival).is_some() && is_same(row, rival));
        // `max_by_key` gives the last of equal elements.
        rivals.rev().max_by_key(|rival| read(rival)).map(|(context, _)| context.name.clone())
    };
    let best: Vec<Option<String>> = found.iter().map(best).collect();
    let row = |((context, found), best): ((&Context, Found<'a>), Option<String>)| {
        let outcome = match best.filter(|best| *best != context.name) {
            Some(best) => ClusterOutcome::SameAs(best),
            None => found.outcome,
        };
        AssessedCluster { context: context.name.clone(), server: context.server.clone(), outcome }
    };
    found.into_iter().zip(best).map(row).collect()
}

/// Reads a cluster until its deadline.
async fn read<'a>(
    contexts: &Contexts,
    context: &Context,
    mut assessment: Assessment<'a>,
    excluded: &ExcludedNamespaces,
    limit: Duration,
    global: &Global,
) -> Found<'a> {
    let mut uid = None;
    let namespace = global.target.namespace.as_deref();
    let work = async {
        let cluster = Cluster::connect(contexts, &context.name).await?;
        global.console().detail(format_args!("{cluster} answered"));
        uid = cluster.uid().await;
        let blocked = blocked(&cluster, namespace, &mut assessment).await;
        know_cluster(&cluster, namespace, &mut assessment).await;
        let is_whole = assessment.policy().custom().is_some();
        let mut take = |event| assess(&mut assessment, &blocked, event);
        Listed::read_pods(&cluster, namespace, Some(excluded), is_whole, &mut take).await;
        Ok::<(), cluster::ClusterError>(())
    };
    match tokio::time::timeout(limit, work).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Found::new(ClusterOutcome::Failed(error.reason().to_owned())),
        Err(_) => {
            let reason = format!("not read to its end within {} s (--timeout)", limit.as_secs());
            assessment.coverage.not_read(&"cluster".into(), None, reason);
        }
    }
    Found { outcome: ClusterOutcome::Read(Box::new(assessment)), uid }
}
