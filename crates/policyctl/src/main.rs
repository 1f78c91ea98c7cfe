//! The command line of kube-devops: see `policyctl --help`.

mod cli;
mod cluster;
mod cmd;
mod exit;
mod input;
mod judgement;
mod output;
mod policies;
mod report;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    cli::Cli::parse().run()
}
