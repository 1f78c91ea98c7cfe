//! The command line of kube-devops: see `policyctl --help`.

mod cli;
mod cmd;
mod exit;
mod input;
mod output;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    cli::Cli::parse().run()
}
