//! A workload as the API server has it, as far as planning needs it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize as _;
use serde_json::Value;

use super::facts::OptIn;
use super::fields::Fields;
use super::lock::unlocked;
use super::owned::{our_entry, our_fields, owned};
use super::owner::Owner;
use super::template;
use crate::api::PATCHED_BY;
use crate::facts::{CheckedFacts, PodFacts, all_containers, pod_spec};
use crate::labels::Labels;
use crate::view::{ObjectView, SpecView};
use crate::workload::ObjectKind;

/// A Deployment, `StatefulSet` or `DaemonSet`.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub(super) labels: Labels,
    /// Its uid, which every write names: a later object of that name is another one.
    pub uid: String,
    /// The version that was read.
    pub resource_version: String,
    /// Who applies it.
    pub owner: Owner,
    /// What its annotation says.
    pub opt_in: OptIn,
    /// The policy in its annotation, as `namespace/name`.
    pub patched_by: Option<String>,
    /// The fields that the operator owns, with the values that they have now.
    pub ours: Fields,
    /// Whether the operator owns anything, if only the name of a container.
    pub is_ours: bool,
    /// The hash of its pod template without our fields.
    pub template: String,
    pub(super) controller: Option<String>,
    pub(super) is_deleted: bool,
    pub(super) rollout: Rollout,
    pub(super) facts: CheckedFacts,
    pub(super) containers: Vec<TargetContainer>,
    /// The requests and limits of the pod itself.
    pub(super) pod_resources: Value,
    /// Our part of its containers and init containers.
    pub(super) owned: [Vec<Value>; 2],
}

fn labels(labels: &Value) -> Labels {
    let labels = labels.as_object().into_iter().flatten();
    let texts = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    texts.collect::<BTreeMap<_, _>>().into()
}

/// How a workload replaces its pods.
#[derive(Clone, Debug, Default)]
pub struct Rollout {
    /// How many pods it should have.
    pub replicas: i64,
    /// How many are ready.
    pub ready: i64,
    /// Whether it is paused.
    pub is_paused: bool,
    /// `Recreate`, `OnDelete`, or a rolling update.
    pub strategy: String,
    /// `maxUnavailable` of a rolling update, as it is written.
    pub max_unavailable: Value,
    /// `maxSurge` of a rolling update, as it is written.
    pub max_surge: Value,
    /// The first ordinal that a rolling update of a `StatefulSet` reaches.
    pub partition: i64,
    /// How many old revisions are kept.
    pub history: i64,
}

/// A container of a target, in the order of its facts.
#[derive(Clone, Debug)]
pub(super) struct TargetContainer {
    pub(super) name: Arc<str>,
    /// The container as the API server has it.
    pub(super) live: Value,
}

