//! `policyctl diff`

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use policy_core::text::printable;
use serde::Serialize;
use similar::TextDiff;

use crate::cluster::fleet::{Answer, OfCluster, Selection};
use crate::cluster::{self, Cluster, ClusterError, ErrorKind};
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::output::{self, Output};
use crate::policies::{self, FilePolicies, FilePolicy, Policy, PolicyApi, PolicyName};

const EXAMPLES: &str = "\
Examples:
  policyctl diff policies/            files, folders, patterns, or - for standard input
  policyctl diff policies.yaml -A     also the policies of namespaces that no file names
  policyctl diff policies/ --contexts 'prod-*,staging'

Compares the policies of the files with those of the same namespaces in the cluster, and with the
cluster policies where the files have one (or -A), spec by spec, with all defaults. Lines with - are
only in the cluster, lines with + only in the files. Labels and annotations that no file has are
ignored. Exits with 1 where anything differs. With --contexts each cluster is compared by itself; one
that cannot be read does not keep the others from it, and the exit code is then 3.
Output: table (default; a unified diff), json, yaml.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files, folders (recursive), patterns, or - for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,

    #[command(flatten)]
    selection: Selection,
}

/// A policy in both places.
#[derive(Serialize)]
struct Compared {
    /// `null` for a cluster policy.
    namespace: Option<String>,
    name: String,
    state: State,
    /// The file and line; `null` where only the cluster has the policy.
    place: Option<String>,
    /// The unified diff; empty where the two are the same.
    diff: String,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
enum State {
    Same,
    Different,
    OnlyInFiles,
    OnlyInCluster,
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let format = global.output(&[Output::Table, Output::Json, Output::Yaml], &Scope::CLUSTER)?;
    if args.selection.is_used()? {
        return in_clusters(args, format, global);
    }
    let (files, live) = cluster::run(async {
        let cluster = global.target.connect().await?;
        let files = policies::read_files(&args.files, global, &cluster, "nothing was compared")?;
        let live = Live::read(&cluster, &files, global).await?;
        Ok((files, live))
    })?;
    live.absent.iter().for_each(output::reason);
    let compared = compared(&files, &live.policies)?;
    output::value(&compared, format, || compared.iter().map(|c| c.diff.as_str()).collect())?;
    let scope = if global.target.all_namespaces {
        ""
    } else {
        "; only namespaces that the files name (-A: all)"
    };
    let counts = Counts::of(&compared);
    global.console().note(format_args!("{} compared: {counts}{scope}", compared.len()));
    Ok(counts.exit())
}

/// Compares each of several clusters with the files.
fn in_clusters(args: &Args, format: Output, global: &Global) -> anyhow::Result<Exit> {
    let fleet = args.selection.fleet(global)?;
    let namespace = fleet.namespace(global);
    let files = policies::read_files_in(&args.files, global, namespace, "nothing was compared")?;
    let answers = fleet
        .each(async |reached| reached.within(Live::read(&reached.cluster, &files, global)).await);
    let (mut rows, mut exit) = (Vec::new(), Exit::Fine);
    for Answer { context, result } in answers {
        let (error, policies) = match result {
            Ok(live) => {
                let absent = live.absent.iter();
                absent.for_each(|error| output::reason(format_args!("{}: {error}", context.name)));
                (None, compared(&files, &live.policies)?)
            }
            Err(error) => (Some(error.to_string()), Vec::new()),
        };
        let row = OfCluster::new(context, error, policies);
        exit = exit.max(row.report_error()).max(Counts::of(&row.policies).exit());
        rows.push(row);
    }
    output::value(&rows, format, || rows.iter().map(text).collect())?;
    Ok(exit)
}

/// The differences of a cluster under its name.
fn text(row: &OfCluster<Compared>) -> String {
    let counts = Counts::of(&row.policies);
    let title = match row.error {
        Some(_) => row.title(": not read"),
        None if counts.exit() == Exit::Fine => row.title(": no difference"),
        None => row.title(&format!(": {counts}")),
    };
    title + &row.policies.iter().map(|compared| compared.diff.as_str()).collect::<String>()
}

/// How many policies are in which state.
struct Counts {
    different: usize,
    only_in_files: usize,
    only_in_cluster: usize,
}

impl Counts {
    fn of(compared: &[Compared]) -> Self {
        let count = |state| compared.iter().filter(|compared| compared.state == state).count();
        Self {
            different: count(State::Different),
            only_in_files: count(State::OnlyInFiles),
            only_in_cluster: count(State::OnlyInCluster),
        }
    }

