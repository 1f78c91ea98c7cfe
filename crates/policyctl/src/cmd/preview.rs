//! `policyctl preview`

mod remediation;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use policy_core::Timestamp;
use policy_core::bundle::Bundle;
use policy_core::facts::PodFacts;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::CompiledPolicy;
use policy_core::report::{CoverageCounter, CurrentPolicy, NamespacePods, Preview};
use policy_core::text::printable;

use super::analyze::live;
use crate::cluster::namespaced::Event;
use crate::cluster::{self, Cluster, ClusterError};
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::judgement::{BUNDLE_POLICY, Exclusion, warn_without_checks};
use crate::output::{self, Output};
use crate::policies::{self, FilePolicy, PolicyApi};

const EXAMPLES: &str = "\
Examples:
  policyctl preview policies/                  each policy in its own namespace
  policyctl preview strict.yaml -A             each policy in every namespace that has pods
  policyctl preview --bundle restricted        a bundle in every namespace that has pods
  policyctl preview --bundle restricted -n shop

Judges the current pods by a policy that is not applied yet, beside the policies that are, and shows
which findings would be new, which would be gone, and which objects the admission webhook would
deny if they were created again. For a policy in enforce mode also what would be changed in each
workload; with -v, in JSON and in YAML also the request itself. Nothing is written. A policy of a file belongs to the namespace
that it names, else to that of -n, else to the context's. Differences do not change the exit code.
Output: table (default), json and yaml (docs/preview.schema.json).";

const USAGE: &str = "\
policyctl preview [OPTIONS] <FILE>...
       policyctl preview [OPTIONS] --bundle <NAME>";

#[derive(clap::Args)]
#[command(override_usage = USAGE, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files, folders (recursive), patterns, or - for standard input
    #[arg(value_name = "FILE", required_unless_present = "bundle", conflicts_with = "bundle")]
    files: Vec<String>,

    /// A ready-made policy: baseline, restricted or permissive
    #[arg(long, value_name = "NAME")]
    bundle: Option<String>,

    #[command(flatten)]
    exclusion: Exclusion,
}

/// A policy to preview.
struct Proposed {
    name: String,
    /// The file and line, or the bundle.
    place: String,
    /// Where it would be applied; `None` for every namespace.
    namespace: Option<String>,
    policy: CompiledPolicy,
}

impl Proposed {
    /// Whether it would be applied to the namespace.
    fn is_for(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let form = global.output(&[Output::Table, Output::Json, Output::Yaml], &Scope::CLUSTER)?;
    // Before any cluster is asked, so that a misspelt name is reported without one.
    let bundle = match args.bundle.as_deref() {
        Some(name) => Some((name, Bundle::named(name)?.compiled())),
        None => None,
    };
    let preview = cluster::run(async {
        let cluster = live::connect(global).await?;
        let proposed = proposed(args, bundle, global, &cluster)?;
        preview(&cluster, &proposed, &args.exclusion.namespaces(), global).await
    })?;
    output::report(&preview, &preview.coverage.failed, form, global.console())?;
    if form == Output::Table && global.console().verbose {
        output::result(&requests(&preview))?;
    }
    if preview.policies.is_empty() && preview.coverage.failed.is_empty() {
        global.console().note("there is no pod to judge");
    }
    Ok(Exit::of_coverage(&preview.coverage, &preview.source))
}

/// The requests of enforce mode.
fn requests(preview: &Preview) -> String {
    let mut text = String::new();
    for policy in &preview.policies {
        for planned in policy.remediation.iter().flat_map(|planned| &planned.workloads) {
            if let Some(body) = &planned.body {
                let name = format!("{}  {}", policy.namespace, planned.workload);
                // Alternate formatting of JSON is pretty; its strings are escaped.
                let body = format!("{body:#}");
                text += &["\n", &printable(&name), "\n", &body, "\n"].concat();
            }
        }
    }
    text
}

fn proposed(
    args: &Args,
    bundle: Option<(&str, CompiledPolicy)>,
    global: &Global,
    cluster: &Cluster,
) -> anyhow::Result<Vec<Proposed>> {
    let proposed = match bundle {
        Some((name, policy)) => vec![Proposed {
            name: BUNDLE_POLICY.to_owned(),
            place: format!("bundle {name}"),
            namespace: global.target.namespace.clone(),
            policy,
        }],
        None => of_files(args, global, cluster)?,
    };
    for namespace in proposed.iter().filter_map(|proposed| proposed.namespace.as_deref()) {
        args.exclusion.includes(namespace)?;
    }
    Ok(proposed)
}

fn of_files(args: &Args, global: &Global, cluster: &Cluster) -> anyhow::Result<Vec<Proposed>> {
    let files = policies::read_files(&args.files, global, cluster, "nothing was judged")?;
    files.values().try_for_each(FilePolicy::expect_namespaced)?;
    let proposed = files.into_iter().map(|((namespace, name), file)| {
        warn_without_checks(&file.policy.full_name(), &file.compiled);
        let namespace = (!global.target.all_namespaces).then_some(namespace);
        Proposed { name, place: file.place, namespace, policy: file.compiled }
    });
    Ok(proposed.collect())
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
        // A namespace that the user names is shown also without pods.
        if let Some(target) = target.filter(|_| is_read) {
            pods.entry(target.into()).or_default();
        }
    }
    let is_everywhere = proposed.iter().any(|proposed| proposed.namespace.is_none());
    let current = current(cluster, pods.keys().map(AsRef::as_ref), is_everywhere).await?;
    let mut previews = Vec::new();
    for (namespace, pods) in &pods {
        let of_namespace = NamespacePods { namespace, pods, excluded, now };
        let current = current.get(&**namespace).map(Vec::as_slice).unwrap_or_default();
        let applied = proposed.iter().filter(|proposed| proposed.is_for(namespace));
        for Proposed { name, place, policy, .. } in applied {
            let mut preview = of_namespace.preview(name.clone(), place.clone(), policy, current);
            let of = (&**namespace, &**pods);
            preview.remediation = remediation::preview(cluster, of, name, policy).await?;
            previews.push(preview);
        }
    }
    let source = live::source(cluster, global.target.namespace.as_deref());
    Ok(Preview::new(source, previews, coverage.finish()))
}

/// The policies that are in the namespaces now, by namespace.
async fn current<'a>(
    cluster: &Cluster,
    namespaces: impl Iterator<Item = &'a str>,
    is_everywhere: bool,
) -> Result<BTreeMap<String, Vec<CurrentPolicy>>, ClusterError> {
    // Without the definition there is no policy yet.
    let Some(api) = PolicyApi::find(cluster).await? else {
        return Ok(BTreeMap::new());
    };
    // One request instead of one for each namespace, where that is allowed.
    let all = if is_everywhere { api.list(None).await.whole().ok() } else { None };
    let mut found = BTreeMap::new();
    match all {
        Some(all) => found = all,
        None => {
            for namespace in namespaces {
                found.append(&mut api.list(Some(namespace)).await.whole()?);
            }
        }
    }
    let mut current: BTreeMap<String, Vec<CurrentPolicy>> = BTreeMap::new();
    for ((namespace, name), policy) in found {
        let policy = CurrentPolicy { name, policy: policy.compiled() };
        current.entry(namespace).or_default().push(policy);
    }
    Ok(current)
}