impl Target {
    /// Reads a workload.
    ///
    /// # Errors
    /// It is of another kind, or has no containers.
    pub fn read(workload: &Value) -> Result<Self, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text(&workload["apiVersion"]), text(&workload["kind"]));
        let kind = ObjectKind::of(&api_version, &kind)
            .filter(|kind| {
                matches!(
                    kind,
                    ObjectKind::Deployment | ObjectKind::StatefulSet | ObjectKind::DaemonSet
                )
            })
            .ok_or_else(|| format!("a {kind} of {api_version} cannot be patched"))?;
        let entry = our_entry(workload).map(|(_, fields)| fields);
        let our_part = entry.map(|fields| owned(workload, fields)).unwrap_or_default();
        let (owner, ours) = (Owner::of(workload), our_fields(&our_part));
        let unlocked = locks_out(&owner, &ours).then(|| unlocked(workload, &ours));
        let planned = unlocked.as_ref().unwrap_or(workload);
        let spec = SpecView::deserialize(&planned["spec"]);
        let spec = spec.map_err(|error| format!("its spec cannot be read: {error}"))?;
        let facts = CheckedFacts::of_spec(kind, &spec).ok_or("it has no containers")?;
        let metadata = &workload["metadata"];
        Ok(Self {
            kind,
            namespace: text(&metadata["namespace"]),
            name: text(&metadata["name"]),
            labels: labels(&metadata["labels"]),
            uid: text(&metadata["uid"]),
            resource_version: text(&metadata["resourceVersion"]),
            owner,
            opt_in: OptIn::of(workload),
            patched_by: metadata["annotations"][PATCHED_BY].as_str().map(str::to_owned),
            ours,
            is_ours: entry.is_some(),
            template: template::hash(planned, entry.filter(|_| unlocked.is_none())),
            controller: controller(metadata),
            is_deleted: metadata["deletionTimestamp"].is_string(),
            rollout: Rollout::of(kind, workload),
            containers: containers(kind, &spec, planned),
            pod_resources: live_spec(kind, planned)["resources"].clone(),
            facts,
            owned: our_part,
        })
    }

    /// Reads an object of a manifest, of any kind that makes pods. Without a namespace it belongs to
    /// `namespace`. What only a cluster knows is empty.
    pub(crate) fn of_manifest(
        kind: ObjectKind,
        object: &Value,
        namespace: &str,
    ) -> Result<Self, String> {
        let view = ObjectView::deserialize(object);
        let view = view.map_err(|error| format!("cannot be read: {error}"))?;
        let facts = PodFacts::of_object(kind, &view, namespace).ok_or("has no containers")?;
        let metadata = &object["metadata"];
        Ok(Self {
            kind,
            namespace: facts.namespace.to_string(),
            name: facts.name.to_string(),
            labels: labels(&metadata["labels"]),
            uid: String::new(),
            resource_version: String::new(),
            owner: Owner::ClientSide,
            opt_in: OptIn::of(object),
            patched_by: None,
            ours: Fields::default(),
            is_ours: false,
            template: String::new(),
            controller: controller(metadata),
            is_deleted: metadata["deletionTimestamp"].is_string(),
            rollout: Rollout::default(),
            containers: containers(kind, &view.spec, object),
            pod_resources: live_spec(kind, object)["resources"].clone(),
            facts: facts.checked,
            owned: [Vec::new(), Vec::new()],
        })
    }

    /// The names of its containers.
    pub(crate) fn container_names(&self) -> impl Iterator<Item = &str> {
        self.containers.iter().map(|container| &*container.name)
    }

    /// Whether the next apply of the owner may fail because of what the operator owns. It is taken
    /// back then, and planned as if that had happened.
    #[must_use]
    pub fn locks_out(&self) -> bool {
        locks_out(&self.owner, &self.ours)
    }

    /// The workload as in a status: `Deployment/web`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }
}

fn locks_out(owner: &Owner, ours: &Fields) -> bool {
    !owner.can_share() && !ours.is_empty()
}

fn controller(metadata: &Value) -> Option<String> {
    let owners = metadata["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    let text = |field: &str| owner[field].as_str().unwrap_or_default();
    Some(format!("{} {}", text("kind"), text("name")))
}

/// The spec of its pods.
fn live_spec(kind: ObjectKind, workload: &Value) -> &Value {
    kind.pod_spec_path().into_iter().fold(workload, |value, field| &value[field])
}

/// Whether the `resources` of a pod have a request or a limit of that resource.
pub(super) fn is_set_for_pod(pod_resources: &Value, resource: &str) -> bool {
    ["requests", "limits"].iter().any(|list| !pod_resources[list][resource].is_null())
}

/// The containers in the order of [`CheckedFacts::containers`].
fn containers(kind: ObjectKind, spec: &SpecView, workload: &Value) -> Vec<TargetContainer> {
    let live = live_spec(kind, workload);
    let Some(spec) = pod_spec(kind, spec) else { return Vec::new() };
    all_containers(spec)
        .map(|(role, index, view)| TargetContainer {
            name: view.value.name.as_deref().unwrap_or_default().into(),
            live: live[role.field()][index].clone(),
        })
        .collect()
}

impl Rollout {
    fn of(kind: ObjectKind, workload: &Value) -> Self {
        let (spec, status) = (&workload["spec"], &workload["status"]);
        let strategy = match kind {
            ObjectKind::Deployment => &spec["strategy"],
            _ => &spec["updateStrategy"],
        };
        let number = |value: &Value, default| value.as_i64().unwrap_or(default);
        let rolling = &strategy["rollingUpdate"];
        let is_daemon_set = kind == ObjectKind::DaemonSet;
        let (replicas, ready) = if is_daemon_set {
            (&status["desiredNumberScheduled"], &status["numberReady"])
        } else {
            (&spec["replicas"], &status["readyReplicas"])
        };
        Self {
            replicas: number(replicas, i64::from(!is_daemon_set)),
            ready: number(ready, 0),
            is_paused: spec["paused"] == true,
            strategy: strategy["type"].as_str().unwrap_or("RollingUpdate").to_owned(),
            max_unavailable: rolling["maxUnavailable"].clone(),
            max_surge: rolling["maxSurge"].clone(),
            partition: number(&rolling["partition"], 0),
            history: number(&spec["revisionHistoryLimit"], 10),
        }
    }
}
