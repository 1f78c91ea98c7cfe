//! `policyctl bundle`

use std::fmt::Write as _;

use policy_core::bundle::Bundle;

use crate::cli::{self, Global};
use crate::exit::Exit;
use crate::output;

const SHOW_EXAMPLES: &str = "\
Examples:
  policyctl bundle show restricted";

const APPLY_EXAMPLES: &str = "\
Examples:
  policyctl bundle apply baseline --namespace shop | kubectl apply -f -";

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// List the ready-made policies
    List,
    /// Print the settings of a bundle
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// The bundle: baseline, restricted or permissive
        name: String,
    },
    /// Print a bundle as a DevOpsPolicy of a namespace (-n, else `default`), for `kubectl apply -f -`
    #[command(after_help = APPLY_EXAMPLES)]
    Apply {
        /// The bundle: baseline, restricted or permissive
        name: String,
        /// The name of the policy
        #[arg(long, default_value = "devops-policy", value_parser = cli::subdomain)]
        policy_name: String,
    },
}

pub(crate) fn run(command: &Command, global: &Global) -> anyhow::Result<Exit> {
    let text = match command {
        Command::List => list(),
        Command::Show { name } => {
            let bundle = Bundle::named(name)?;
            format!("# {}: {}\n{}", bundle.name, bundle.title, output::yaml(&bundle.spec)?)
        }
        Command::Apply { name, policy_name } => {
            let namespace = global.target.namespace.as_deref().unwrap_or("default");
            output::yaml(&Bundle::named(name)?.policy(namespace, policy_name))?
        }
    };
    output::result(&text)?;
    Ok(Exit::Fine)
}

fn list() -> String {
    Bundle::all().iter().fold(String::new(), |mut text, bundle| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{:<12} {}", bundle.name, bundle.title);
        text
    })
}
