//! `policyctl admit`

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clap::ArgAction;
use kube::Resource as _;
use policy_core::admission::{NamedPolicy, Request, admit};
use policy_core::api::DevOpsPolicy;
use policy_core::manifest::{DocumentContent, InputObjects, ManifestObject, documents};
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::report::{AdmissionReport, AdmittedObject, CoverageCounter, PolicySource, Source};
use policy_core::view::{PolicyView, SpecView};
use rayon::prelude::*;

use super::analyze::{files, live};
use crate::cli::Global;
use crate::cluster::pages::{self, Page};
use crate::cluster::{self, Cluster, ClusterError};
use crate::exit::Exit;
use crate::input::{Input, Inputs};
use crate::judgement::PolicyChoice;
use crate::output::{self, Output};
use crate::policies::PolicyApi;

const EXAMPLES: &str = "\
Examples:
  policyctl admit -f app.yaml                          by the policies of the cluster
  helm template my-chart | policyctl admit -f - -n shop
  policyctl admit -f deploy/ --bundle restricted       without any cluster

Says what the admission webhook would answer if the objects were created here and now, by somebody
who is none of the cluster's own controllers, and shows its lines as kubectl would. Objects that
name no namespace belong to that of -n, else to `default`; with --bundle or --policy that policy is
tried in every namespace. Nothing is sent to the cluster, and what the API server itself would
refuse is not told. The exit code is 1 where anything would be denied.
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

/// The policies by namespace.
enum Policies {
    /// The same everywhere.
    Given([NamedPolicy; 1]),
    OfCluster(BTreeMap<String, Vec<NamedPolicy>>),
}

impl Policies {
    fn of(&self, namespace: &str) -> &[NamedPolicy] {
        match self {
            Self::Given(policy) => policy,
            Self::OfCluster(policies) => policies.get(namespace).map_or(&[], Vec::as_slice),
        }
    }
}

pub(crate) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let form = global.output(&[Output::Table, Output::Json, Output::Yaml])?;
    let given = args.choice.named()?;
    let excluded = args.choice.exclusion.namespaces();
    let mut coverage = CoverageCounter::default();
    let read = read(args, global, &excluded, &mut coverage)?;
    let (policies, source) = match given {
        Some((name, policy)) => {
            let rules = Ok(Arc::new(policy));
            let policies = Policies::Given([NamedPolicy { name: name.into(), rules }]);
            (policies, PolicySource::Given { name: args.choice.name() })
        }
        None => of_cluster(namespaces(&read, &excluded), global)?,
    };
    let objects = read.into_iter().flat_map(|document| document.admitted(&policies, &excluded));
    let files = Source::Files { paths: args.filename.clone() };
    let report = AdmissionReport::new(files, source, objects.collect(), coverage.finish());
    output::report(&report, &report.coverage, form, global.console())?;
    let denied = if report.summary.denied > 0 { Exit::Findings } else { Exit::Fine };
    Ok(Exit::of_coverage(&report.coverage, &report.source).max(denied))
}

/// A document with pods and workloads.
struct Document {
    file: Arc<str>,
    number: u32,
    content: DocumentContent,
    /// Those of the content's objects.
    specs: Vec<SpecView>,
}

impl Document {
    /// Drops the objects that controllers make of other objects of the input.
    fn keep_counted(&mut self, objects: &InputObjects, coverage: &mut CoverageCounter) {
        let found = self.content.objects.drain(..).zip(self.specs.drain(..)).collect::<Vec<_>>();
        for (object, spec) in found {
            if objects.counts(&object) {
                self.content.objects.push(object);
                self.specs.push(spec);
            } else {
                coverage.controlled();
            }
        }
    }

    fn admitted(self, policies: &Policies, excluded: &ExcludedNamespaces) -> Vec<AdmittedObject> {
        let Self { file, number, content, specs } = self;
        let objects = content.objects.into_iter().zip(specs);
        let admitted = objects.map(|(ManifestObject { facts, line, .. }, spec)| {
            let place = (Arc::clone(&file), number, line);
            if excluded.contains(&facts.namespace) {
                return AdmittedObject::excluded(&facts, place);
            }
            let policies = policies.of(&facts.namespace);
            let request = Request::create(facts.kind, &facts.namespace, spec);
            AdmittedObject::of(&facts, place, policies.len(), &admit(&request, policies))
        });
        admitted.collect()
    }
}

/// The documents of all inputs, in their order.
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
        let (mut objects, mut specs) = (Vec::new(), Vec::new());
        let content = document.read_each(namespace, &mut |object, view| {
            // What a status says counts for nothing, so a pod that ended is one to judge.
            let facts = object.facts.without_status();
            objects.push(ManifestObject { facts, ..object });
            specs.push(view.spec.clone());
        });
        let mut content = DocumentContent { objects, ..content };
        if !input.is_explicit {
            content.skip_what_is_no_manifest();
        }
        Document { file: Arc::clone(&input.name), number: document.number, content, specs }
    });
    Ok(read.collect())
}

/// The namespaces whose policies are asked for.
fn namespaces(read: &[Document], excluded: &ExcludedNamespaces) -> BTreeSet<Arc<str>> {
    let objects = read.iter().flat_map(|document| &document.content.objects);
    let names = objects.map(|object| Arc::clone(&object.facts.namespace));
    names.filter(|name| !excluded.contains(name)).collect()
}

fn of_cluster(
    namespaces: BTreeSet<Arc<str>>,
    global: &Global,
) -> anyhow::Result<(Policies, PolicySource)> {
    cluster::run(async {
        let cluster = live::connect(global).await?;
        let mut policies = BTreeMap::new();
        if PolicyApi::find(&cluster).await?.is_none() {
            let absent = "the cluster does not have the definition of policies, so it has none";
            global.console().note(absent);
        } else {
            for namespace in namespaces {
                policies.insert(namespace.to_string(), list(&cluster, &namespace).await?);
            }
        }
        let (context, server) = (cluster.context.clone(), cluster.server.clone());
        Ok((Policies::OfCluster(policies), PolicySource::Cluster { context, server }))
    })
}

/// The policies of a namespace as the webhook sees them: one that is invalid is there as well.
async fn list(cluster: &Cluster, namespace: &str) -> Result<Vec<NamedPolicy>, ClusterError> {
    let operation = format!("cannot list the policies of namespace {namespace}");
    let path = DevOpsPolicy::url_path(&(), Some(namespace));
    let mut policies = Vec::new();
    pages::read(&cluster.client(), &path, &operation, |page: Page<PolicyView>| {
        policies.extend(page.objects.into_iter().map(|PolicyView { metadata, rules, .. }| {
            let name = metadata.name.unwrap_or_default().into();
            NamedPolicy { name, rules: rules.map_err(|refused| refused.to_string()) }
        }));
        policies.extend(page.unreadable.into_iter().map(|unreadable| {
            let name = unreadable.object.split('/').next_back().unwrap_or_default().into();
            NamedPolicy { name, rules: Err(unreadable.reason) }
        }));
    })
    .await?;
    Ok(policies)
}
