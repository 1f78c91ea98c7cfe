//! Control planes from the command line: `e2e --help`.

mod command;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "e2e", about = "A Kubernetes control plane on this machine, without containers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the programs of a control plane that the cache lacks
    Build(command::build::Options),
    /// Measure how soon a changed policy counts in each service; prints one JSON object
    BenchChanges,
    /// Measure policyctl on four clusters of 5 000 pods; prints one JSON object
    BenchClusters,
    /// Measure policyctl on 20 000 pods; prints one JSON object
    BenchLive,
    /// Measure the memory of policy-operator and policy-watcher on 150 000 pods; prints one JSON object
    BenchMemory,
    /// Measure policyctl on 5 000 files, beside kube-score; prints one JSON object
    BenchOffline,
    /// Measure policy-operator on 100 000 pods and 1 000 policies; prints one JSON object
    BenchOperator,
    /// Measure enforce mode: plans, repairs and injections; prints one JSON object
    BenchRemediation,
    /// Measure a scrape of 10 000 namespaces, beside kube-state-metrics, and the queries of the
    /// dashboard; prints one JSON object
    BenchScrape,
    /// Measure policy-watcher on 100 000 pods; prints one JSON object
    BenchWatcher,
    /// Measure policy-webhook beside a server that does nothing; prints one JSON object
    BenchWebhook,
    /// Show the product on a control plane with an example application
    Demo(command::demo::Options),
    /// Run the unit tests of the chart, and lint its objects
    ChartLint,
    /// Let Flux apply deploy to a control plane; not part of the tests, as Flux takes minutes to build
    Gitops,
    /// Let the Prometheus operator configure Prometheus by the objects of the chart; not part of the
    /// tests, as the operator takes minutes to build
    Monitoring,
    /// The server that does nothing; a process of its own for `bench-webhook`
    #[command(hide = true)]
    FloorServer(command::bench_webhook::floor::Options),
    /// Install the chart on two nodes with real kubelets, and check it; needs root
    Node(command::node::Options),
    /// One node of `node`
    #[command(hide = true)]
    NodeAgent(command::node::agent::Options),
    /// The cluster of `node`, in its own namespaces
    #[command(hide = true)]
    NodeCluster(command::node::cluster::Options),
    /// Start a control plane with controllers and nodes, until standard input ends or Ctrl+C
    Up(command::up::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Build(options) => command::build::run(&options),
        Command::BenchChanges => command::bench_changes::run(),
        Command::BenchClusters => command::bench_clusters::run(),
        Command::BenchLive => command::bench_live::run(),
        Command::BenchMemory => command::bench_memory::run(),
        Command::BenchOffline => command::bench_offline::run(),
        Command::BenchOperator => command::bench_operator::run(),
        Command::BenchRemediation => command::bench_remediation::run(),
        Command::BenchScrape => command::bench_scrape::run(),
        Command::BenchWatcher => command::bench_watcher::run(),
        Command::BenchWebhook => command::bench_webhook::run(),
        Command::Demo(options) => command::demo::run(&options),
        Command::ChartLint => command::chart_lint::run(),
        Command::Gitops => command::gitops::run(),
        Command::Monitoring => command::monitoring::run(),
        Command::FloorServer(options) => command::bench_webhook::floor::run(&options),
        Command::Node(options) => command::node::run(&options),
        Command::NodeAgent(options) => command::node::agent::run(&options),
        Command::NodeCluster(options) => command::node::cluster::run(&options),
        Command::Up(options) => command::up::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            e2e::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
