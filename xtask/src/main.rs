//! Generates, checks, tests, measures and shows the project: `cargo xtask --help`.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

mod bench;
mod cargo;
mod check_docs;
mod ci;
mod e2e;
mod field_docs;
mod generate;
mod images;
mod purity;
mod rust_lines;
mod test;
mod tidy;
mod values_docs;

use std::path::PathBuf;

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
    /// Show the product on a Kubernetes control plane of its own, without containers
    Demo {
        /// End after the last step, instead of keeping the cluster until Ctrl+C
        #[arg(long)]
        once: bool,
    },
    /// Install the chart on two nodes with real kubelets, and check it. Needs root, and the Debian
    /// packages containerd, runc, containernetworking-plugins, iproute2 and nftables
    Node {
        /// The folder with an OCI layout for each image
        #[arg(long, value_name = "DIR")]
        images: PathBuf,
        /// Keep the cluster after the checks, until Ctrl+C
        #[arg(long)]
        keep: bool,
    },
    /// Run the unit tests of the chart by helm-unittest, and lint its objects by kube-score; builds
    /// both first, some minutes
    ChartLint,
    /// Let Flux apply deploy to a control plane of its own; builds Flux first, some minutes
    Gitops,
    /// Let the Prometheus operator configure a Prometheus that scrapes the chart, and make an alert of
    /// each group fire; builds the operator first, some minutes
    Monitoring,
    /// Run all tests: those of the crates, then the suites on a real control plane
    Test(test::Options),
    /// Run all checks that a change has to pass, except the tests
    Ci,
    /// Check the shape of the tree, and count the lines of the crates
    Tidy,
    /// Write all generated files
    Gen {
        /// Write nothing; fail where a file differs from what would be written
        #[arg(long)]
        check: bool,
    },
    /// Write the custom resource definitions to deploy/crds
    GenCrds,
    /// Build the images of the components, by buildah
    Images(images::Options),
    /// Measure
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Demo { once } => e2e::demo(once),
        Task::Node { images, keep } => e2e::node(&images, keep),
        Task::ChartLint => e2e::chart_lint(),
        Task::Gitops => e2e::gitops(),
        Task::Monitoring => e2e::monitoring(),
        Task::Test(options) => test::run(&options),
        Task::Ci => ci::run(),
        Task::Tidy => tidy::run(),
        Task::Gen { check } => generate::run(check),
        Task::GenCrds => generate::crds(),
        Task::Images(options) => images::run(&options),
        Task::Bench(bench) => bench::run(&bench),
    }
}
