//! The global options, and which of them a command uses.

use anyhow::bail;
use clap::ValueEnum as _;
use policy_core::workload::WorkloadKind;
use serde::Serialize;

use crate::cluster::Target;
use crate::output::{self, Console, Output};

/// The options of every command.
#[derive(clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    #[command(flatten)]
    pub(crate) target: Target,

    /// The output format; each command lists its own
    #[arg(
        long,
        short,
        global = true,
        value_enum,
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    output: Option<Output>,

    /// Print no colours; the same as setting `NO_COLOR`
    #[arg(long, global = true)]
    no_color: bool,

    /// Print results and errors only: no progress, no notes
    #[arg(long, short, global = true)]
    quiet: bool,

    /// Print to standard error which cluster answered and how long it took
    #[arg(long, short, global = true, conflicts_with = "quiet")]
    verbose: bool,

    /// Judge the pod templates of a further kind, GROUP/KIND or GROUP/KIND=PATH; can be repeated
    #[arg(
        long = "workload-kind",
        global = true,
        value_name = "KIND",
        env = "POLICYCTL_WORKLOAD_KINDS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub(crate) workload_kinds: Vec<WorkloadKind>,
}

/// Global options that only some commands use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Kubeconfig,
    Context,
    Namespace,
    AllNamespaces,
}

impl Scope {
    /// A command that asks a cluster about one namespace or all.
    pub(crate) const CLUSTER: [Self; 4] =
        [Self::Kubeconfig, Self::Context, Self::Namespace, Self::AllNamespaces];
    /// A command that asks a cluster about one namespace.
    pub(crate) const NAMESPACE: [Self; 3] = [Self::Kubeconfig, Self::Context, Self::Namespace];
    /// A command that asks a cluster about no namespace.
    pub(crate) const CONTEXT: [Self; 2] = [Self::Kubeconfig, Self::Context];
    /// A command that reads files without a cluster.
    pub(crate) const FILES: [Self; 2] = [Self::Namespace, Self::AllNamespaces];
}

impl Global {
    /// Whether and how to print more than the result.
    pub(crate) fn console(&self) -> Console {
        Console { no_color: self.no_color, quiet: self.quiet, verbose: self.verbose }
    }

    /// Prints Kubernetes objects, of a command that asks no cluster.
    pub(crate) fn print_objects(&self, objects: &[impl Serialize]) -> anyhow::Result<()> {
        output::objects(objects, self.output(&[Output::Yaml, Output::Json], &[])?)
    }

    /// The output format for a command with these formats; its first one by default.
    ///
    /// # Errors
    /// Where the user set a format or option that the command would ignore.
    pub(crate) fn output(&self, formats: &[Output], used: &[Scope]) -> anyhow::Result<Output> {
        let Target { kubeconfig, context, namespace, all_namespaces } = &self.target;
        for (scope, is_set, option, reason) in [
            (Scope::Kubeconfig, kubeconfig.is_some(), "--kubeconfig", NO_CLUSTER),
            (Scope::Context, context.is_some(), "--context", NO_CLUSTER),
            (Scope::Namespace, namespace.is_some(), "--namespace", "it concerns no namespace"),
            (Scope::AllNamespaces, *all_namespaces, "--all-namespaces", ONE_NAMESPACE),
        ] {
            if is_set && !used.contains(&scope) {
                bail!("{option} has no effect on this command: {reason}");
            }
        }
        let name = |format: &Output| format.to_possible_value().map(|v| v.get_name().to_owned());
        match (self.output, formats) {
            (None, formats) => Ok(formats.first().copied().unwrap_or(Output::Table)),
            (Some(format), _) if formats.contains(&format) => Ok(format),
            (Some(format), formats) => {
                let names: Vec<String> = formats.iter().filter_map(name).collect();
                let choice = match names.as_slice() {
                    [] => "it has one format".to_owned(),
                    names => format!("choose {}", names.join(", ")),
                };
                bail!(
                    "this command has no output `{}`; {choice}",
                    name(&format).unwrap_or_default()
                )
            }
        }
    }
}

const NO_CLUSTER: &str = "it asks no cluster";
const ONE_NAMESPACE: &str = "it does not select namespaces";
