//! The command tree.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::cmd;
use crate::exit::Exit;
use policy_core::workload;

use crate::global::Global;
use crate::output;

const EXIT_CODES: &str = "\
Exit codes (of several, 2 before 3 before 1):
  0  success, no finding over a threshold, no difference
  1  findings over a threshold (--fail-below, --fail-on), denied objects, or differences
  2  wrong use, or input that cannot be read
  3  a cluster that could not be reached or refused a request";

const NAMES: &str = "\
Names:
  checks      latest-tag in output and JSON, latestTag as a field of a policy, latest_tag as the
              violationType of a PolicyAuditResult
  policies    NAMESPACE/NAME, also before a file is applied
  bundles     ready-made policies. `bundle apply NAME` prints one as the policy `devops-policy`
              (--policy-name), and `preview` and `admit` judge it under that name
  namespaces  all, unless -n names one. A single policy (explain POLICY) and policies of files
              without a namespace belong to that of -n, else to the context's";

const EXAMPLES: &str = "\
Examples:
  policyctl check                                  test the connection and your permissions
  policyctl analyze                                score the pods of the cluster
  policyctl analyze -f deploy/                     score the manifests of a folder
  helm template my-chart | policyctl analyze -f -  score the output of a chart
  policyctl bundle list                            list the ready-made policies";

/// Scores the health of Kubernetes workloads, in clusters and in manifests.
#[derive(Parser)]
#[command(name = "policyctl", version, arg_required_else_help = true)]
#[command(after_help = format!("{EXAMPLES}\n\n{NAMES}\n\n{EXIT_CODES}"))]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    global: Global,
}

#[derive(Subcommand)]
enum Command {
    /// Print the version
    Version,
    /// Test the connection, the server's version, the installation and your permissions
    Check(cmd::check::Args),
    /// List objects of the cluster
    #[command(subcommand)]
    List(cmd::list::Command),
    /// Score pods or manifests, and list the findings
    Analyze(cmd::analyze::Args),
    /// Fill in missing probes, requests and limits in manifests
    Fix(cmd::fix::Args),
    /// Explain a score, and what each fix would gain
    Explain(cmd::explain::Args),
    /// Show what a policy would change in the cluster before it is applied
    Preview(cmd::preview::Args),
    /// Compare two reports of analyze: what is new, fixed and unchanged
    Report(cmd::report::Args),
    /// Show how the admission webhook would answer to the objects of files
    Admit(cmd::admit::Args),
    /// Test policies: compare the verdicts on objects of files with the expected ones
    Test(cmd::test::Args),
    /// List what enforce mode did and did not do with the workloads
    Remediations(cmd::remediations::Args),
    /// Take back what the operator filled in
    Revert(cmd::revert::Args),
    /// List, show and print the ready-made policies
    #[command(subcommand)]
    Bundle(cmd::bundle::Command),
    /// Print or install the custom resource definitions
    #[command(subcommand)]
    Crd(cmd::crd::Command),
    /// Print the objects that install the platform
    #[command(subcommand)]
    Deploy(cmd::deploy::Command),
    /// Print the objects that connect an installation to Prometheus
    #[command(subcommand)]
    Observability(cmd::observability::Command),
    /// Remove the platform from the cluster
    Uninstall(cmd::uninstall::Args),
    /// Print the policies of the cluster, ready to commit
    Export(cmd::export::Args),
    /// Print the injection of an enforce policy as a `MutatingAdmissionPolicy`
    ExportMap(cmd::export_map::Args),
    /// Print what a policy denies and warns of as `ValidatingAdmissionPolicies`
    ExportVap(cmd::export_vap::Args),
    /// Apply the policies of files to the cluster
    Import(cmd::import::Args),
    /// Compare the policies of files with the cluster's
    Diff(cmd::diff::Args),
    /// Analyze, compare and watch several clusters at once
    #[command(subcommand)]
    MultiCluster(cmd::multi_cluster::Command),
    /// Make the webhook's certificate, and install its configuration
    #[command(subcommand)]
    Webhook(cmd::webhook::Command),
    /// Print the completion script of a shell
    Completions(cmd::completions::Args),
}

