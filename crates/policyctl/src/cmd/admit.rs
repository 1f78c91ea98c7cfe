//! `policyctl admit`

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clap::ArgAction;
use k8s_openapi::api::core::v1::LimitRange;
use kube::Resource as _;
use policy_core::Timestamp;
use policy_core::admission::{Creation, NamedPolicy, NamespacePolicies};
use policy_core::api::{ClusterDevOpsPolicy, DevOpsPolicy};
use policy_core::custom::CustomNamespace;
use policy_core::manifest::{DocumentContent, InputObjects, ManifestObject, documents};
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::{PoliciesByRank, PolicyRank};
use policy_core::report::{AdmissionReport, AdmittedObject, CoverageCounter, PolicySource, Source};
use policy_core::view::{ClusterPart, ClusterPolicyView, PolicyView};
use rayon::prelude::*;

use super::analyze::{files, live};
use crate::cluster::pages::{self, Page};
use crate::cluster::{self, Cluster, ClusterError, ErrorKind};
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::input::{Input, Inputs};
use crate::judgement::PolicyChoice;
use crate::output::{self, Output};
use crate::policies::{PolicyApi, labels_of};

const EXAMPLES: &str = "\
Examples:
  policyctl admit -f app.yaml                          by the policies of the cluster
  helm template my-chart | policyctl admit -f - -n shop
  policyctl admit -f deploy/ --bundle restricted       without any cluster

Prints what the admission webhook would answer if a user created the objects now, with its messages
as kubectl prints them. Objects without a namespace belong to that of -n, else to `default`; with
--bundle or --policy that policy applies in every namespace. Nothing is sent to the cluster, and
what the API server itself would refuse is not reported. Missing requests and limits deny a pod
only where the cluster has no LimitRange in the namespace that could fill them in; without a
cluster, or without the right to list LimitRanges, they warn. The exit code is 1 where anything
would be denied.
Output: table (default), json and yaml (docs/admission.schema.json).";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The objects: a file, a folder (*.yaml, *.yml, *.json, recursive), a pattern, or - for
    /// standard input
    #[arg(short, long = "filename", value_name = "FILE", action = ArgAction::Append, required = true)]
    filename: Vec<String>,

    #[command(flatten)]
    choice: PolicyChoice,
}

/// The policies by which objects are judged.
enum Rules {
    /// The same policy everywhere, without a cluster.
    Given(NamespacePolicies),
    OfCluster(BTreeMap<String, NamespaceRules>),
}

#[derive(Default)]
struct NamespaceRules {
    policies: NamespacePolicies,
    /// Whether a `LimitRange` may set requests and limits.
    may_have_limit_range: bool,
}

impl Rules {
    fn policies(&self, namespace: &str) -> Option<&NamespacePolicies> {
        match self {
            Self::Given(policy) => Some(policy),
            Self::OfCluster(rules) => rules.get(namespace).map(|rules| &rules.policies),
        }
    }

    fn may_have_limit_range(&self, namespace: &str) -> bool {
        match self {
            Self::Given(_) => true,
            Self::OfCluster(rules) => {
                rules.get(namespace).is_none_or(|rules| rules.may_have_limit_range)
            }
        }
    }
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let given = args.choice.named()?;
    let used = if given.is_some() { &Scope::FILES[..] } else { &Scope::CLUSTER };
    let form = global.output(&[Output::Table, Output::Json, Output::Yaml], used)?;
    let excluded = args.choice.exclusion.namespaces().at_admission();
    let mut coverage = CoverageCounter::default();
    let read = read(args, global, &excluded, &mut coverage)?;
    let (rules, source) = match given {
        Some((name, policy)) => {
            let policy = NamedPolicy { name, rules: Ok(Arc::new(policy)) };
            (Rules::Given(policy.into()), PolicySource::Given { name: args.choice.name() })
        }
        None => of_cluster(namespaces(&read, &excluded), global)?,
    };
    let now = Timestamp::now();
    let objects = read.into_iter().flat_map(|document| document.admitted(&rules, &excluded, now));
    let files = Source::Files { paths: args.filename.clone() };
    let report = AdmissionReport::new(files, source, objects.collect(), coverage.finish());
    output::report(&report, &report.coverage.failed, form, global.console())?;
    let denied = if report.summary.denied > 0 { Exit::Findings } else { Exit::Fine };
    Ok(Exit::of_coverage(&report.coverage, &report.source).max(denied))
}

