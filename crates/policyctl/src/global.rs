//! The global options, and which of them a command uses.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::bail;
use clap::ArgAction;
use policy_core::workload::{UnusableKind, WorkloadKind};
use serde::Serialize;

use crate::cluster::Target;
use crate::output::{self, Console, Destined, Output};

/// The options of every command.
#[derive(clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    #[command(flatten)]
    pub(crate) target: Target,

    /// The output format; each command lists its own. Where several are possible, FORMAT=FILE
    /// writes one into a file
    #[arg(long, short, global = true, value_name = "FORMAT", action = ArgAction::Append)]
    output: Vec<Destined>,

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
        hide_env_values = true
    )]
    workload_kinds: Vec<KindList>,
}

/// Kinds with commas between them. The variable of a CI system is often set and empty.
#[derive(Clone, Debug)]
struct KindList(Vec<WorkloadKind>);

impl FromStr for KindList {
    type Err = UnusableKind;

    fn from_str(text: &str) -> Result<Self, UnusableKind> {
        let kinds = text.split(',').map(str::trim).filter(|kind| !kind.is_empty());
        kinds.map(WorkloadKind::from_str).collect::<Result<_, _>>().map(Self)
    }
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
    /// The further kinds whose pod templates are judged.
    pub(crate) fn workload_kinds(&self) -> Vec<WorkloadKind> {
        self.workload_kinds.iter().flat_map(|KindList(kinds)| kinds).cloned().collect()
    }

    /// Whether and how to print more than the result.
    pub(crate) fn console(&self) -> Console {
        Console { no_color: self.no_color, quiet: self.quiet, verbose: self.verbose }
    }

    /// Prints Kubernetes objects, of a command that asks no cluster.
    pub(crate) fn print_objects(&self, objects: &[impl Serialize]) -> anyhow::Result<()> {
        output::objects(objects, self.output(&[Output::Yaml, Output::Json], &[])?)
    }

    /// The output format for a command with these formats, which prints one; its first one by
    /// default.
    ///
    /// # Errors
    /// Where the user set a format or option that the command would ignore.
    pub(crate) fn output(&self, formats: &[Output], used: &[Scope]) -> anyhow::Result<Output> {
        match self.outputs(formats, used)?.as_slice() {
            [Destined { form, file: None }] => Ok(*form),
            _ => bail!(
                "this command prints one format to standard output; give -o once, without a file"
            ),
        }
    }

    /// The outputs for a command with these formats; its first one by default.
    ///
    /// # Errors
    /// Where the user set a format or option that the command would ignore, or two outputs would go
    /// to the same place.
    pub(crate) fn outputs(
        &self,
        formats: &[Output],
        used: &[Scope],
    ) -> anyhow::Result<Vec<Destined>> {
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
        let default = || {
            let form = formats.first().copied().unwrap_or(Output::Table);
            vec![Destined { form, file: None }]
        };
        let outputs = if self.output.is_empty() { default() } else { self.output.clone() };
        let mut places = Vec::new();
        for Destined { form, file } in &outputs {
            if !self.output.is_empty() && !formats.contains(form) {
                let names: Vec<String> = formats.iter().map(|form| form.name()).collect();
                let choice = match names.as_slice() {
                    [] => "it has one format".to_owned(),
                    names => format!("choose {}", names.join(", ")),
                };
                bail!("this command has no output `{}`; {choice}", form.name());
            }
            let place = file.as_deref().map(place);
            if places.contains(&place) {
                match file {
                    None => bail!(
                        "two outputs go to standard output; write one into a file: -o {}=FILE",
                        form.name()
                    ),
                    Some(file) => bail!("two outputs go to the file {}", file.display()),
                }
            }
            places.push(place);
        }
        Ok(outputs)
    }
}

/// Where a path leads, also before the file is made: one file has many paths.
fn place(file: &Path) -> PathBuf {
    let in_folder = || {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new(".")).canonicalize().ok()?;
        Some(folder.join(file.file_name()?))
    };
    file.canonicalize().ok().or_else(in_folder).unwrap_or_else(|| file.to_owned())
}

const NO_CLUSTER: &str = "it asks no cluster";
const ONE_NAMESPACE: &str = "it does not select namespaces";
