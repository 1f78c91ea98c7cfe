//! The objects that are there before a policy is in force.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use policy_core::Timestamp;
use policy_core::admission::{Creation, NamedPolicy, NamespacePolicies};
use policy_core::custom::{CustomInput, CustomNamespace, Whole};
use policy_core::facts::{Lifecycle, PodFacts};
use policy_core::manifest::{Document, InputObjects, documents};
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::ClusterScope;
use policy_core::report::{AdmissionOutcome, AdmittedObject};
use policy_core::view::ObjectView;
use policy_core::workload::ObjectKind;
use policy_manifests::PolicyPlace;

use super::{Exported, MAX_FILE_SIZE};
use crate::cluster::namespaced::Listed;
use crate::cluster::pages::{self, Page, Unreadable};
use crate::cluster::workload_labels::WORKLOADS;
use crate::cluster::{Cluster, ClusterError};
use crate::exit::Exit;
use crate::input::Inputs;
use crate::policies::{NamespaceLabels, labels_of};

/// How many objects are listed.
const MAX_LISTED: usize = 50;

/// What would become of the pods and workloads of a policy's namespaces, were they created now.
/// What has ended and what controllers make of others of them is left out.
pub(super) struct Existing {
    pub(super) objects: u64,
    pub(super) denied: u64,
    /// The first of these, with the reason.
    pub(super) listed: Vec<String>,
    /// The namespaces of the objects.
    pub(super) namespaces: BTreeSet<Box<str>>,
    /// The objects of kinds that no rule covers, and the kind of the first.
    pub(super) beyond: Option<(u64, ObjectKind)>,
    /// Whether the labels of namespaces are not known, by which the policy selects.
    pub(super) ignores_selector: bool,
    /// Why none are known, where there is no cluster to ask.
    pub(super) unknown: Option<String>,
    /// What could not be read.
    pub(super) problems: Vec<String>,
    /// The exit code for that.
    pub(super) exit: Exit,
}

/// By what an object is judged.
enum Judging<'a> {
    /// The policies of these namespaces, and nothing elsewhere.
    Namespaces(BTreeMap<String, NamespacePolicies>),
    /// A cluster policy, where the labels of namespaces are not known.
    AnyLabels(&'a ClusterScope, NamespacePolicies),
}

impl Judging<'_> {
    fn of(&self, namespace: &str) -> Option<&NamespacePolicies> {
        match self {
            Self::Namespaces(policies) => policies.get(namespace),
            Self::AnyLabels(scope, policies) => (!scope.excludes(namespace)).then_some(policies),
        }
    }
}

impl Existing {
    fn none() -> Self {
        Self {
            objects: 0,
            denied: 0,
            listed: Vec::new(),
            namespaces: BTreeSet::new(),
            beyond: None,
            ignores_selector: false,
            unknown: None,
            problems: Vec::new(),
            exit: Exit::Fine,
        }
    }

    /// Where there is no cluster to ask.
    pub(super) fn unknown(reason: String) -> Self {
        Self { unknown: Some(reason), ..Self::none() }
    }

    /// The objects of files. The labels of their namespaces are not known.
    pub(super) fn of_files(filename: &[String], exported: &Exported) -> Self {
        let mut existing = Self::none();
        let inputs = Inputs::find(filename);
        existing.problems.extend(inputs.problems());
        let (default, judging) = match &exported.place {
            PolicyPlace::Namespace(namespace) => {
                let policies = [(namespace.clone(), exported.policies(None))].into();
                (namespace.as_str(), Judging::Namespaces(policies))
            }
            PolicyPlace::Cluster(scope) => {
                existing.ignores_selector = !scope.requirements().is_empty();
                ("default", Judging::AnyLabels(scope, exported.policies(None)))
            }
        };
        let mut found = Vec::new();
        for input in &inputs.found {
            let Some(bytes) = input.read_or_add_to(&mut existing.problems, MAX_FILE_SIZE) else {
                continue;
            };
            for document in documents(&bytes) {
                let document = Document { reads_custom: true, ..document };
                let content = document.read_of_file(default, input.is_explicit);
                let failures = content.failures.iter();
                existing.problems.extend(failures.map(|one| format!("{}:{one}", input.name)));
                found.extend(content.objects);
            }
        }
        let mut all = InputObjects::default();
        for object in &found {
            all.add(object);
        }
        found.retain(|object| all.counts(object));
        for object in found {
            existing.add(object.facts, object.custom.map(|custom| *custom), &judging);
        }
        if !existing.problems.is_empty() {
            existing.exit = Exit::Error;
        }
        existing
    }

