//! `policyctl multi-cluster`

mod analyze;
mod list;
mod reference;
mod watch;

use crate::exit::Exit;
use crate::global::Global;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// List the contexts of the kubeconfig
    ListContexts(list::Args),
    /// Score the pods of several clusters, each by itself and all together
    Analyze(analyze::Args),
    /// Show the verdicts of the policies of several clusters, and each change
    Watch(watch::Args),
}

pub(crate) fn run(command: &Command, global: &Global) -> anyhow::Result<Exit> {
    match command {
        Command::ListContexts(args) => list::run(args, global),
        Command::Analyze(args) => analyze::run(args, global),
        Command::Watch(args) => watch::run(args, global),
    }
}
