//! The command line of kube-devops: see `policyctl --help`.

mod cli;
mod cluster;
mod cmd;
mod exit;
mod global;
mod input;
mod judgement;
mod limits;
mod names;
mod output;
mod policies;
mod report;

use clap::Parser as _;

fn main() -> std::process::ExitCode {
    cli::Cli::parse().run()
}