    /// The objects of a cluster, judged while they are read.
    pub(super) async fn of_cluster(cluster: &Cluster, exported: &Exported) -> Self {
        let mut existing = Self::none();
        let (namespace, policies) = match exported.policies_by_namespace(cluster).await {
            Ok(found) => found,
            Err(error) => {
                existing.problems.push(error.to_string());
                existing.exit = Exit::Cluster;
                return existing;
            }
        };
        let judging = Judging::Namespaces(policies);
        let place = namespace.map_or_else(String::new, |name| format!(" in namespace {name}"));
        let client = cluster.client();
        let pods = (ObjectKind::Pod, Listed::PODS);
        for (kind, listed) in [pods].into_iter().chain(WORKLOADS) {
            let path = (listed.path)(namespace);
            let operation = format!("cannot list objects of kind {kind}{place}");
            let read = pages::read(&client, &path, &operation, |page: Page<Whole<ObjectView>>| {
                for unreadable in page.unreadable {
                    let Unreadable { object, reason } = unreadable;
                    existing.problems.push(format!("{kind} {object} cannot be read: {reason}"));
                    existing.exit = Exit::Cluster;
                }
                for Whole { view, document } in page.objects {
                    if is_made_by_controller(&view) {
                        continue;
                    }
                    if let Some(facts) = PodFacts::of_object(kind, &view, "") {
                        existing.add(facts, Some(CustomInput::of_read(kind, document)), &judging);
                    }
                }
            });
            if let Err(error) = read.await {
                existing.problems.push(error.to_string());
                existing.exit = Exit::Cluster;
            }
        }
        existing
    }

    /// Counts an object to which the policy applies.
    fn add(&mut self, mut facts: PodFacts, custom: Option<CustomInput>, judging: &Judging<'_>) {
        let Some(policies) = judging.of(&facts.namespace) else { return };
        if facts.checked.lifecycle == Lifecycle::Ended {
            return;
        }
        if matches!(facts.kind, ObjectKind::Configured(_)) {
            self.beyond.get_or_insert((0, facts.kind)).0 += 1;
            return;
        }
        self.objects += 1;
        if !self.namespaces.contains(&*facts.namespace) {
            self.namespaces.insert((&*facts.namespace).into());
        }
        facts.clear_status();
        let verdict = Creation::of(&facts).admit_with(custom, policies, Timestamp::now());
        let object = AdmittedObject::of(&facts, (Arc::from(""), 1, 1), 1, &verdict);
        if object.outcome != AdmissionOutcome::Denied {
            return;
        }
        self.denied += 1;
        if self.listed.len() < MAX_LISTED {
            let place = match judging {
                Judging::Namespaces(one) if one.len() == 1 => String::new(),
                _ => format!("{}/", object.namespace),
            };
            let message = object.message.as_deref().unwrap_or_default().replace('\n', "; ");
            self.listed.push(format!("{place}{}/{}: {message}", object.kind, object.name));
        }
    }
}

impl Exported {
    /// The policy alone, as its objects judge, in a namespace.
    fn policies(&self, namespace: Option<CustomNamespace>) -> NamespacePolicies {
        let rules = Ok(Arc::clone(&self.judged));
        let policy = NamedPolicy { name: self.place.policy_name(&self.name), rules };
        NamespacePolicies { namespace: namespace.map(Arc::new), ..NamespacePolicies::from(policy) }
    }

    /// The policy by each namespace of the cluster to which it applies, and the name of the only one.
    async fn policies_by_namespace(
        &self,
        cluster: &Cluster,
    ) -> Result<(Option<&str>, BTreeMap<String, NamespacePolicies>), ClusterError> {
        let named = |name: &str, labels| {
            let namespace = CustomNamespace::new(name, labels);
            (name.to_owned(), self.policies(Some(namespace)))
        };
        Ok(match &self.place {
            PolicyPlace::Namespace(namespace)
                if self.policies(None).judged[0].needs_namespace() =>
            {
                let labels = labels_of(cluster, namespace).await?;
                (Some(namespace), [named(namespace, &labels)].into())
            }
            PolicyPlace::Namespace(namespace) => {
                (Some(namespace), [(namespace.clone(), self.policies(None))].into())
            }
            PolicyPlace::Cluster(scope) => {
                let all = NamespaceLabels::of_all(cluster).await?;
                let excluded = ExcludedNamespaces::default();
                let selected = all.selected_with_labels(scope, &excluded);
                (None, selected.map(|(name, labels)| named(name, labels)).collect())
            }
        })
    }
}

/// Whether another listed object makes it, such as the `ReplicaSet` a pod.
fn is_made_by_controller(object: &ObjectView) -> bool {
    let owners = object.metadata.owner_references.iter().flatten();
    let mut controllers = owners.into_iter().filter(|owner| owner.controller == Some(true));
    controllers.any(|owner| ObjectKind::of(&owner.api_version, &owner.kind).is_some())
}
