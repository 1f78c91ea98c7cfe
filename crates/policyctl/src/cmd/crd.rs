//! `policyctl crd`

use policy_core::api;

use crate::exit::Exit;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  policyctl crd generate | kubectl apply --server-side -f -";

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Print the custom resource definitions as YAML
    #[command(after_help = EXAMPLES)]
    Generate,
}

pub(crate) fn run(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Generate => {
            let documents: Result<Vec<String>, _> = api::crds().iter().map(output::yaml).collect();
            output::result(&documents?.join("---\n"))?;
        }
    }
    Ok(Exit::Fine)
}
