//! `policyctl diff`

use std::collections::{BTreeMap, BTreeSet};

use policy_core::text::printable;
use serde::Serialize;
use similar::TextDiff;

use crate::cluster::{self, Cluster, ErrorKind};
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::output::{self, Output};
use crate::policies::{self, FilePolicies, FilePolicy, Policy, PolicyApi, PolicyName};

const EXAMPLES: &str = "\
Examples:
  policyctl diff policies/            files, folders, patterns, or - for standard input
  policyctl diff policies.yaml -A     also the policies of namespaces that no file names

Compares the policies of the files with those of the same namespaces in the cluster, and with the
cluster policies where the files have one (or -A), spec by spec, with all defaults. Lines with - are only in the cluster, lines with + only in the files. Labels and
annotations that no file has are ignored. Exits with 1 where anything differs.
Output: table (default; a unified diff), json, yaml.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files, folders (recursive), patterns, or - for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
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
    let (files, live) = cluster::run(async {
        let cluster = global.target.connect().await?;
        let files = policies::read_files(&args.files, global, &cluster, "nothing was compared")?;
        let live = live(&cluster, &files, global).await?;
        Ok((files, live))
    })?;
    let names: BTreeSet<&PolicyName> = files.keys().chain(live.keys()).collect();
    let compared: Result<Vec<Compared>, _> =
        names.into_iter().map(|name| compare(name, files.get(name), live.get(name))).collect();
    let compared = compared?;
    output::value(&compared, format, || compared.iter().map(|c| c.diff.as_str()).collect())?;
    let count = |state| compared.iter().filter(|compared| compared.state == state).count();
    let scope = if global.target.all_namespaces {
        ""
    } else {
        "; only namespaces that the files name (-A: all)"
    };
    global.console().note(format_args!(
        "{} compared: {} different, {} only in files, {} only in the cluster{scope}",
        compared.len(),
        count(State::Different),
        count(State::OnlyInFiles),
        count(State::OnlyInCluster),
    ));
    Ok(if count(State::Same) == compared.len() { Exit::Fine } else { Exit::Findings })
}

/// The cluster's policies of the namespaces that the files name, or of all.
async fn live(
    cluster: &Cluster,
    files: &FilePolicies,
    global: &Global,
) -> anyhow::Result<BTreeMap<PolicyName, Policy>> {
    let api = PolicyApi::of(cluster).await?;
    if global.target.all_namespaces {
        let mut all = api.list_cluster().await?;
        all.append(&mut api.list(None).await.whole()?);
        return Ok(all);
    }
    let mut live = BTreeMap::new();
    let namespaces: BTreeSet<&str> =
        files.keys().map(|(namespace, _)| namespace.as_str()).collect();
    for namespace in namespaces {
        if namespace.is_empty() {
            live.append(&mut api.list_cluster().await?);
            continue;
        }
        match api.list(Some(namespace)).await.whole() {
            Ok(mut policies) => live.append(&mut policies),
            // Its policies are only in the files.
            Err(error) if error.kind == ErrorKind::NotFound => output::reason(error),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(live)
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
