//! `policyctl export`

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

Prints the policies of all namespaces, or of one (-n), sorted, without status and without fields
that the server sets. Importing them with `policyctl import` changes nothing.
Output: yaml (default), json.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args, global: &Global) -> anyhow::Result<Exit> {
    let format = global.output(&[Output::Yaml, Output::Json], &Scope::CLUSTER)?;
    let namespace = global.target.namespace.as_deref();
    let listed = cluster::run(async {
        let cluster = global.target.connect().await?;
        Ok(PolicyApi::of(&cluster).await?.list(namespace).await)
    })?;
    let objects: Vec<Value> = listed.policies.values().map(Policy::object).collect();
    output::objects(&objects, format)?;
    let exit = listed.report_gaps();
    if objects.is_empty() && exit == Exit::Fine {
        let place =
            namespace.map_or_else(|| "any namespace".to_owned(), |n| format!("namespace {n}"));
        global.console().note(format_args!("there is no policy in {place}"));
    }
    Ok(exit)
}
