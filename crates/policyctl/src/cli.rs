//! The command tree.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cmd;
use crate::exit::Exit;
use crate::output::{self, Console};

const EXIT_CODES: &str = "\
Exit codes:
  0  fine
  1  findings over a threshold (--fail-below, --fail-on)
  2  error in use or input";

const EXAMPLES: &str = "\
Examples:
  policyctl analyze -f deploy/                     score the manifests of a folder
  helm template my-chart | policyctl analyze -f -  score what a chart renders
  policyctl bundle list                            the ready-made policies";

/// Says how healthy Kubernetes workloads are, before they reach a cluster.
#[derive(Parser)]
#[command(name = "policyctl", version, arg_required_else_help = true)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Never colour the output; the same as setting `NO_COLOR`
    #[arg(long, global = true)]
    no_color: bool,

    /// Print results and errors only: no progress, no notes
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Print the version
    Version,
    /// Score manifests and list what is wrong with them
    Analyze(cmd::analyze::Args),
    /// Ready-made policies
    #[command(subcommand)]
    Bundle(cmd::bundle::Command),
    /// The custom resource definitions
    #[command(subcommand)]
    Crd(cmd::crd::Command),
    /// Print the completion script of a shell
    Completions(cmd::completions::Args),
}

impl Cli {
    /// Runs the command; what went wrong is one line on standard error.
    pub(crate) fn run(self) -> ExitCode {
        let console = Console { no_color: self.no_color, quiet: self.quiet };
        let result = match self.command {
            Command::Version => cmd::version::run(),
            Command::Analyze(args) => cmd::analyze::run(&args, console),
            Command::Bundle(command) => cmd::bundle::run(&command),
            Command::Crd(command) => cmd::crd::run(&command),
            Command::Completions(args) => cmd::completions::run(&args),
        };
        result
            .unwrap_or_else(|error| {
                output::error(format_args!("{error:#}"));
                Exit::Error
            })
            .into()
    }
}

/// A name as Kubernetes takes it for a namespace (RFC 1123 label).
pub(crate) fn label(text: &str) -> Result<String, &'static str> {
    if text.len() <= 63 && is_label(text) {
        Ok(text.to_owned())
    } else {
        Err("a name has at most 63 lower-case letters, digits and dashes, no dash at its ends")
    }
}

/// A name as Kubernetes takes it for a custom resource (RFC 1123 subdomain).
pub(crate) fn subdomain(text: &str) -> Result<String, &'static str> {
    if text.len() <= 253 && text.split('.').all(is_label) {
        Ok(text.to_owned())
    } else {
        Err("a name has at most 253 lower-case letters, digits, dashes and dots, \
             a letter or digit at the ends of each part")
    }
}

fn is_label(text: &str) -> bool {
    let is_word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(is_word)
        && bytes.last().is_some_and(is_word)
        && bytes.iter().all(|b| is_word(b) || *b == b'-')
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::{label, subdomain};

    #[test]
    fn names_are_what_kubernetes_takes() {
        let long = "a".repeat(64);
        for (text, is_label, is_subdomain) in [
            ("shop-2", true, true),
            ("team.shop", false, true),
            (&long, false, true),
            ("", false, false),
            ("-a", false, false),
            ("a..b", false, false),
            ("Shop", false, false),
            ("x: y\n- z", false, false),
        ] {
            assert_eq!(
                (label(text).is_ok(), subdomain(text).is_ok()),
                (is_label, is_subdomain),
                "{text}"
            );
        }
    }

    #[test]
    fn the_command_tree_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
