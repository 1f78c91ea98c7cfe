//! Generates, checks, tests, measures and shows the project: `cargo xtask --help`.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

mod bench;
mod cargo;
mod check_docs;
mod ci;
mod demo;
mod generate;
mod purity;
mod tidy;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Everything a developer of this project runs")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Show the product on the example application
    Demo,
    /// Run all tests
    Test,
    /// Run all checks that a change has to pass, except the tests
    Ci,
    /// Write all generated files
    Gen {
        /// Write nothing; fail where a file differs from what would be written
        #[arg(long)]
        check: bool,
    },
    /// Write the custom resource definitions to deploy/crds
    GenCrds,
    /// Measure
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Demo => demo::run(),
        Task::Test => cargo::run(&["test", "--workspace", "--locked"]),
        Task::Ci => ci::run(),
        Task::Gen { check } => generate::run(check),
        Task::GenCrds => generate::crds(),
        Task::Bench(bench) => bench::run(&bench),
    }
}
