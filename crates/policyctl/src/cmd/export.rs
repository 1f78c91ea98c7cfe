//! `policyctl export`

use crate::cli::Global;
use crate::cluster;
use crate::exit::Exit;
use crate::output::{self, Output};
use crate::policies::PolicyApi;

const EXAMPLES: &str = "\
Examples:
  policyctl export -n shop > policies/shop.yaml
  policyctl export -A > policies.yaml

Prints the policies of the namespace (-n, else the context's, else `default`) or of all (-A),
sorted, without status and without what the server keeps for itself. Applying them again with
`policyctl import` changes nothing.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args, global: &Global) -> anyhow::Result<Exit> {
    global.output(&[Output::Yaml])?;
    let policies = cluster::run(async {
        let cluster = global.target.connect().await?;
        let namespace = global.target.namespace_in(&cluster);
        let namespace = (!global.target.all_namespaces).then_some(namespace);
        Ok(PolicyApi::of(&cluster).await?.list(namespace).await?)
    })?;
    let documents: Result<Vec<String>, _> =
        policies.values().map(|policy| output::yaml(&policy.object())).collect();
    if policies.is_empty() {
        global.console().note("there are no policies");
    }
    output::result(&documents?.join("---\n"))?;
    Ok(Exit::Fine)
}
