//! The input of the checks: everything about a pod or pod template that a verdict depends on.

mod images;
mod lifecycle;
mod resources;
mod run;

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub use images::{ContainerImage, PodImages};
pub use lifecycle::Lifecycle;
pub use resources::{ResourceGap, ResourceGaps};
use run::StatusesByName;
pub use run::{End, RunFacts, Runs};

use crate::image::ImageReference;
use crate::text::{bounded_name, prefix};
use crate::view::{
    ContainerView, Located, ObjectView, PodStatusView, PodView, ResourcesView, SpecView,
};
use crate::workload::{ObjectKind, Workload};

/// The displayed name of an object without a name, which the API server would refuse.
const UNNAMED: &str = "(unnamed)";
/// The longest image reference that is stored, in characters; no registry accepts a longer one. A
/// name has at most 255 characters, a tag 128, a digest 135.
const MAX_IMAGE: usize = 520;

/// The facts of one pod or pod template, with its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The kind of the object.
    pub kind: ObjectKind,
    /// The name of the object; its `generateName` where it has no name yet.
    pub name: Box<str>,
    /// When it was created, in seconds since 1970; 0 where that is not known. It tells apart pods of
    /// one name, as those of a `StatefulSet`.
    pub created: u32,
    /// The object that a user would change to change the pod. Shared, because it has several.
    pub workload: Arc<Workload>,
    /// What it runs by images that name no digest, as far as that is known. No check depends on it. Shared
    /// by the pods of a workload, which mostly run the same.
    pub images: Option<Arc<PodImages>>,
    /// The input of the checks.
    pub checked: CheckedFacts,
}

/// The input of the checks, beside policy and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedFacts {
    /// The phase; a template is [`Lifecycle::Active`] unless its Job has ended.
    pub lifecycle: Lifecycle,
    /// Regular containers, then init containers, ephemeral containers and image volumes, each in
    /// the order of their list. Only of the spec, so that the pods of a workload can share them.
    pub containers: Arc<[ContainerFacts]>,
    /// How containers run that are in trouble; none in a template.
    pub runs: Runs,
    /// The budget that never allows an eviction of the pod, as far as it is known: the pod itself does not
    /// say. A thin pointer, because each pod has it and nearly none has a budget.
    pub blocking_budget: Option<Arc<BudgetName>>,
}

/// The name of a `PodDisruptionBudget`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetName(pub Box<str>);

/// The facts of one container, or of one image volume, in the spec.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerFacts {
    /// The name; its path, such as `containers[0]` or `volumes[models]`, where it has none. Shared,
    /// because many pods have containers of the same name.
    pub name: Arc<str>,
    /// Which sort of container it is.
    pub role: ContainerRole,
    /// Whether its image is pinned.
    pub image: ImageFact,
    /// Whether the kubelet restarts it whenever it ends. A container that may end needs no probes.
    pub restarts_always: bool,
    /// Whether it has a liveness probe with a handler.
    pub has_liveness_probe: bool,
    /// Whether it has a readiness probe with a handler.
    pub has_readiness_probe: bool,
    /// The requests and limits that it lacks.
    pub missing_resources: ResourceGaps,
}

/// The sort of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContainerRole {
    /// A member of `containers`.
    Regular,
    /// An init container with restartPolicy Always
    /// ([KEP-753](https://github.com/kubernetes/enhancements/issues/753)), which runs as long as
    /// the pod.
    Sidecar,
    /// Any other init container, which ends before the regular ones start.
    Init,
    /// Added to a running pod for debugging.
    Ephemeral,
    /// Not a container: a volume with the content of an image
    /// ([KEP-4639](https://github.com/kubernetes/enhancements/issues/4639)).
    ImageVolume,
}

impl ContainerRole {
    /// Whether the container runs beside the others, so that requests and limits make sense.
    #[must_use]
    pub const fn is_long_running(self) -> bool {
        matches!(self, Self::Regular | Self::Sidecar)
    }

