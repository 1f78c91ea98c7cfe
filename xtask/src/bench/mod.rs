//! `cargo xtask bench`: measurements that anyone can repeat. Both sides of a ratio are measured in
//! turn within one run.

mod changes;
mod clusters;
mod core;
mod live;
mod manifests;
mod measure;
mod memory;
mod offline;
mod operator;
mod remediation;
mod sample;
mod scrape;
mod watcher;
mod webhook;

use anyhow::Result;

use crate::cargo;
use measure::measure_by_e2e;

/// What to measure.
#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// The engine and policyctl
    Core {
        /// Print one JSON object instead of a table
        #[arg(long)]
        json: bool,
    },
    /// How soon a changed policy and exemption count in each service, on a real API server
    Changes {
        /// Print one JSON object instead of a table
        #[arg(long)]
        json: bool,
    },
    /// policyctl on four clusters of 5 000 pods of fake API servers, against one of them
    Clusters {
        /// Print one JSON object instead of a table
        #[arg(long)]
        json: bool,
    },
    /// policyctl on 5 000 files, beside kube-score
    Offline {
        /// Print one JSON object instead of a table
        #[arg(long)]
        json: bool,
    },
    /// policyctl on a live cluster of 20 000 pods, beside kubectl
    Live {
        /// Print one JSON object instead of a table
        #[arg(long)]
        json: bool,
    },
    /// policy-watcher with 100 000 pods of a fake API server, and 20 000 of a real one
    Watcher {
        /// Print one JSON object instead of a table
        #[arg(long)]
        json: bool,
    },
    /// policy-operator with 100 000 pods and 1 000 policies of a fake API server, and a real one
    Operator {
        /// Print one JSON object instead of a table
        #[arg(long)]
        json: bool,
    },
    /// policy-operator and policy-watcher with 150 000 pods and 10 000 namespaces of a fake API server
    Memory {
        /// Print one JSON object instead of a table
        #[arg(long)]
        json: bool,
    },
    /// policy-webhook beside a server that does nothing, and before a real API server
    Webhook {
        /// Print one JSON object instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Enforce mode: a plan, a repair on a real API server against kubectl, and an injection
    Remediation {
        /// Print one JSON object instead of a table
        #[arg(long)]
        json: bool,
    },
    /// A scrape of policy-watcher with 10 000 namespaces, beside kube-state-metrics, and the dashboard
    Scrape {
        /// Print one JSON object instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Bytes of resident memory for each pod of an index; a process of its own for `core`
    #[command(hide = true)]
    IndexMemory,
}

/// Runs this program again as a release build, as the figures of a debug build mean nothing.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    let is_measured_elsewhere = !matches!(bench, Bench::Core { .. } | Bench::IndexMemory);
    if cfg!(debug_assertions) && !is_measured_elsewhere {
        let mut arguments =
            vec!["run", "--quiet", "--release", "--locked", "--package", "xtask", "--", "bench"];
        match bench {
            Bench::Core { json: true } => arguments.extend(["core", "--json"]),
            Bench::Core { json: false } => arguments.push("core"),
            Bench::IndexMemory => arguments.push("index-memory"),
            Bench::Changes { .. }
            | Bench::Clusters { .. }
            | Bench::Live { .. }
            | Bench::Memory { .. }
            | Bench::Offline { .. }
            | Bench::Watcher { .. }
            | Bench::Operator { .. }
            | Bench::Remediation { .. }
            | Bench::Scrape { .. }
            | Bench::Webhook { .. } => {}
        }
        return cargo::run(&arguments);
    }
    match bench {
        Bench::Core { json } => core::run(*json),
        Bench::Changes { json } => measure_by_e2e(changes::COMMAND, &changes::ROWS, *json),
        Bench::Clusters { json } => measure_by_e2e(clusters::COMMAND, &clusters::ROWS, *json),
        Bench::Live { json } => measure_by_e2e(live::COMMAND, &live::ROWS, *json),
        Bench::Offline { json } => measure_by_e2e(offline::COMMAND, &offline::ROWS, *json),
        Bench::Watcher { json } => measure_by_e2e(watcher::COMMAND, &watcher::ROWS, *json),
        Bench::Memory { json } => measure_by_e2e(memory::COMMAND, memory::rows(), *json),
        Bench::Operator { json } => measure_by_e2e(operator::COMMAND, &operator::ROWS, *json),
        Bench::Remediation { json } => {
            measure_by_e2e(remediation::COMMAND, &remediation::ROWS, *json)
        }
        Bench::Scrape { json } => measure_by_e2e(scrape::COMMAND, &scrape::ROWS, *json),
        Bench::Webhook { json } => measure_by_e2e(webhook::COMMAND, &webhook::ROWS, *json),
        Bench::IndexMemory => {
            println!("{}", core::index_bytes_per_pod()?);
            Ok(())
        }
    }
}
