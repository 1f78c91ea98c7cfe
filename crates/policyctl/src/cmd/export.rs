//! `policyctl export`

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cluster::fleet::{Answer, OfCluster, Selection};
use crate::cluster::{self, Cluster, ClusterError};
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::output::{self, Output};
use crate::policies::{Policy, PolicyApi};

const EXAMPLES: &str = "\
Examples:
  policyctl export > policies.yaml
  policyctl export -n shop > policies/shop.yaml
  policyctl export --contexts 'prod-*' -o json    the policies of several clusters

Prints all cluster policies and the policies of all namespaces, or only those of one namespace (-n),
sorted, without status and without fields that the server sets. Importing them with `policyctl import`
changes nothing. With --contexts a comment names the cluster before its policies.
Output: yaml (default), json.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let format = global.output(&[Output::Yaml, Output::Json], &Scope::CLUSTER)?;
    let namespace = global.target.namespace.as_deref();
    if args.selection.is_used()? {
        return of_clusters(args, format, global);
    }
    let exported = cluster::run(async {
        let cluster = global.target.connect().await?;
        Ok(Exported::read(&cluster, namespace).await?)
    })?;
    output::objects(&exported.objects, format)?;
    exported.gaps.iter().for_each(output::error);
    if !exported.gaps.is_empty() {
        return Ok(Exit::Cluster);
    }
    if exported.objects.is_empty() {
        let place =
            namespace.map_or_else(|| "any namespace".to_owned(), |n| format!("namespace {n}"));
        global.console().note(format_args!("there is no policy in {place}"));
    }
    Ok(Exit::Fine)
}

/// Prints the policies of each of several clusters.
fn of_clusters(args: &Args, format: Output, global: &Global) -> anyhow::Result<Exit> {
    let namespace = global.target.namespace.as_deref();
    let fleet = args.selection.fleet(global)?;
    let answers = fleet
        .each(async |reached| reached.within(Exported::read(&reached.cluster, namespace)).await);
    let rows = answers.into_iter().map(|Answer { context, result }| match result {
        Ok(Exported { objects, gaps }) => {
            let error = (!gaps.is_empty()).then(|| gaps.join("; "));
            OfCluster::new(context, error, objects)
        }
        Err(error) => OfCluster::new(context, Some(error.to_string()), Vec::new()),
    });
    let rows: Vec<OfCluster<Value>> = rows.collect();
    if format == Output::Json {
        output::value(&rows, format, String::new)?;
    } else {
        let documents: Result<Vec<String>, _> = rows.iter().map(documents).collect();
        output::result(&documents?.join("---\n"))?;
    }
    Ok(rows.iter().map(OfCluster::report_error).fold(Exit::Fine, Exit::max))
}

/// The policies of a cluster after a comment with its name.
fn documents(row: &OfCluster<Value>) -> anyhow::Result<String> {
    let documents: Result<Vec<String>, _> = row.policies.iter().map(output::yaml).collect();
    let rest = match &row.error {
        None if row.policies.is_empty() => ": no policy",
        Some(_) if row.policies.is_empty() => ": not read",
        Some(_) => ": not read whole",
        None => "",
    };
    Ok(format!("# {}{}", row.title(rest), documents?.join("---\n")))
}

/// The policies of a cluster in the form to commit.
struct Exported {
    /// Cluster policies first.
    objects: Vec<Value>,
    /// What could not be read, and why.
    gaps: Vec<String>,
}

impl Exported {
    async fn read(cluster: &Cluster, namespace: Option<&str>) -> Result<Self, ClusterError> {
        let api = PolicyApi::of(cluster).await?;
        let mut cluster_policies = Ok(BTreeMap::new());
        if namespace.is_none() {
            cluster_policies = api.list_cluster().await;
        }
        let listed = api.list(namespace).await;
        let mut gaps = listed.gaps();
        let cluster_policies = cluster_policies.unwrap_or_else(|error| {
            gaps.push(error.to_string());
            BTreeMap::new()
        });
        let policies = cluster_policies.values().chain(listed.policies.values());
        Ok(Self { objects: policies.map(Policy::object).collect(), gaps })
    }
}
