//! `policyctl export-vap`

mod existing;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::ArgAction;
use policy_core::bundle::Bundle;
use policy_core::manifest::DecodedPolicy;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::CompiledPolicy;
use policy_core::text::{counted, printable};
use policy_manifests::{PolicyPlace, ValidatingPolicy, as_exported, validating_policy, yaml};

use crate::cluster;
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
  policyctl export-vap fleet --cluster | kubectl apply -f -   a ClusterDevOpsPolicy
  policyctl export-vap --policy mine.yaml -f deploy/          without a cluster

Prints what the webhook denies and warns of under a policy as ValidatingAdmissionPolicies with bindings
to the policy's namespace, or to the namespaces that a cluster policy selects, for clusters that want
no webhook. The comments say what the webhook does and these objects do not. Standard error repeats
them, and lists the objects there that would be denied if they were created now: those of files with
-f, else those of the cluster. As with the webhook, they can still be changed, unless the change
brings in more. Nothing is written.
Output: yaml.";

const USAGE: &str = "\
policyctl export-vap [OPTIONS] <POLICY>
       policyctl export-vap [OPTIONS] --bundle <NAME>
       policyctl export-vap [OPTIONS] --policy <FILE>";

/// The size limit of each file, in MiB.
const MAX_FILE_SIZE: u64 = 64;

#[derive(clap::Args)]
#[command(override_usage = USAGE, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The policy in the namespace of -n, else the context's
    #[arg(value_name = "POLICY", value_parser = names::subdomain)]
    #[arg(required_unless_present_any = ["bundle", "policy"])]
    name: Option<String>,

    /// Export a `ClusterDevOpsPolicy`
    #[arg(long, requires = "name")]
    cluster: bool,

    /// A ready-made policy: baseline, restricted or permissive
    #[arg(long, value_name = "NAME", conflicts_with_all = ["name", "policy"])]
    bundle: Option<String>,

    /// The `DevOpsPolicy` or `ClusterDevOpsPolicy` of a file
    #[arg(long, value_name = "FILE", conflicts_with = "name")]
    policy: Option<PathBuf>,

    /// Existing objects instead of those of the cluster: a file, a folder (*.yaml, *.yml, *.json,
    /// recursive), a pattern, or - for standard input
    #[arg(short, long = "filename", value_name = "FILE", action = ArgAction::Append)]
    filename: Vec<String>,
}

/// The policy to export.
struct Exported {
    place: PolicyPlace,
    name: String,
    rules: CompiledPolicy,
    /// What its objects can express of it.
    judged: Arc<CompiledPolicy>,
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let used = if args.cluster { &Scope::CONTEXT[..] } else { &Scope::NAMESPACE };
    global.output(&[Output::Yaml], used)?;
    let exported = match &args.name {
        Some(name) => cluster::run(Exported::of_cluster(name, args, global))?,
        None => Exported::given(args, global)?,
    };
    let existing = match args.filename.as_slice() {
        [] => cluster::run(async {
            anyhow::Ok(match global.target.connect().await {
                Ok(cluster) => Existing::of_cluster(&cluster, &exported).await,
                Err(error) => Existing::unknown(error.to_string()),
            })
        })?,
        files => Existing::of_files(files, &exported),
    };
    exported.print(&existing, global)
}

impl Exported {
    fn new(place: PolicyPlace, name: String, rules: CompiledPolicy) -> Self {
        Self { place, name, judged: Arc::new(as_exported(&rules)), rules }
    }

    async fn of_cluster(name: &str, args: &Args, global: &Global) -> anyhow::Result<Self> {
        let cluster = global.target.connect().await?;
        let namespace = if args.cluster { "" } else { global.target.namespace_in(&cluster) };
        let object = PolicyApi::of(&cluster).await?.get(namespace, name).await?;
        let policy = Policy::of_live(&object);
        let invalid = |found: Vec<_>| output::problems(&policy.is_invalid(), &found);
        let (rules, scope) = policy.compiled_with_scope().map_err(invalid)?;
        let place = scope.map_or(PolicyPlace::Namespace(policy.namespace), PolicyPlace::Cluster);
        Ok(Self::new(place, policy.name, rules))
    }

    fn given(args: &Args, global: &Global) -> anyhow::Result<Self> {
        let wanted = global.target.namespace.clone();
        let default = || "default".to_owned();
        if let Some(bundle) = &args.bundle {
            let rules = Bundle::named(bundle)?.compiled();
            let place = PolicyPlace::Namespace(wanted.unwrap_or_else(default));
            return Ok(Self::new(place, BUNDLE_POLICY.to_owned(), rules));
        }
        let file = args.policy.as_deref().context("no policy is given")?;
        let DecodedPolicy { policy, compiled, scope, .. } = policy_file(file, MAX_FILE_SIZE)?;
        let name = policy.metadata.name.context("the policy has no name")?;
        if let Some(scope) = scope {
            if let Some(wanted) = wanted {
                bail!("the policy is a cluster policy, and does not belong to namespace {wanted}");
            }
            return Ok(Self::new(PolicyPlace::Cluster(scope), name, compiled));
        }
        let namespace =
            policy.metadata.namespace.or_else(|| wanted.clone()).unwrap_or_else(default);
        if let Some(wanted) = wanted.filter(|wanted| *wanted != namespace) {
            bail!("the policy belongs to namespace {namespace}, not to {wanted}");
        }
        Ok(Self::new(PolicyPlace::Namespace(namespace), name, compiled))
    }

    fn print(self, existing: &Existing, global: &Global) -> anyhow::Result<Exit> {
        let Self { place, name, rules, judged: _ } = self;
        let full_name = place.qualified(&name);
        if ExcludedNamespaces::default().contains(place.namespace()) {
            bail!("{}", is_of_system(place.namespace()));
        }
        let ValidatingPolicy { objects, remarks } = validating_policy(&place, &name, &rules)
            .with_context(|| format!("cannot express {full_name}"))?;
        let title = format!("What {full_name} denies and warns of at admission.");
        let text =
            report::comments(&title, &remarks) + &yaml(&objects).context("cannot write YAML")?;
        output::result(&text)?;
        let console = global.console();
        for remark in &remarks {
            console.note(remark);
        }
        if let Some(reason) = &existing.unknown {
            console.note(format_args!("existing objects are not listed: {reason}"));
            return Ok(Exit::Fine);
        }
        for problem in &existing.problems {
            output::error(problem);
        }
        if existing.ignores_selector {
            console.note(
                "the labels of the files' namespaces are not known: their objects are listed \
                 whatever the namespaceSelector is",
            );
        }
        let place = match &place {
            PolicyPlace::Namespace(namespace) => format!("namespace {}", printable(namespace)),
            PolicyPlace::Cluster(_) => counted(existing.namespaces.len() as u64, "namespace"),
        };
        console.note(format_args!(
            "existing in {place}: {}, of which {} would be denied if created now",
            counted(existing.objects, "object"),
            existing.denied
        ));
        for object in &existing.listed {
            console.note(format_args!("  {object}"));
        }
        let more = existing.denied - existing.listed.len() as u64;
        if more > 0 {
            console.note(format_args!("  and {more} more"));
        }
        if let Some((number, kind)) = existing.beyond {
            console.note(format_args!(
                "not judged: {} of your own kinds, such as {kind}, which these objects let in",
                counted(number, "object")
            ));
        }
        Ok(existing.exit)
    }
}
