//! `policyctl preview`

mod remediation;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use policy_core::Timestamp;
use policy_core::bundle::Bundle;
use policy_core::custom::{CustomInput, LivePod};
use policy_core::facts::PodFacts;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::CompiledPolicy;
use policy_core::report::{CoverageCounter, CurrentPolicy, NamespacePods, Preview};
use policy_core::text::printable;

use super::analyze::live;
use crate::cluster::namespaced::Event;
use crate::cluster::{self, Cluster, ClusterError, workload_labels};
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::judgement::{BUNDLE_POLICY, Exclusion, warn_without_checks};
use crate::output::{self, Output};
use crate::policies::{self, FilePolicy, NamespaceLabels, PolicyApi, ScopedPolicy};

const EXAMPLES: &str = "\
Examples:
  policyctl preview policies/                  each policy in its own namespace
  policyctl preview strict.yaml -A             each policy in every namespace that has pods
  policyctl preview fleet.yaml                 a cluster policy in the namespaces that it selects
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
    namespaces: Namespaces,
    policy: CompiledPolicy,
}

/// Where a policy would be applied.
enum Namespaces {
    All,
    One(String),
    /// Those that a cluster policy selects.
    Selected(BTreeSet<String>),
}

impl Proposed {
    /// Whether it would be applied to the namespace.
    fn is_for(&self, namespace: &str) -> bool {
        match &self.namespaces {
            Namespaces::All => true,
            Namespaces::One(own) => own == namespace,
            Namespaces::Selected(selected) => selected.contains(namespace),
        }
    }