    /// The field of a pod spec that lists such containers.
    pub(crate) const fn field(self) -> &'static str {
        match self {
            Self::Regular => "containers",
            Self::Sidecar | Self::Init => "initContainers",
            Self::Ephemeral => "ephemeralContainers",
            Self::ImageVolume => "volumes",
        }
    }
}

/// Whether an image is pinned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ImageFact {
    /// There is no reference. Something else fills it in.
    Absent,
    /// It has a digest, or a tag other than `latest`.
    Pinned,
    /// It has neither, or cannot be parsed. This is its text, for messages.
    NotPinned(Arc<str>),
}

impl ImageFact {
    fn of(image: Option<&str>) -> Self {
        match image {
            None | Some("") => Self::Absent,
            Some(text) if ImageReference::parse(text).is_some_and(|image| image.is_pinned()) => {
                Self::Pinned
            }
            Some(text) => Self::NotPinned(prefix(text, MAX_IMAGE, usize::MAX).into()),
        }
    }
}

impl ContainerFacts {
    /// Whether the container should have probes.
    #[must_use]
    pub fn needs_probes(&self) -> bool {
        self.role.is_long_running() && self.restarts_always
    }
}

impl PodFacts {
    /// The facts of a pod. `namespace` is used where the pod names none.
    #[must_use]
    pub fn of_pod(pod: &PodView, namespace: &str) -> Self {
        facts(ObjectKind::Pod, &pod.metadata, &pod.spec, Some(&pod.status), namespace)
    }

    /// The facts of an object of that kind: of the pod itself, or of the pods of its template.
    /// `None` where it has no containers, which the API server refuses.
    #[must_use]
    pub fn of_object(kind: ObjectKind, object: &ObjectView, namespace: &str) -> Option<Self> {
        let status = (kind == ObjectKind::Pod).then_some(&object.status);
        let spec = spec_with_containers(kind, &object.spec)?;
        let mut facts = facts(kind, &object.metadata, spec, status, namespace);
        if kind == ObjectKind::Job && object.status.has_job_ended() {
            facts.checked.lifecycle = Lifecycle::Ended;
        }
        Some(facts)
    }

    /// Drops the facts of the status, which do not count at admission.
    pub fn clear_status(&mut self) {
        self.checked.lifecycle = Lifecycle::Active;
        self.checked.runs = Runs::default();
        self.checked.blocking_budget = None;
        self.images = None;
    }
}

impl CheckedFacts {
    /// The facts of the pods that an object of that kind describes in its spec, without a status.
    /// `None` where it has no containers, which the API server refuses.
    #[must_use]
    pub fn of_spec(kind: ObjectKind, spec: &SpecView) -> Option<Self> {
        let spec = spec_with_containers(kind, spec)?;
        Some(Self::of(kind, spec, Lifecycle::Active, &StatusesByName::default()))
    }

    fn of(
        kind: ObjectKind,
        spec: &SpecView,
        lifecycle: Lifecycle,
        runs: &StatusesByName<'_>,
    ) -> Self {
        let pod = PodSettings {
            restarts_always: !kind.runs_to_completion()
                && restarts_always(spec.restart_policy.as_deref()).unwrap_or(true),
            resources: &spec.resources,
        };
        let containers: Arc<[_]> = all_containers(spec)
            .map(|(role, index, container)| pod.container_facts(role, index, &container.value))
            .collect();
        let runs = runs.of_containers(&containers);
        Self { lifecycle, containers, runs, blocking_budget: None }
    }

    /// How the container of that index runs; `None` where it has no trouble, and in a template.
    #[must_use]
    pub fn run(&self, container: usize) -> Option<&RunFacts> {
        self.runs.iter().find(|run| run.container == container)
    }
}

/// Whether a restartPolicy says so; `None` where there is none.
fn restarts_always(policy: Option<&str>) -> Option<bool> {
    policy.filter(|policy| !policy.is_empty()).map(|policy| policy == "Always")
}

fn spec_with_containers(kind: ObjectKind, spec: &SpecView) -> Option<&SpecView> {
    pod_spec(kind, spec).filter(|spec| !spec.containers.is_empty())
}

