//! `policyctl export-map`

use anyhow::{Context as _, bail};
use clap::ArgAction;
use policy_core::policy::CompiledPolicy;
use policy_core::text::printable;
use policy_manifests::injection_policy;

use crate::cluster;
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::names;
use crate::output::{self, Output};
use crate::policies::{self, Policy, PolicyApi};
use crate::report;

const EXAMPLES: &str = "\
Examples:
  policyctl export-map strict -n shop | kubectl apply -f -   a policy of the cluster
  policyctl export-map -f policies/ > injection.yaml         policies of files, without a cluster

Prints what the mutating webhook fills in under an enforce policy as a MutatingAdmissionPolicy with a
binding to the policy's namespace, for clusters that want no mutating webhook. It needs Kubernetes
1.36. The comments say what the webhook respects and these objects cannot. Nothing is written.
Output: yaml.";

const USAGE: &str = "\
policyctl export-map [OPTIONS] <POLICY>
       policyctl export-map [OPTIONS] -f <FILE>...";

#[derive(clap::Args)]
#[command(override_usage = USAGE, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The policy in the namespace of -n, else the context's
    #[arg(value_name = "POLICY", value_parser = names::subdomain, required_unless_present = "filename")]
    #[arg(conflicts_with = "filename")]
    name: Option<String>,

    /// Policies instead of a cluster: a file, a folder, a pattern, or - for standard input
    #[arg(short, long = "filename", value_name = "FILE", action = ArgAction::Append)]
    filename: Vec<String>,
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    global.output(&[Output::Yaml], &Scope::NAMESPACE)?;
    let mut documents = Vec::new();
    if let Some(name) = &args.name {
        let policy = cluster::run(of_cluster(name, global))?;
        let invalid = |found: Vec<_>| output::problems(&policy.is_invalid(), &found);
        documents.push(document(&policy, &policy.compiled().map_err(invalid)?)?);
    } else {
        let namespace = global.target.namespace.as_deref().unwrap_or("default");
        let files = &args.filename;
        let read = policies::read_files_in(files, global, Some(namespace), "nothing was printed")?;
        for file in read.values() {
            file.expect_namespaced()?;
            documents.push(document(&file.policy, &file.compiled)?);
        }
    }
    output::result(&documents.join("---\n"))?;
    Ok(Exit::Fine)
}

async fn of_cluster(name: &str, global: &Global) -> anyhow::Result<Policy> {
    let cluster = global.target.connect().await?;
    let namespace = global.target.namespace_in(&cluster);
    let object = PolicyApi::of(&cluster).await?.get(namespace, name).await?;
    Ok(Policy::of_live(&object))
}

/// The objects of a policy, after comments.
fn document(policy: &Policy, compiled: &CompiledPolicy) -> anyhow::Result<String> {
    let name = policy.full_name();
    let Some(rules) = compiled.remediation() else {
        bail!(
            "{name} is in audit mode, so that nothing is filled in; set enforcementMode: enforce"
        );
    };
    let found = injection_policy(&policy.namespace, &policy.name, rules)
        .with_context(|| format!("cannot express {name}"))?;
    let title = format!("What {name} fills in at admission.", name = printable(&name));
    let comments = report::comments(&title, &found.remarks);
    let objects =
        [found.policy, found.binding].iter().map(output::yaml).collect::<Result<Vec<_>, _>>()?;
    Ok(comments + &objects.join("---\n"))
}
