//! The objects that are there before a policy is in force.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use kube::Resource;
use policy_core::Timestamp;
use policy_core::admission::{Creation, NamespacePolicies};
use policy_core::custom::CustomInput;
use policy_core::facts::{Lifecycle, PodFacts};
use policy_core::manifest::{Document, InputObjects, documents};
use policy_core::report::AdmittedObject;
use policy_core::view::ObjectView;
use policy_core::workload::ObjectKind;

use super::MAX_FILE_SIZE;
use crate::cluster::Cluster;
use crate::cluster::pages::{self, Page};
use crate::exit::Exit;
use crate::input::Inputs;

/// The pods and workloads of a namespace, without what controllers make of others of them.
pub(super) struct Existing {
    /// Each with its line, and with what custom checks see of it.
    objects: Vec<(PodFacts, u32, Option<Box<CustomInput>>)>,
    /// Why none are known, where there is no cluster to ask.
    pub(super) unknown: Option<String>,
    /// What could not be read.
    pub(super) problems: Vec<String>,
    /// The exit code for that.
    pub(super) exit: Exit,
}

impl Existing {
    fn none() -> Self {
        Self { objects: Vec::new(), unknown: None, problems: Vec::new(), exit: Exit::Fine }
    }

    /// Where there is no cluster to ask.
    pub(super) fn unknown(reason: String) -> Self {
        Self { unknown: Some(reason), ..Self::none() }
    }

    pub(super) fn of_files(filename: &[String], namespace: &str) -> Self {
        let inputs = Inputs::find(filename);
        let mut problems: Vec<String> = inputs.problems().collect();
        let mut found = Vec::new();
        for input in &inputs.found {
            let Some(bytes) = input.read_or_add_to(&mut problems, MAX_FILE_SIZE) else {
                continue;
            };
            for document in documents(&bytes) {
                let document = Document { reads_custom: true, ..document };
                let document = Document { reads_custom: true, ..document };
                let content = document.read_of_file(namespace, input.is_explicit);
                let failures = content.failures.iter();
                problems.extend(failures.map(|failure| format!("{}:{failure}", input.name)));
                found.extend(content.objects);
            }
        }
        let mut all = InputObjects::default();
        for object in &found {
            all.add(object);
        }
        found.retain(|object| all.counts(object) && *object.facts.namespace == *namespace);
        let exit = if problems.is_empty() { Exit::Fine } else { Exit::Error };
        let objects =
            found.into_iter().map(|object| (object.facts, object.line, object.custom)).collect();
        Self { objects, unknown: None, problems, exit }
    }

    pub(super) async fn of_cluster(cluster: &Cluster, namespace: &str) -> Self {
        let mut existing = Self::none();
        let client = cluster.client();
        for (kind, path) in paths(namespace) {
            let operation = format!("cannot list objects of kind {kind} in namespace {namespace}");
            let read = pages::read(&client, &path, &operation, |page: Page<ObjectView>| {
                existing.objects.extend(page.objects.iter().filter_map(|object| {
                    (!is_made_by_controller(object)).then_some(())?;
                    Some((PodFacts::of_object(kind, object, namespace)?, 0, None))
                }));
            });
            if let Err(error) = read.await {
                existing.problems.push(error.to_string());
                existing.exit = Exit::Cluster;
            }
        }
        existing
    }

    /// What would become of each of them, were it created now. What has ended is left out.
    pub(super) fn admitted(&self, policies: &NamespacePolicies) -> Vec<AdmittedObject> {
        let live =
            self.objects.iter().filter(|(facts, ..)| facts.checked.lifecycle != Lifecycle::Ended);
        let admitted = live.map(|(facts, line, custom)| {
            let mut facts = facts.clone();
            facts.clear_status();
            let verdict = Creation::of(&facts).admit_with(
                custom.as_deref().cloned(),
                policies,
                Timestamp::now(),
            );
            AdmittedObject::of(&facts, (Arc::from(""), 1, *line), policies.judged.len(), &verdict)
        });
        admitted.collect()
    }
}

/// Whether another listed object makes it, such as the `ReplicaSet` a pod.
fn is_made_by_controller(object: &ObjectView) -> bool {
    let owners = object.metadata.owner_references.iter().flatten();
    let mut controllers = owners.into_iter().filter(|owner| owner.controller == Some(true));
    controllers.any(|owner| ObjectKind::of(&owner.api_version, &owner.kind).is_some())
}

/// The lists of a namespace, by the kind of their objects.
fn paths(namespace: &str) -> [(ObjectKind, String); 8] {
    fn of<K: Resource<DynamicType = ()>>(namespace: &str) -> String {
        K::url_path(&(), Some(namespace))
    }
    [
        (ObjectKind::Pod, of::<Pod>(namespace)),
        (ObjectKind::Deployment, of::<Deployment>(namespace)),
        (ObjectKind::StatefulSet, of::<StatefulSet>(namespace)),
        (ObjectKind::DaemonSet, of::<DaemonSet>(namespace)),
        (ObjectKind::ReplicaSet, of::<ReplicaSet>(namespace)),
        (ObjectKind::ReplicationController, of::<ReplicationController>(namespace)),
        (ObjectKind::Job, of::<Job>(namespace)),
        (ObjectKind::CronJob, of::<CronJob>(namespace)),
    ]
}
