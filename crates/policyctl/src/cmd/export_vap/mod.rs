//! `policyctl export-vap`

mod existing;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::ArgAction;
use policy_core::admission::{NamedPolicy, NamespacePolicies};
use policy_core::bundle::Bundle;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::CompiledPolicy;
use policy_core::report::{AdmissionOutcome, AdmittedObject};
use policy_core::text::{counted, printable};
use policy_manifests::{ValidatingPolicy, validating_policy, yaml};

use crate::cluster::{self, Cluster};
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::judgement::{BUNDLE_POLICY, is_of_system, policy_file};
use crate::names;
use crate::output::{self, Output};
use crate::policies::{Policy, PolicyApi};
use crate::report;
use existing::Existing;

const EXAMPLES: &str = "\
Examples:
  policyctl export-vap strict -n shop | kubectl apply -f -    a policy of the cluster
  policyctl export-vap --bundle restricted -n shop            a ready-made policy
  policyctl export-vap --policy mine.yaml -f deploy/          without a cluster

Prints what the webhook denies and warns of under a policy as ValidatingAdmissionPolicies with bindings
to the policy's namespace, for clusters that want no webhook. The comments say what the webhook does
and these objects do not. Standard error repeats them, and lists the objects of the namespace that
would be denied if they were created now: those of files with -f, else those of the cluster. As with
the webhook, they can still be changed, unless the change brings in more. Nothing is written.
Output: yaml.";

const USAGE: &str = "\
policyctl export-vap [OPTIONS] <POLICY>
       policyctl export-vap [OPTIONS] --bundle <NAME>
       policyctl export-vap [OPTIONS] --policy <FILE>";

/// The size limit of each file, in MiB.
const MAX_FILE_SIZE: u64 = 64;
/// How many existing objects are listed.
const MAX_LISTED: usize = 50;

#[derive(clap::Args)]
#[command(override_usage = USAGE, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The policy in the namespace of -n, else the context's
    #[arg(value_name = "POLICY", value_parser = names::subdomain)]
    #[arg(required_unless_present_any = ["bundle", "policy"])]
    name: Option<String>,

    /// A ready-made policy: baseline, restricted or permissive
    #[arg(long, value_name = "NAME", conflicts_with_all = ["name", "policy"])]
    bundle: Option<String>,

    /// The `DevOpsPolicy` of a file
    #[arg(long, value_name = "FILE", conflicts_with = "name")]
    policy: Option<PathBuf>,

    /// Existing objects instead of those of the cluster: a file, a folder (*.yaml, *.yml, *.json,
    /// recursive), a pattern, or - for standard input
    #[arg(short, long = "filename", value_name = "FILE", action = ArgAction::Append)]
    filename: Vec<String>,
}

/// The policy to export.
struct Exported {
    namespace: String,
    name: String,
    rules: CompiledPolicy,
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    global.output(&[Output::Yaml], &Scope::NAMESPACE)?;
    let (exported, existing) = if let Some(name) = &args.name {
        cluster::run(async {
            let cluster = global.target.connect().await?;
            let exported = Exported::of_cluster(name, global, &cluster).await?;
            let existing = match args.filename.as_slice() {
                [] => Existing::of_cluster(&cluster, &exported.namespace).await,
                files => Existing::of_files(files, &exported.namespace),
            };
            anyhow::Ok((exported, existing))
        })?
    } else {
        let exported = Exported::given(args, global)?;
        let existing = match args.filename.as_slice() {
            [] => cluster::run(async {
                anyhow::Ok(match global.target.connect().await {
                    Ok(cluster) => Existing::of_cluster(&cluster, &exported.namespace).await,
                    Err(error) => Existing::unknown(error.to_string()),
                })
            })?,
            files => Existing::of_files(files, &exported.namespace),
        };
        (exported, existing)
    };
    exported.print(&existing, global)
}

impl Exported {
    async fn of_cluster(name: &str, global: &Global, cluster: &Cluster) -> anyhow::Result<Self> {
        let namespace = global.target.namespace_in(cluster);
        let object = PolicyApi::of(cluster).await?.get(namespace, name).await?;
        let policy = Policy::of_live(&object);
        let invalid = |found: Vec<_>| output::problems(&policy.is_invalid(), &found);
        let rules = policy.compiled().map_err(invalid)?;
        Ok(Self { namespace: policy.namespace, name: policy.name, rules })
    }

    fn given(args: &Args, global: &Global) -> anyhow::Result<Self> {
        let wanted = global.target.namespace.clone();
        let default = || "default".to_owned();
        if let Some(bundle) = &args.bundle {
            let rules = Bundle::named(bundle)?.compiled();
            let namespace = wanted.unwrap_or_else(default);
            return Ok(Self { namespace, name: BUNDLE_POLICY.to_owned(), rules });
        }
        let file = args.policy.as_deref().context("no policy is given")?;
        let read = policy_file(file, MAX_FILE_SIZE)?;
        let metadata = read.policy.metadata;
        let namespace = metadata.namespace.or_else(|| wanted.clone()).unwrap_or_else(default);
        if let Some(wanted) = wanted.filter(|wanted| *wanted != namespace) {
            bail!("the policy belongs to namespace {namespace}, not to {wanted}");
        }
        let name = metadata.name.context("the policy has no name")?;
        Ok(Self { namespace, name, rules: read.compiled })
    }

    fn print(self, existing: &Existing, global: &Global) -> anyhow::Result<Exit> {
        let Self { namespace, name, rules } = self;
        let full_name = format!("{namespace}/{name}");
        let full_name = printable(&full_name);
        if ExcludedNamespaces::default().contains(&namespace) {
            bail!("{}", is_of_system(&namespace));
        }
        let ValidatingPolicy { objects, remarks } = validating_policy(&namespace, &name, &rules)
            .with_context(|| format!("cannot express {full_name}"))?;
        let title = format!("What {full_name} denies and warns of at admission.");
        let text =
            report::comments(&title, &remarks) + &yaml(&objects).context("cannot write YAML")?;
        output::result(&text)?;
        let console = global.console();
        for remark in &remarks {
            console.note(remark);
        }
        let rules = Ok(Arc::new(rules));
        let policies = NamespacePolicies::from(NamedPolicy { name: name.into(), rules });
        if let Some(reason) = &existing.unknown {
            console.note(format_args!("existing objects are not listed: {reason}"));
            return Ok(Exit::Fine);
        }
        for problem in &existing.problems {
            output::error(problem);
        }
        let objects = existing.admitted(&policies);
        let denied: Vec<&AdmittedObject> =
            objects.iter().filter(|object| object.outcome == AdmissionOutcome::Denied).collect();
        let counts = (counted(objects.len() as u64, "object"), denied.len());
        console.note(format_args!(
            "existing in namespace {namespace}: {}, of which {} would be denied if created now",
            counts.0, counts.1
        ));
        for object in denied.iter().take(MAX_LISTED) {
            let message = object.message.as_deref().unwrap_or_default().replace('\n', "; ");
            console.note(format_args!("  {}/{}: {message}", object.kind, object.name));
        }
        if denied.len() > MAX_LISTED {
            console.note(format_args!("  and {} more", denied.len() - MAX_LISTED));
        }
        Ok(existing.exit)
    }
}