impl Cli {
    /// Runs the command; an error is one line on standard error.
    pub(crate) fn run(self) -> ExitCode {
        let global = &self.global;
        let result = workload::configure(&global.workload_kinds()).map_err(Into::into);
        let result = result.and_then(|()| match &self.command {
            Command::Version => cmd::version::run(global),
            Command::Check(args) => cmd::check::run(args, global),
            Command::List(command) => cmd::list::run(command, global),
            Command::Analyze(args) => cmd::analyze::run(args, global),
            Command::Fix(args) => cmd::fix::run(args, global),
            Command::Explain(args) => cmd::explain::run(args, global),
            Command::Preview(args) => cmd::preview::run(args, global),
            Command::Report(args) => cmd::report::run(args, global),
            Command::Admit(args) => cmd::admit::run(args, global),
            Command::Test(args) => cmd::test::run(args, global),
            Command::Remediations(args) => cmd::remediations::run(args, global),
            Command::Revert(args) => cmd::revert::run(args, global),
            Command::Bundle(command) => cmd::bundle::run(command, global),
            Command::Crd(command) => cmd::crd::run(command, global),
            Command::Deploy(command) => cmd::deploy::run(command, global),
            Command::Observability(command) => cmd::observability::run(command, global),
            Command::Uninstall(args) => cmd::uninstall::run(args, global),
            Command::Export(args) => cmd::export::run(args, global),
            Command::ExportMap(args) => cmd::export_map::run(args, global),
            Command::ExportVap(args) => cmd::export_vap::run(args, global),
            Command::Import(args) => cmd::import::run(args, global),
            Command::Diff(args) => cmd::diff::run(args, global),
            Command::MultiCluster(command) => cmd::multi_cluster::run(command, global),
            Command::Webhook(command) => cmd::webhook::run(command, global),
            Command::Completions(args) => cmd::completions::run(args, &mut Self::command(), global),
        });
        result
            .unwrap_or_else(|error| {
                output::failure(&error);
                Exit::of(&error)
            })
            .into()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::{env, fs};

    use super::*;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/policyctl.md");
    const HEAD: &str = "\
<!-- Generated by `cargo xtask gen` from the commands of crates/policyctl. -->
# Commands of policyctl

What `policyctl --help` and the help of each command print. [policyctl.md](../policyctl.md) describes
what commands do with a cluster, and which permissions they need.
";
    /// Columns, whatever terminal the tests run in.
    const WIDTH: usize = 100;

    #[test]
    fn the_command_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Appends the help of a command, and of the commands below it.
    fn append_help(command: &clap::Command, path: &str, page: &mut String) {
        let help = command.clone().term_width(WIDTH).render_help().to_string();
        let lines: Vec<_> = help.lines().map(str::trim_end).collect();
        write!(page, "\n## {path}\n\n```text\n{}\n```\n", lines.join("\n").trim_end()).unwrap();
        for below in command.get_subcommands() {
            if below.get_name() != "help" && !below.is_hide_set() {
                append_help(below, &format!("{path} {}", below.get_name()), page);
            }
        }
    }

    /// Where the environment has `UPDATE_DOCS`, as `cargo xtask gen` sets it, writes the page first.
    #[test]
    fn the_page_has_the_help_of_every_command() {
        let mut command = Cli::command();
        command.build();
        let mut page = HEAD.to_owned();
        append_help(&command, "policyctl", &mut page);
        if env::var_os("UPDATE_DOCS").is_some() {
            fs::write(PAGE, &page).unwrap();
        }
        let found = fs::read_to_string(PAGE).unwrap_or_default();
        assert!(found == page, "docs/reference/policyctl.md is out of date: run `cargo xtask gen`");
    }
}
