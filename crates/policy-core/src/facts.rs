//! What the checks look at: everything about a pod or pod template that a verdict depends on.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use crate::image::ImageReference;
use crate::text::bounded_name;
use crate::view::{
    Amount, ContainerStatusView, ContainerView, Located, MIRROR_POD, ObjectView, PodStatusView,
    PodView, ResourcesView, SpecView,
};
use crate::workload::{ObjectKind, Workload};

/// The name shown for an object that has none; the API server would refuse it.
const UNNAMED: &str = "(unnamed)";

/// The facts of one pod or pod template, and which one it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The kind of the object that was read.
    pub kind: ObjectKind,
    /// The name of the object that was read; its `generateName` where it has none yet.
    pub name: Box<str>,
    /// What a user would change to change the pod.
    pub workload: Workload,
    /// Whether it is the mirror of a static pod, which cannot be patched.
    pub is_mirror: bool,
    /// What the checks look at.
    pub checked: CheckedFacts,
}

/// All that a check may look at: the engine's whole input beside policy and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedFacts {
    /// Whether the kubelet restarts its containers for ever; else it is one-shot and needs no
    /// probes.
    pub restarts_always: bool,
    /// Where the pod stands in its life; a template is [`Lifecycle::Active`].
    pub lifecycle: Lifecycle,
    /// Regular containers, then init containers, then ephemeral ones, in the order written.
    pub containers: Vec<ContainerFacts>,
}

/// Where a pod stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Running, or held back on purpose by a scheduling gate, or not yet a pod.
    Active,
    /// Waiting for a node or an image.
    Pending {
        /// When it was created, in seconds since 1970; `None` where nobody says.
        since: Option<i64>,
    },
    /// Succeeded or Failed; not counted.
    Ended,
}

/// The facts of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerFacts {
    /// The name; its place, such as `containers[0]`, where it has none. Many pods have the same.
    pub name: Arc<str>,
    /// Which sort of container it is.
    pub role: ContainerRole,
    /// What its image reference says.
    pub image: ImageFact,
    /// Whether it has a liveness probe that probes something.
    pub has_liveness_probe: bool,
    /// Whether it has a readiness probe that probes something.
    pub has_readiness_probe: bool,
    /// Which requests and limits it lacks, after the pod's own and the API's defaults.
    pub missing_resources: ResourceGaps,
    /// How often it restarted.
    pub restarts: u32,
}

/// The sort of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContainerRole {
    /// Runs for the pod's whole life.
    Regular,
    /// An init container with restartPolicy Always (KEP-753): runs for the pod's whole life.
    Sidecar,
    /// Runs to its end before the regular ones start.
    Init,
    /// Added to a running pod for debugging.
    Ephemeral,
}

impl ContainerRole {
    /// Whether the container serves for the pod's whole life, so that probes, requests and
    /// limits make sense.
    #[must_use]
    pub const fn is_long_running(self) -> bool {
        matches!(self, Self::Regular | Self::Sidecar)
    }

    /// The field of a pod spec that lists such containers.
    const fn field(self) -> &'static str {
        match self {
            Self::Regular => "containers",
            Self::Sidecar | Self::Init => "initContainers",
            Self::Ephemeral => "ephemeralContainers",
        }
    }
}

/// What an image reference says about the image that will run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFact {
    /// There is no reference; something else fills it in.
    Absent,
    /// A digest, or a tag other than `latest`.
    Pinned,
    /// Neither, or not a reference at all.
    NotPinned,
}

impl ImageFact {
    fn of(image: Option<&str>) -> Self {
        match image {
            None | Some("") => Self::Absent,
            Some(text) if ImageReference::parse(text).is_some_and(|image| image.is_pinned()) => {
                Self::Pinned
            }
            Some(_) => Self::NotPinned,
        }
    }
}

/// The requests and limits that a container lacks. A CPU limit is not demanded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceGaps {
    /// No CPU request.
    pub cpu_request: bool,
    /// No memory request.
    pub memory_request: bool,
    /// No memory limit.
    pub memory_limit: bool,
}

impl ResourceGaps {
    /// A limit without a request sets the request, as the API server does; the pod's own
    /// resources (KEP-2837) count for every container.
    fn of(container: &ResourcesView, pod: &ResourcesView) -> Self {
        use Amount::{Positive, Unset};
        let unset = |is_set: fn(&ResourcesView) -> bool| !is_set(container) && !is_set(pod);
        Self {
            cpu_request: unset(|r| r.requests.cpu != Unset || r.limits.cpu == Positive),
            memory_request: unset(|r| r.requests.memory != Unset || r.limits.memory == Positive),
            memory_limit: unset(|r| r.limits.memory == Positive),
        }
    }

    /// Whether anything is missing.
    #[must_use]
    pub const fn any(self) -> bool {
        self.cpu_request || self.memory_request || self.memory_limit
    }
}

impl PodFacts {
    /// The facts of a pod. `namespace` is used where the pod names none.
    #[must_use]
    pub fn of_pod(pod: &PodView, namespace: &str) -> Self {
        facts(ObjectKind::Pod, &pod.metadata, &pod.spec, Some(&pod.status), namespace)
    }

    /// The facts of an object of that kind: of the pod itself, or of the pods of its template.
    /// `None` where it has no containers, which no API server takes.
    #[must_use]
    pub fn of_object(kind: ObjectKind, object: &ObjectView, namespace: &str) -> Option<Self> {
        let status = (kind == ObjectKind::Pod).then_some(&object.status);
        let spec = spec_of_pods(kind, &object.spec)?;
        Some(facts(kind, &object.metadata, spec, status, namespace))
    }