    fn exit(&self) -> Exit {
        let Self { different, only_in_files, only_in_cluster } = self;
        if different + only_in_files + only_in_cluster == 0 { Exit::Fine } else { Exit::Findings }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { different, only_in_files, only_in_cluster } = self;
        write!(
            f,
            "{different} different, {only_in_files} only in files, {only_in_cluster} only in the \
             cluster"
        )
    }
}

/// The policies of a cluster that are compared.
#[derive(Default)]
struct Live {
    policies: BTreeMap<PolicyName, Policy>,
    /// That a namespace of the files does not exist: its policies are only in the files.
    absent: Vec<ClusterError>,
}

impl Live {
    /// The policies of the namespaces that the files name, or of all.
    async fn read(
        cluster: &Cluster,
        files: &FilePolicies,
        global: &Global,
    ) -> Result<Self, ClusterError> {
        let api = PolicyApi::of(cluster).await?;
        let mut live = Self::default();
        if global.target.all_namespaces {
            live.policies = api.list_cluster().await?;
            live.policies.append(&mut api.list(None).await.whole()?);
            return Ok(live);
        }
        let namespaces: BTreeSet<&str> =
            files.keys().map(|(namespace, _)| namespace.as_str()).collect();
        for namespace in namespaces {
            if namespace.is_empty() {
                live.policies.append(&mut api.list_cluster().await?);
                continue;
            }
            match api.list(Some(namespace)).await.whole() {
                Ok(mut policies) => live.policies.append(&mut policies),
                Err(error) if error.kind == ErrorKind::NotFound => live.absent.push(error),
                Err(error) => return Err(error),
            }
        }
        Ok(live)
    }
}

/// All policies of both places, by name.
fn compared(
    files: &FilePolicies,
    live: &BTreeMap<PolicyName, Policy>,
) -> anyhow::Result<Vec<Compared>> {
    let names: BTreeSet<&PolicyName> = files.keys().chain(live.keys()).collect();
    names.into_iter().map(|name| compare(name, files.get(name), live.get(name))).collect()
}

fn compare(
    (namespace, name): &PolicyName,
    file: Option<&FilePolicy>,
    live: Option<&Policy>,
) -> anyhow::Result<Compared> {
    let yaml = |policy: Policy| output::yaml(&policy.canonical().object());
    let here = file.map_or_else(|| Ok(String::new()), |file| yaml(file.policy.clone()))?;
    let there = match (live.cloned(), file) {
        (None, _) => String::new(),
        (Some(live), Some(file)) => yaml(live.with_marks_of(&file.policy))?,
        (Some(live), None) => yaml(live)?,
    };
    let state = match (file, live) {
        (Some(_), None) => State::OnlyInFiles,
        (None, _) => State::OnlyInCluster,
        _ if here == there => State::Same,
        _ => State::Different,
    };
    let place = file.map(|file| file.place.clone());
    let nothing = || "/dev/null".to_owned();
    let from =
        live.map_or_else(nothing, |_| format!("cluster: {}", policies::full_name(namespace, name)));
    let to = place.clone().unwrap_or_else(nothing);
    let diff = TextDiff::from_lines(&there, &here);
    let diff = diff.unified_diff().context_radius(3).header(&from, &to).to_string();
    // Line by line, as a value of a policy can hold control characters.
    let diff = diff.lines().flat_map(|line| [printable(line), "\n".into()]).collect();
    let namespace = (!namespace.is_empty()).then(|| namespace.clone());
    Ok(Compared { namespace, name: name.clone(), state, place, diff })
}
