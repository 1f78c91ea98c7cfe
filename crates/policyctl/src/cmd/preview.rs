//! `policyctl preview`

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use policy_core::Timestamp;
use policy_core::facts::PodFacts;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::CompiledPolicy;
use policy_core::report::{CoverageCounter, CurrentPolicy, NamespacePods, Preview};

use super::analyze::live;
use crate::cli::Global;
use crate::cluster::pods::Event;
use crate::cluster::{self, Cluster, ClusterError, ErrorKind};
use crate::exit::Exit;
use crate::judgement::{self, Exclusion};
use crate::output::{self, Output};
use crate::policies::{Key, Policy, PolicyApi, PolicyFiles};

const EXAMPLES: &str = "\
Examples:
  policyctl preview strict.yaml -n shop        what a policy would say of a namespace today
  policyctl preview policies/                  each policy in its own namespace
  policyctl preview --bundle restricted -A     a bundle in every namespace that has pods

Judges the pods of now by the policy, beside the policies that are there today, and shows which
findings would come and which would go, and what the admission webhook would no longer let in of
what is there. Nothing is written. A policy of a file is of the namespace
that it names, else of -n, else of the context's; with -A it is tried in every namespace.
Differences are no failure: the exit code is 0.
Output: table (default), json and yaml (docs/preview.schema.json).";

const USAGE: &str = "\
policyctl preview [OPTIONS] <FILE>...
       policyctl preview [OPTIONS] --bundle <NAME>";

#[derive(clap::Args)]
#[command(override_usage = USAGE, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The files, folders (recursive), patterns, or - for standard input
    #[arg(value_name = "FILE", required_unless_present = "bundle", conflicts_with = "bundle")]
    files: Vec<String>,

    /// A ready-made policy: baseline, restricted or permissive
    #[arg(long, value_name = "NAME")]
    bundle: Option<String>,

    #[command(flatten)]
    exclusion: Exclusion,
}

/// A policy that somebody wants to know of.
struct Proposed {
    name: String,
    /// The file and line; `None` for a bundle.
    place: Option<String>,
    /// Where it would be applied; `None` for everywhere.
    namespace: Option<String>,
    policy: CompiledPolicy,
}

impl Proposed {
    /// Whether it would be applied there.
    fn is_for(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let form = global.output(&[Output::Table, Output::Json, Output::Yaml])?;
    // A misspelt name needs no cluster to be told.
    let bundle = match args.bundle.as_deref() {
        Some(name) => Some((name, judgement::bundle(name)?)),
        None => None,
    };
    let preview = cluster::run(async {
        let cluster = live::connect(global).await?;
        let proposed = proposed(args, bundle, global, &cluster)?;
        preview(&cluster, &proposed, &args.exclusion.namespaces(), global).await
    })?;
    output::report(&preview, &preview.coverage, form, global.console())?;
    if preview.policies.is_empty() && preview.coverage.failed.is_empty() {
        global.console().note("there are no pods to judge");
    }
    Ok(Exit::of_coverage(&preview.coverage, &preview.source))
}

fn proposed(
    args: &Args,
    bundle: Option<(&str, CompiledPolicy)>,
    global: &Global,
    cluster: &Cluster,
) -> anyhow::Result<Vec<Proposed>> {
    let everywhere = global.target.all_namespaces;
    let proposed = match bundle {
        Some((name, policy)) => vec![Proposed {
            name: format!("bundle {name}"),
            place: None,
            namespace: (!everywhere).then(|| global.target.namespace_in(cluster).to_owned()),
            policy,
        }],
        None => of_files(args, global, cluster)?,
    };
    for namespace in proposed.iter().filter_map(|proposed| proposed.namespace.as_deref()) {
        args.exclusion.includes(namespace)?;
    }
    Ok(proposed)
}

/// The policies of the files, or everything that is wrong with them.
fn of_files(args: &Args, global: &Global, cluster: &Cluster) -> anyhow::Result<Vec<Proposed>> {
    let invalid = |problems: Vec<String>| output::problems("nothing was judged", &problems);
    let target = global.target.namespace.as_deref();
    let files = PolicyFiles::read(&args.files, target, &cluster.namespace).map_err(invalid)?;
    let (mut proposed, mut problems) = (Vec::new(), Vec::new());
    for ((namespace, name), file) in files.policies {
        match file.compiled() {
            Err(wrong) => problems.extend(wrong),
            Ok(policy) => proposed.push(Proposed {
                name,
                place: Some(file.place),
                namespace: (!global.target.all_namespaces).then_some(namespace),
                policy,
            }),
        }
    }
    if problems.is_empty() { Ok(proposed) } else { Err(invalid(problems)) }
}

async fn preview(
    cluster: &Cluster,
    proposed: &[Proposed],
    excluded: &ExcludedNamespaces,
    global: &Global,
) -> anyhow::Result<Preview> {
    let now = Timestamp::now();
    let mut coverage = CoverageCounter::default();
    let mut pods: BTreeMap<Arc<str>, Vec<PodFacts>> = BTreeMap::new();
    let targets: BTreeSet<Option<&str>> = proposed.iter().map(|p| p.namespace.as_deref()).collect();
    for target in targets {
        let mut is_read = true;
        live::read(cluster, target, excluded, global.console(), &mut |event| {
            is_read &= !matches!(event, Event::NotRead { .. });
            for pod in live::pods_of(event, &mut coverage) {
                let facts = PodFacts::of_pod(&pod, "");
                if coverage.pod(&facts, excluded) {
                    pods.entry(Arc::clone(&facts.namespace)).or_default().push(facts);
                }
            }
        })
        .await;
        // A namespace without pods has its row where it was asked for and could be read.
        if let Some(target) = target.filter(|_| is_read) {
            pods.entry(target.into()).or_default();
        }
    }
    let today = todays(cluster, pods.keys().map(AsRef::as_ref), global).await?;
    let mut previews = Vec::new();
    for (namespace, pods) in &pods {
        let of_namespace = NamespacePods { namespace, pods, excluded, now };
        let today = today.get(&**namespace).map(Vec::as_slice).unwrap_or_default();
        let applied = proposed.iter().filter(|proposed| proposed.is_for(namespace));
        previews.extend(
            applied
                .map(|p| of_namespace.preview(p.name.clone(), p.place.clone(), &p.policy, today)),
        );
    }
    let source = live::source(cluster, global.target.namespace.as_deref());
    Ok(Preview::new(source, previews, coverage.finish()))
}

/// The policies that are in the namespaces today, by namespace.
async fn todays<'a>(
    cluster: &Cluster,
    namespaces: impl Iterator<Item = &'a str>,
    global: &Global,
) -> Result<BTreeMap<String, Vec<CurrentPolicy>>, ClusterError> {
    // Without the definition there is no policy, and that is no reason not to try one.
    let Some(api) = PolicyApi::find(cluster).await? else {
        return Ok(BTreeMap::new());
    };
    let mut found: BTreeMap<Key, Policy> = BTreeMap::new();
    let all = if global.target.all_namespaces { Some(api.list(None).await) } else { None };
    match all {
        Some(Ok(policies)) => found = policies,
        Some(Err(error)) if error.kind != ErrorKind::Forbidden => return Err(error),
        _ => {
            for namespace in namespaces {
                found.append(&mut api.list(Some(namespace)).await?);
            }
        }
    }
    let mut today: BTreeMap<String, Vec<CurrentPolicy>> = BTreeMap::new();
    for ((namespace, name), policy) in found {
        let policy = CurrentPolicy { name, policy: policy.compiled() };
        today.entry(namespace).or_default().push(policy);
    }
    Ok(today)
}