/// A document with pods and workloads.
struct Document {
    file: Arc<str>,
    number: u32,
    content: DocumentContent,
}

impl Document {
    /// Drops the objects that controllers make of other objects of the input.
    fn keep_counted(&mut self, objects: &InputObjects, coverage: &mut CoverageCounter) {
        let before = self.content.objects.len();
        self.content.objects.retain(|object| objects.counts(object));
        (self.content.objects.len()..before).for_each(|_| coverage.controlled());
    }

    fn admitted(
        self,
        rules: &Rules,
        excluded: &ExcludedNamespaces,
        now: Timestamp,
    ) -> Vec<AdmittedObject> {
        let Self { file, number, content } = self;
        let admitted = content.objects.into_iter().map(
            |ManifestObject { facts, line, custom, labels, .. }| {
                let place = (Arc::clone(&file), number, line);
                if excluded.contains(&facts.namespace) {
                    return AdmittedObject::excluded(&facts, place);
                }
                let none = NamespacePolicies::default();
                let policies = rules.policies(&facts.namespace).unwrap_or(&none);
                let is_before_limit_ranges = rules.may_have_limit_range(&facts.namespace);
                let labels = labels.as_ref();
                let creation = Creation { is_before_limit_ranges, labels, ..Creation::of(&facts) };
                let custom = custom.map(|custom| *custom);
                let verdict = creation.admit_with(custom, policies, now);
                AdmittedObject::of(&facts, place, policies.judged.len(), &verdict)
            },
        );
        admitted.collect()
    }
}

/// The documents of all inputs, in the order of the arguments.
fn read(
    args: &Args,
    global: &Global,
    excluded: &ExcludedNamespaces,
    coverage: &mut CoverageCounter,
) -> anyhow::Result<Vec<Document>> {
    let namespace = global.target.namespace.as_deref().unwrap_or("default");
    let inputs = Inputs::find(&args.filename);
    let of_input = |input: &Input| of_input(input, namespace, args.choice.max_file_size);
    let read: Vec<_> =
        files::threads()?.install(|| inputs.found.par_iter().map(of_input).collect());
    let mut found = Vec::new();
    for (input, documents) in inputs.found.iter().zip(read) {
        match documents {
            Err(reason) => coverage.not_read(&input.name, None, reason),
            Ok(documents) => found.extend(documents),
        }
    }
    let mut objects = InputObjects::default();
    let all = found.iter().flat_map(|document| &document.content.objects);
    all.for_each(|object| objects.add(object));
    for document in &mut found {
        document.keep_counted(&objects, coverage);
        for object in &document.content.objects {
            coverage.pod(&object.facts, excluded);
        }
        coverage.other_objects(&document.file, &document.content);
    }
    inputs.add_to(coverage);
    Ok(found)
}

fn of_input(input: &Input, namespace: &str, limit: u64) -> Result<Vec<Document>, String> {
    let bytes = input.read(limit).map_err(|error| error.to_string())?;
    let documents = documents(&bytes);
    if documents.is_empty() && input.is_explicit {
        return Err("holds no document".to_owned());
    }
    let read = documents.iter().map(|document| {
        // Which policies judge them is not known yet.
        let document = policy_core::manifest::Document { reads_custom: true, ..*document };
        let mut content = document.read_of_file(namespace, input.is_explicit);
        for object in &mut content.objects {
            // The status does not count at admission, so a pod that ended is judged as well.
            object.facts.clear_status();
        }
        Document { file: Arc::clone(&input.name), number: document.number, content }
    });
    Ok(read.collect())
}

/// The namespaces of the objects, without excluded ones.
fn namespaces(read: &[Document], excluded: &ExcludedNamespaces) -> BTreeSet<Arc<str>> {
    let objects = read.iter().flat_map(|document| &document.content.objects);
    let names = objects.map(|object| Arc::clone(&object.facts.namespace));
    names.filter(|name| !excluded.contains(name)).collect()
}

