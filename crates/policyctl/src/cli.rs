//! The command tree.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Parser, Subcommand, ValueEnum as _};

use crate::cluster::Target;
use crate::cmd;
use crate::exit::Exit;
use crate::output::{self, Console, Output};
use policy_kube::names;

const EXIT_CODES: &str = "\
Exit codes:
  0  fine
  1  findings over a threshold (--fail-below, --fail-on), or differences
  2  error in use or input
  3  a cluster could not be reached, or refused something";

const EXAMPLES: &str = "\
Examples:
  policyctl check                                  what works on the cluster of the kubeconfig
  policyctl analyze                                score its pods
  policyctl analyze -f deploy/                     score the manifests of a folder
  helm template my-chart | policyctl analyze -f -  score what a chart renders
  policyctl bundle list                            the ready-made policies";

/// Says how healthy Kubernetes workloads are, in clusters and before they get there.
#[derive(Parser)]
#[command(name = "policyctl", version, arg_required_else_help = true)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    global: Global,
}

/// What every command understands.
#[derive(clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    #[command(flatten)]
    pub(crate) target: Target,

    /// How to print the result
    #[arg(
        long,
        short,
        global = true,
        value_enum,
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    output: Option<Output>,

    /// Never colour the output; the same as setting `NO_COLOR`
    #[arg(long, global = true)]
    no_color: bool,

    /// Print results and errors only: no progress, no notes
    #[arg(long, short, global = true)]
    quiet: bool,

    /// Tell on standard error which cluster is asked, and how long it takes
    #[arg(long, short, global = true, conflicts_with = "quiet")]
    verbose: bool,
}

impl Global {
    /// How to talk to the user.
    pub(crate) fn console(&self) -> Console {
        Console { no_color: self.no_color, quiet: self.quiet, verbose: self.verbose }
    }

    /// The form that was asked for, of those that the command has; the first one by default.
    pub(crate) fn output(&self, forms: &[Output]) -> anyhow::Result<Output> {
        let name = |form: &Output| form.to_possible_value().map(|v| v.get_name().to_owned());
        match (self.output, forms) {
            (None, [first, ..]) => Ok(*first),
            (Some(form), _) if forms.contains(&form) => Ok(form),
            (form, _) => {
                let names: Vec<String> = forms.iter().filter_map(name).collect();
                let form = form.as_ref().and_then(name).unwrap_or_default();
                bail!("this command has no output `{form}`; choose {}", names.join(", "))
            }
        }
    }
}

#[derive(Subcommand)]
enum Command {
    /// Print the version
    Version,
    /// Say whether the cluster can be reached, is supported, and allows what policyctl does
    Check(cmd::check::Args),
    /// List objects of the cluster
    #[command(subcommand)]
    List(cmd::list::Command),
    /// Score pods and manifests, and list what is wrong with them
    Analyze(cmd::analyze::Args),
    /// Say how a score came about, and what mending would bring
    Explain(cmd::explain::Args),
    /// Say what a policy would find in the cluster before it is applied
    Preview(cmd::preview::Args),
    /// Say what the admission webhook would answer to the objects of files
    Admit(cmd::admit::Args),
    /// Ready-made policies
    #[command(subcommand)]
    Bundle(cmd::bundle::Command),
    /// The custom resource definitions
    #[command(subcommand)]
    Crd(cmd::crd::Command),
    /// Print the cluster's policies as one would commit them
    Export(cmd::export::Args),
    /// Apply the policies of files to the cluster
    Import(cmd::import::Args),
    /// Compare the policies of files with the cluster's
    Diff(cmd::diff::Args),
    /// Several clusters at once
    #[command(subcommand)]
    MultiCluster(cmd::multi_cluster::Command),
    /// The admission webhook: its certificate, and telling the API server of it
    #[command(subcommand)]
    Webhook(cmd::webhook::Command),
    /// Print the completion script of a shell
    Completions(cmd::completions::Args),
}

impl Cli {
    /// Runs the command; what went wrong is one line on standard error.
    pub(crate) fn run(self) -> ExitCode {
        let global = &self.global;
        let result = match &self.command {
            Command::Version => cmd::version::run(),
            Command::Check(args) => cmd::check::run(args, global),
            Command::List(command) => cmd::list::run(command, global),
            Command::Analyze(args) => cmd::analyze::run(args, global),
            Command::Explain(args) => cmd::explain::run(args, global),
            Command::Preview(args) => cmd::preview::run(args, global),
            Command::Admit(args) => cmd::admit::run(args, global),
            Command::Bundle(command) => cmd::bundle::run(command, global),
            Command::Crd(command) => cmd::crd::run(command, global),
            Command::Export(args) => cmd::export::run(args, global),
            Command::Import(args) => cmd::import::run(args, global),
            Command::Diff(args) => cmd::diff::run(args, global),
            Command::MultiCluster(command) => cmd::multi_cluster::run(command, global),
            Command::Webhook(command) => cmd::webhook::run(command, global),
            Command::Completions(args) => cmd::completions::run(args),
        };
        result
            .unwrap_or_else(|error| {
                output::error(format_args!("{error:#}"));
                Exit::of(&error)
            })
            .into()
    }
}

/// A name as Kubernetes takes it for a namespace (RFC 1123 label).
pub(crate) fn label(text: &str) -> Result<String, &'static str> {
    if names::is_label(text) {
        Ok(text.to_owned())
    } else {
        Err("a name has at most 63 lower-case letters, digits and dashes, no dash at its ends")
    }
}

/// A name as Kubernetes takes it for a custom resource (RFC 1123 subdomain).
pub(crate) fn subdomain(text: &str) -> Result<String, &'static str> {
    if names::is_subdomain(text) {
        Ok(text.to_owned())
    } else {
        Err("a name has at most 253 lower-case letters, digits, dashes and dots, \
             a letter or digit at the ends of each part")
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_tree_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
