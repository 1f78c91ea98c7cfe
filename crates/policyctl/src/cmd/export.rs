//! `policyctl export`

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cluster;
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::output::{self, Output};
use crate::policies::{Policy, PolicyApi};

const EXAMPLES: &str = "\
Examples:
  policyctl export > policies.yaml
  policyctl export -n shop > policies/shop.yaml

Prints all cluster policies and the policies of all namespaces, or only those of one namespace (-n),
sorted, without status and without fields that the server sets. Importing them with `policyctl import` changes nothing.
Output: yaml (default), json.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args, global: &Global) -> anyhow::Result<Exit> {
    let format = global.output(&[Output::Yaml, Output::Json], &Scope::CLUSTER)?;
    let namespace = global.target.namespace.as_deref();
    let (cluster_policies, listed) = cluster::run(async {
        let cluster = global.target.connect().await?;
        let api = PolicyApi::of(&cluster).await?;
        let cluster_policies = match namespace {
            Some(_) => Ok(BTreeMap::new()),
            None => api.list_cluster().await,
        };
        Ok((cluster_policies, api.list(namespace).await))
    })?;
    let policies =
        cluster_policies.iter().flat_map(BTreeMap::values).chain(listed.policies.values());
    let objects: Vec<Value> = policies.map(Policy::object).collect();
    output::objects(&objects, format)?;
    let mut exit = listed.report_gaps();
    if let Err(error) = cluster_policies {
        output::error(error);
        exit = Exit::Cluster;
    }
    if objects.is_empty() && exit == Exit::Fine {
        let place =
            namespace.map_or_else(|| "any namespace".to_owned(), |n| format!("namespace {n}"));
        global.console().note(format_args!("there is no policy in {place}"));
    }
    Ok(exit)
}