    /// The facts without what the status says: at admission anybody may have written it.
    #[must_use]
    pub fn without_status(mut self) -> Self {
        self.checked.lifecycle = Lifecycle::Active;
        for container in &mut self.checked.containers {
            container.restarts = 0;
        }
        self
    }
}

impl CheckedFacts {
    /// What the spec of an object of that kind says of its pods; what a status says is not among
    /// it. `None` where it has no containers, which no API server takes.
    #[must_use]
    pub fn of_spec(kind: ObjectKind, spec: &SpecView) -> Option<Self> {
        let spec = spec_of_pods(kind, spec)?;
        Some(Self::of(kind, spec, Lifecycle::Active, &Restarts::default()))
    }

    fn of(
        kind: ObjectKind,
        spec: &SpecView,
        lifecycle: Lifecycle,
        restarts: &Restarts<'_>,
    ) -> Self {
        Self {
            restarts_always: !kind.runs_to_completion()
                && spec
                    .restart_policy
                    .as_deref()
                    .is_none_or(|policy| matches!(policy, "" | "Always")),
            lifecycle,
            containers: all_containers(spec)
                .map(|(role, index, container)| {
                    container_facts(role, index, &container.value, &spec.resources, restarts)
                })
                .collect(),
        }
    }
}

/// Where the pods of an object of that kind are described; `None` without containers.
fn spec_of_pods(kind: ObjectKind, spec: &SpecView) -> Option<&SpecView> {
    pod_spec(kind, spec).filter(|spec| !spec.containers.is_empty())
}

/// Where the pods of an object of that kind are described.
pub(crate) fn pod_spec(kind: ObjectKind, spec: &SpecView) -> Option<&SpecView> {
    match kind {
        ObjectKind::Pod => Some(spec),
        ObjectKind::CronJob => spec.job_template.as_ref().map(|job| &job.spec.template.spec),
        _ => spec.template.as_ref().map(|template| &template.spec),
    }
}

/// All containers of a pod spec in the order of [`CheckedFacts::containers`], with their place in
/// their list.
pub(crate) fn all_containers(
    spec: &SpecView,
) -> impl Iterator<Item = (ContainerRole, usize, &Located<ContainerView>)> {
    let regular = spec.containers.iter().map(|c| (ContainerRole::Regular, c)).enumerate();
    let init = spec.init_containers.iter().map(|c| (init_role(&c.value), c)).enumerate();
    let ephemeral = spec.ephemeral_containers.iter().map(|c| (ContainerRole::Ephemeral, c));
    regular.chain(init).chain(ephemeral.enumerate()).map(|(index, (role, c))| (role, index, c))
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
    let name = [&metadata.name, &metadata.generate_name]
        .into_iter()
        .find_map(|name| name.as_deref().filter(|name| !name.is_empty()))
        .map_or(UNNAMED, bounded_name);
    PodFacts {
        namespace: metadata
            .namespace
            .as_deref()
            .filter(|name| !name.is_empty())
            .map_or(namespace, bounded_name)
            .into(),
        kind,
        name: name.into(),
        workload: Workload::of(kind, name, metadata),
        is_mirror: metadata.annotations.as_ref().is_some_and(|a| a.contains_key(MIRROR_POD)),
        checked: CheckedFacts::of(
            kind,
            spec,
            lifecycle(metadata, spec, status),
            &Restarts::of(status),
        ),
    }
}

fn lifecycle(metadata: &ObjectMeta, spec: &SpecView, status: Option<&PodStatusView>) -> Lifecycle {
    match status.and_then(|status| status.phase.as_deref()) {
        Some("Succeeded" | "Failed") => Lifecycle::Ended,
        Some("Pending") if spec.scheduling_gates.is_empty() => Lifecycle::Pending {
            since: metadata.creation_timestamp.as_ref().map(|time| Timestamp::as_second(time.0)),
        },
        _ => Lifecycle::Active,
    }
}

/// The restart counts of the containers that restarted at all, which most never do.
#[derive(Default)]
struct Restarts<'a> {
    containers: BTreeMap<&'a str, u32>,
    init_containers: BTreeMap<&'a str, u32>,
}

impl<'a> Restarts<'a> {
    fn of(status: Option<&'a PodStatusView>) -> Self {
        let counts = |statuses: &'a [ContainerStatusView]| {
            statuses
                .iter()
                .filter_map(|status| Some((status.name.as_deref()?, status.restart_count?)))
                .filter(|(_, count)| *count > 0)
                .map(|(name, count)| (name, u32::try_from(count).unwrap_or(u32::MAX)))
                .collect()
        };
        status.map_or_else(Self::default, |status| Self {
            containers: counts(&status.container_statuses),
            init_containers: counts(&status.init_container_statuses),
        })
    }

    fn count(&self, role: ContainerRole, name: &str) -> u32 {
        let counts = match role {
            ContainerRole::Regular => &self.containers,
            ContainerRole::Sidecar | ContainerRole::Init => &self.init_containers,
            ContainerRole::Ephemeral => return 0,
        };
        counts.get(name).copied().unwrap_or(0)
    }
}

fn container_facts(
    role: ContainerRole,
    index: usize,
    container: &ContainerView,
    pod_resources: &ResourcesView,
    restarts: &Restarts<'_>,
) -> ContainerFacts {
    let name: Arc<str> = match container.name.as_deref() {
        Some(name) if !name.is_empty() => bounded_name(name).into(),
        _ => format!("{}[{index}]", role.field()).into(),
    };
    ContainerFacts {
        role,
        image: ImageFact::of(container.image.as_deref()),
        has_liveness_probe: container.liveness_probe.is_set(),
        has_readiness_probe: container.readiness_probe.is_set(),
        missing_resources: ResourceGaps::of(&container.resources, pod_resources),
        restarts: restarts.count(role, &name),
        name,
    }
}

#[cfg(test)]
mod tests;