fn of_cluster(
    namespaces: BTreeSet<Arc<str>>,
    global: &Global,
) -> anyhow::Result<(Rules, PolicySource)> {
    cluster::run(async {
        let cluster = live::connect(global).await?;
        let mut rules = BTreeMap::new();
        if PolicyApi::find(&cluster).await?.is_none() {
            let absent = "the cluster has no definition of DevOpsPolicy, and so no policies";
            global.console().note(absent);
        } else {
            let cluster_policies = cluster_policies(&cluster).await?;
            for namespace in namespaces {
                let policies = list(&cluster, &namespace, &cluster_policies).await?;
                if policies.judged.is_empty()
                    && let Err(missing) = cluster.expect_namespace(&namespace).await
                {
                    output::reason(missing);
                }
                let may_have_limit_range = may_have_limit_range(&cluster, &namespace).await;
                let of_namespace = NamespaceRules { policies, may_have_limit_range };
                rules.insert(namespace.to_string(), of_namespace);
            }
        }
        let (context, server) = (cluster.context.clone(), cluster.server.clone());
        Ok((Rules::OfCluster(rules), PolicySource::Cluster { context, server }))
    })
}

/// Whether a namespace has a `LimitRange` that may set requests and limits of containers. Where it
/// is not known, because the user may not list them, it may.
async fn may_have_limit_range(cluster: &Cluster, namespace: &str) -> bool {
    let operation = format!("cannot list the LimitRanges of namespace {namespace}");
    let path = LimitRange::url_path(&(), Some(namespace));
    let mut found = false;
    let client = cluster.client();
    let read = pages::read(&client, &path, &operation, |page: Page<LimitRange>| {
        let limits = page.objects.iter().filter_map(|range| range.spec.as_ref());
        found |= !page.unreadable.is_empty();
        found |= limits.flat_map(|spec| &spec.limits).any(|limit| limit.type_ == "Container");
    });
    read.await.is_err() || found
}

/// The cluster policies; none where the user may not read them, which is said.
async fn cluster_policies(cluster: &Cluster) -> Result<Vec<ClusterPolicyView>, ClusterError> {
    let path = ClusterDevOpsPolicy::url_path(&(), None);
    let mut found = Vec::new();
    let take = |page: Page<ClusterPolicyView>| found.extend(page.objects);
    match pages::read(&cluster.client(), &path, "cannot list cluster policies", take).await {
        Ok(()) => Ok(found),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) if error.kind == ErrorKind::Forbidden => {
            output::reason(format_args!("{error}; the webhook judges by them as well"));
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// The policies that apply to a namespace as the webhook has them, invalid ones included.
async fn list(
    cluster: &Cluster,
    namespace: &str,
    cluster_policies: &[ClusterPolicyView],
) -> Result<NamespacePolicies, ClusterError> {
    let operation = format!("cannot list the policies of namespace {namespace}");
    let path = DevOpsPolicy::url_path(&(), Some(namespace));
    let (mut readable, mut unreadable) = (PoliciesByRank::default(), Vec::new());
    let mut labels = None;
    if !cluster_policies.is_empty() {
        let labels = labels.insert(labels_of(cluster, namespace).await?);
        for policy in cluster_policies.iter().cloned().map(PolicyView::from) {
            let selects = |part: &ClusterPart| {
                part.scope.selects(namespace, labels, &ExcludedNamespaces::default())
            };
            let is_deleted = policy.metadata.deletion_timestamp.is_some();
            if !is_deleted && policy.cluster.as_deref().is_some_and(selects) {
                let rank = policy.rank();
                readable.insert(rank, policy.rules.map_err(|refused| refused.to_string()));
            }
        }
    }
    pages::read(&cluster.client(), &path, &operation, |page: Page<PolicyView>| {
        for PolicyView { metadata, rules, .. } in page.objects {
            if metadata.deletion_timestamp.is_none() {
                let rules = rules.map_err(|refused| refused.to_string());
                readable.insert(PolicyRank::of(&metadata), rules);
            }
        }
        unreadable.extend(page.unreadable.into_iter().map(|unreadable| {
            let name = unreadable.object.split('/').next_back().unwrap_or_default().into();
            NamedPolicy { name, rules: Err(unreadable.reason) }
        }));
    })
    .await?;
    let judged = readable
        .judged()
        .map(|(age, rules)| NamedPolicy { name: age.policy(), rules: rules.clone() });
    let judged: Vec<NamedPolicy> = judged.chain(unreadable).collect();
    let namespace = if judged.iter().any(NamedPolicy::needs_namespace) {
        let labels = match labels {
            Some(labels) => labels,
            None => labels_of(cluster, namespace).await?,
        };
        Some(Arc::new(CustomNamespace::new(namespace, &labels)))
    } else {
        None
    };
    Ok(NamespacePolicies { judged, excess: readable.excess().len(), namespace })
}
