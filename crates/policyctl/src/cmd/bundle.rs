//! `policyctl bundle`

use std::fmt::Write as _;

use policy_core::bundle::Bundle;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::judgement::BUNDLE_POLICY;
use crate::names;
use crate::output::{self, Output};

const SHOW_EXAMPLES: &str = "\
Examples:
  policyctl bundle show restricted

Output: yaml (default), json.";

const APPLY_EXAMPLES: &str = "\
Examples:
  policyctl bundle apply baseline --namespace shop | kubectl apply -f -
  policyctl bundle apply baseline --cluster | kubectl apply -f -

Changes no cluster; it prints the object.
Output: yaml (default), json.";

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// List the ready-made policies. Output: table (default), json, yaml
    List,
    /// Print the settings of a bundle
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// The bundle: baseline, restricted or permissive
        name: String,
    },
    /// Print a bundle as a DevOpsPolicy of a namespace (-n, else `default`) or as a ClusterDevOpsPolicy, for `kubectl apply -f -`
    #[command(after_help = APPLY_EXAMPLES)]
    Apply {
        /// The bundle: baseline, restricted or permissive
        name: String,
        /// The name of the policy
        #[arg(long, default_value = BUNDLE_POLICY, value_parser = names::subdomain)]
        policy_name: String,
        /// Print a ClusterDevOpsPolicy, which applies to all namespaces but those of the system
        #[arg(long)]
        cluster: bool,
    },
}

pub(crate) fn run(command: &Command, global: &Global) -> anyhow::Result<Exit> {
    match command {
        Command::List => {
            let formats = [Output::Table, Output::Json, Output::Yaml];
            let format = global.output(&formats, &[])?;
            let bundles = Bundle::all().iter();
            let bundles = bundles.map(|b| json!({ "name": b.name, "title": b.title }));
            output::value(&bundles.collect::<Vec<Value>>(), format, list)?;
        }
        Command::Show { name } => {
            let format = global.output(&[Output::Yaml, Output::Json], &[])?;
            let Bundle { name, title, spec } = Bundle::named(name)?;
            if format == Output::Yaml {
                output::result(&format!("# {name}: {title}\n"))?;
            }
            output::value(spec, format, String::new)?;
        }
        Command::Apply { name, policy_name, cluster: true } => {
            let format = global.output(&[Output::Yaml, Output::Json], &[])?;
            let policy = Bundle::named(name)?.cluster_policy(policy_name);
            output::value(&policy, format, String::new)?;
        }
        Command::Apply { name, policy_name, cluster: false } => {
            let format = global.output(&[Output::Yaml, Output::Json], &[Scope::Namespace])?;
            let namespace = global.target.namespace.as_deref().unwrap_or("default");
            let policy = Bundle::named(name)?.policy(namespace, policy_name);
            output::value(&policy, format, String::new)?;
        }
    }
    Ok(Exit::Fine)
}

fn list() -> String {
    Bundle::all().iter().fold(String::new(), |mut text, bundle| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{:<12} {}", bundle.name, bundle.title);
        text
    })
}