/// The pod spec in the spec of an object of that kind.
pub(crate) fn pod_spec(kind: ObjectKind, spec: &SpecView) -> Option<&SpecView> {
    match kind {
        ObjectKind::Pod => Some(spec),
        ObjectKind::CronJob => spec.job_template.as_ref().map(|job| &job.spec.template.spec),
        _ => spec.template.as_ref().map(|template| &template.spec),
    }
}

/// All containers of a pod spec in the order of [`CheckedFacts::containers`], each with its index
/// in its own list.
pub(crate) fn all_containers(
    spec: &SpecView,
) -> impl Iterator<Item = (ContainerRole, usize, &Located<ContainerView>)> {
    let regular = spec.containers.iter().map(|c| (ContainerRole::Regular, c)).enumerate();
    let init = spec.init_containers.iter().map(|c| (init_role(&c.value), c)).enumerate();
    let ephemeral = spec.ephemeral_containers.iter().map(|c| (ContainerRole::Ephemeral, c));
    let volumes = spec.image_volumes.iter().map(|c| (ContainerRole::ImageVolume, c));
    let all = regular.chain(init).chain(ephemeral.enumerate()).chain(volumes.enumerate());
    all.map(|(index, (role, container))| (role, index, container))
}

fn init_role(container: &ContainerView) -> ContainerRole {
    match container.restart_policy.as_deref() {
        Some("Always") => ContainerRole::Sidecar,
        _ => ContainerRole::Init,
    }
}

fn facts(
    kind: ObjectKind,
    metadata: &ObjectMeta,
    spec: &SpecView,
    status: Option<&PodStatusView>,
    namespace: &str,
) -> PodFacts {
    let name = given_name(metadata.name.as_deref(), metadata.generate_name.as_deref());
    let name = name.unwrap_or(UNNAMED);
    let lifecycle =
        status.map_or(Lifecycle::Active, |status| Lifecycle::of(metadata, spec, status));
    let runs = status.map(StatusesByName::of).unwrap_or_default();
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0.as_second());
    let checked = CheckedFacts::of(kind, spec, lifecycle, &runs);
    PodFacts {
        created: created.and_then(|second| second.try_into().ok()).unwrap_or_default(),
        namespace: metadata
            .namespace
            .as_deref()
            .filter(|name| !name.is_empty())
            .map_or(namespace, bounded_name)
            .into(),
        kind,
        name: name.into(),
        workload: Arc::new(Workload::of(kind, name, metadata)),
        images: status.and_then(|status| PodImages::of(&checked.containers, spec, status)),
        checked,
    }
}

/// The name of an object as facts have it; `None` where it has none.
pub(crate) fn given_name<'a>(
    name: Option<&'a str>,
    generate_name: Option<&'a str>,
) -> Option<&'a str> {
    let given = [name, generate_name].into_iter().flatten().find(|name| !name.is_empty());
    given.map(bounded_name)
}

/// The settings of a pod that apply to all its containers.
struct PodSettings<'a> {
    restarts_always: bool,
    resources: &'a ResourcesView,
}

impl PodSettings<'_> {
    fn container_facts(
        &self,
        role: ContainerRole,
        index: usize,
        container: &ContainerView,
    ) -> ContainerFacts {
        let name: Arc<str> = match container.name.as_deref() {
            Some(name) if !name.is_empty() => bounded_name(name).into(),
            _ => format!("{}[{index}]", role.field()).into(),
        };
        // KEP-5307. A sidecar ends with its pod, so there the pod's restartPolicy counts.
        let own_policy = container.restart_policy.as_deref();
        let own_policy = own_policy.filter(|_| role == ContainerRole::Regular);
        ContainerFacts {
            role,
            image: ImageFact::of(container.image.as_deref()),
            restarts_always: restarts_always(own_policy).unwrap_or(self.restarts_always),
            has_liveness_probe: container.liveness_probe.is_set(),
            has_readiness_probe: container.readiness_probe.is_set(),
            missing_resources: ResourceGaps::of(&container.resources, self.resources),
            name,
        }
    }
}

#[cfg(test)]
mod tests;