    /// Its only namespace.
    fn namespace(&self) -> Option<&str> {
        match &self.namespaces {
            Namespaces::One(own) => Some(own),
            Namespaces::All | Namespaces::Selected(_) => None,
        }
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
        let proposed = proposed(args, bundle, global, &cluster).await?;
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

async fn proposed(
    args: &Args,
    bundle: Option<(&str, CompiledPolicy)>,
    global: &Global,
    cluster: &Cluster,
) -> anyhow::Result<Vec<Proposed>> {
    let proposed = match bundle {
        Some((name, policy)) => vec![Proposed {
            name: BUNDLE_POLICY.to_owned(),
            place: format!("bundle {name}"),
            namespaces: match &global.target.namespace {
                Some(namespace) => Namespaces::One(namespace.clone()),
                None => Namespaces::All,
            },
            policy,
        }],
        None => of_files(args, global, cluster).await?,
    };
    for namespace in proposed.iter().filter_map(Proposed::namespace) {
        args.exclusion.includes(namespace)?;
    }
    Ok(proposed)
}

async fn of_files(
    args: &Args,
    global: &Global,
    cluster: &Cluster,
) -> anyhow::Result<Vec<Proposed>> {
    let files = policies::read_files(&args.files, global, cluster, "nothing was judged")?;
    let excluded = args.exclusion.namespaces();
    let mut labels = None;
    let mut proposed = Vec::new();
    for ((namespace, name), FilePolicy { place, policy, compiled, scope }) in files {
        warn_without_checks(&policy.full_name(), &compiled);
        let (name, namespaces) = if let Some(scope) = scope {
            if labels.is_none() {
                labels = Some(NamespaceLabels::of_all(cluster).await?);
            }
            let selected = labels.as_ref().map(|labels| labels.selected(&scope, &excluded));
            (policy.full_name(), Namespaces::Selected(selected.unwrap_or_default()))
        } else if global.target.all_namespaces {
            (name, Namespaces::All)
        } else {
            (name, Namespaces::One(namespace))
        };
        proposed.push(Proposed { name, place, namespaces, policy: compiled });
    }
    Ok(proposed)
}

async fn preview(
    cluster: &Cluster,
    proposed: &[Proposed],
    excluded: &ExcludedNamespaces,
    global: &Global,
) -> anyhow::Result<Preview> {
    let now = Timestamp::now();
    let mut coverage = CoverageCounter::default();
    let mut pods: BTreeMap<Arc<str>, (Vec<PodFacts>, Vec<CustomInput>)> = BTreeMap::new();
    let mut targets: BTreeSet<Option<&str>> = proposed.iter().map(Proposed::namespace).collect();
    let is_everywhere = targets.contains(&None);
    if is_everywhere {
        // With the pods of all namespaces come those of each.
        targets = [None].into();
    }
    let api = PolicyApi::find(cluster).await?;
    // Before the pods: of these more has to be read where a policy has custom checks.
    let named = (!is_everywhere).then(|| targets.iter().copied().flatten().collect());
    let early = current(api.as_ref(), named).await.ok().flatten();
    let is_whole = proposed.iter().any(|proposed| proposed.policy.custom().is_some())
        || early.as_ref().is_none_or(|early| rules(early).any(|rules| rules.custom().is_some()));
    for target in targets {
        let mut is_read = true;
        live::read(cluster, target, excluded, is_whole, global.console(), &mut |event| {
            is_read &= !matches!(event, Event::NotRead { .. });
            for LivePod { view, custom } in live::pods_of(event, &mut coverage) {
                let facts = PodFacts::of_pod(&view, "");
                if coverage.pod(&facts, excluded) {
                    let (pods, inputs) = pods.entry(Arc::clone(&facts.namespace)).or_default();
                    pods.push(facts);
                    inputs.extend(custom.map(|input| *input));
                }
            }
        })
        .await;
        // A namespace that the user names is shown also without pods.
        if let Some(target) = target.filter(|_| is_read) {
            pods.entry(target.into()).or_default();
        }
    }
    let today = if let Some(early) = early {
        early
    } else {
        let named = pods.keys().map(AsRef::as_ref).collect();
        current(api.as_ref(), Some(named)).await?.unwrap_or_default()
    };
    let judging = proposed.iter().map(|proposed| &proposed.policy).chain(rules(&today));
    let only = pods.keys().next().filter(|_| !is_everywhere && pods.len() == 1).map(|name| &**name);
    let namespaces = NamespaceLabels::for_custom(cluster, only, judging, &mut coverage).await;
    let judging = proposed.iter().map(|proposed| &proposed.policy).chain(rules(&today));
    let workloads = workload_labels::read(cluster, only, excluded, judging, &mut coverage).await;
    let mut previews = Vec::new();
    for (namespace, (pods, custom)) in &pods {
        let (namespaces, workloads) = (&namespaces, &workloads);
        let of_namespace =
            NamespacePods { namespace, pods, custom, namespaces, workloads, excluded, now };
        let current = today.get(&**namespace).map(Vec::as_slice).unwrap_or_default();
        let applied = proposed.iter().filter(|proposed| proposed.is_for(namespace));
        for Proposed { name, place, policy, namespaces } in applied {
            let mut preview = of_namespace.preview(name.clone(), place.clone(), policy, current);
            let of = (&**namespace, &**pods);
            if !matches!(namespaces, Namespaces::Selected(_)) {
                preview.remediation = remediation::preview(cluster, of, name, policy).await?;
            }
            previews.push(preview);
        }
    }
    let source = live::source(cluster, global.target.namespace.as_deref());
    Ok(Preview::new(source, previews, coverage.finish()))
}

/// The valid policies among these.
fn rules(policies: &CurrentPolicies) -> impl Iterator<Item = &CompiledPolicy> {
    policies.values().flatten().filter_map(|current| current.policy.as_ref().ok())
}

/// By namespace.
type CurrentPolicies = BTreeMap<String, Vec<CurrentPolicy>>;

/// The policies that apply now to these namespaces, or to any; `None` where those of the whole cluster
/// cannot be read, though those of some namespaces may be.
async fn current(
    api: Option<&PolicyApi<'_>>,
    namespaces: Option<Vec<&str>>,
) -> Result<Option<CurrentPolicies>, ClusterError> {
    // Without the definition there is no policy yet.
    let Some(api) = api else { return Ok(Some(BTreeMap::new())) };
    let excluded = ExcludedNamespaces::default();
    let (found, scoped) = if let Some(namespaces) = namespaces {
        let mut found = BTreeMap::new();
        for namespace in &namespaces {
            found.append(&mut api.list(Some(namespace)).await.whole()?);
        }
        (found, api.scoped_if_allowed(Some(&namespaces), &excluded).await?)
    } else {
        // One request instead of one for each namespace.
        let Ok(all) = api.list(None).await.whole() else { return Ok(None) };
        (all, api.scoped_if_allowed(None, &excluded).await?)
    };
    let scoped = scoped.into_iter().flat_map(|ScopedPolicy { policy, compiled, namespaces }| {
        let name = policy.full_name();
        namespaces.into_iter().map(move |namespace| (namespace, name.clone(), Ok(compiled.clone())))
    });
    let own = found.into_iter().map(|((namespace, name), own)| (namespace, name, own.compiled()));
    let mut current = CurrentPolicies::new();
    for (namespace, name, policy) in scoped.chain(own) {
        current.entry(namespace).or_default().push(CurrentPolicy { name, policy });
    }
    Ok(Some(current))
}
