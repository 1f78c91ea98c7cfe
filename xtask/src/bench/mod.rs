//! `cargo xtask bench`: numbers that anyone can measure again. Ratios are taken within one run,
//! their sides in turn.

mod core;
mod manifests;
mod measure;
mod sample;

use anyhow::Result;

use crate::cargo;

/// What to measure.
#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// The engine and policyctl
    Core {
        /// Print one JSON object instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Bytes of resident memory for each pod of an index; a process of its own for `core`
    #[command(hide = true)]
    IndexMemory,
}

/// Numbers of an unoptimised build mean nothing, so the program runs itself again.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    if cfg!(debug_assertions) {
        let mut arguments =
            vec!["run", "--quiet", "--release", "--locked", "--package", "xtask", "--", "bench"];
        match bench {
            Bench::Core { json: true } => arguments.extend(["core", "--json"]),
            Bench::Core { json: false } => arguments.push("core"),
            Bench::IndexMemory => arguments.push("index-memory"),
        }
        return cargo::run(&arguments);
    }
    match bench {
        Bench::Core { json } => core::run(*json),
        Bench::IndexMemory => {
            println!("{}", core::index_bytes_per_pod()?);
            Ok(())
        }
    }
}
