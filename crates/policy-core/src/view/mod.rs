//! Slim, lenient views of Kubernetes objects: only the fields that facts come from.
//!
//! One set of types decodes the API server's JSON (live pods, admission requests) and users'
//! manifests. Unknown fields are skipped without being stored, and `null` is the same as a missing
//! field. Each container from a manifest has its line ([`Located`]).

mod amount;
mod budget;
mod cluster_policy;
mod deployment;
mod excess;
mod lenient;
mod located;
mod metadata;
mod namespace;
mod object;
mod policy;
mod status;
mod template_at;
mod text;
mod volume;
mod workload;

pub use amount::Amount;
pub use budget::{BlockedPods, BudgetView};
pub use cluster_policy::{ClusterPart, ClusterPolicyView};
pub use deployment::DeploymentView;
pub(crate) use excess::MAX_CONTAINERS;
use excess::containers;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lenient::nullable;
pub(crate) use located::LOCATED;
pub use located::Located;
use metadata::slim_metadata;
pub use metadata::template_of;
pub(crate) use metadata::{POD_TEMPLATE_HASH, ROLLOUT_TEMPLATE_HASH};
pub use namespace::NamespaceView;
pub use object::ObjectView;
pub use policy::{Finalizers, MAX_FINALIZERS, PolicyView, Refused};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
pub use status::{
    ConditionsView, ContainerStatusView, PodStatusView, ReadyView, StateView, TerminatedView,
    WaitingView,
};
pub(crate) use template_at::TemplateAt;
pub(crate) use text::Text;
use volume::image_volumes;
pub use workload::WorkloadView;

/// A pod as the API server sends it. Usable with `kube::Api`, watches and admission reviews.
#[derive(kube_derive::Resource, Deserialize, Clone, Debug, Default)]
#[resource(inherit = "Pod", crates(kube_core = "::kube_core", k8s_openapi = "::k8s_openapi"))]
#[serde(default)]
pub struct PodView {
    /// Name, namespace, owners, and the fields that watches need; of labels only those that facts
    /// come from.
    #[serde(deserialize_with = "slim_metadata")]
    pub metadata: ObjectMeta,
    /// The spec.
    #[serde(deserialize_with = "nullable")]
    pub spec: SpecView,
    /// The status.
    #[serde(deserialize_with = "nullable")]
    pub status: PodStatusView,
}

/// The spec of a pod, or of an object with a pod template.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct SpecView {
    /// Regular containers.
    #[serde(deserialize_with = "containers")]
    pub containers: Vec<Located<ContainerView>>,
    /// Containers that run before the regular ones, or beside them with restartPolicy Always.
    #[serde(deserialize_with = "containers")]
    pub init_containers: Vec<Located<ContainerView>>,
    /// Containers added to a running pod for debugging.
    #[serde(deserialize_with = "containers")]
    pub ephemeral_containers: Vec<Located<ContainerView>>,
    /// The number of pods of a template; `None` where the default applies, and for a pod.
    pub replicas: Option<Amount>,
    /// Image volumes, each as a container that has an image and nothing else.
    #[serde(rename = "volumes", deserialize_with = "image_volumes")]
    pub image_volumes: Vec<Located<ContainerView>>,
    /// `Always` where it is missing.
    pub restart_policy: Option<String>,
    /// The gates that keep the pod from being scheduled.
    #[serde(deserialize_with = "nullable")]
    pub scheduling_gates: Vec<IgnoredAny>,
    /// Requests and limits of the pod as a whole.
    #[serde(deserialize_with = "nullable")]
    pub resources: ResourcesView,
    /// The pod template of a workload.
    pub template: Option<Box<PodTemplateView>>,
    /// The job template of a `CronJob`.
    pub job_template: Option<Box<JobTemplateView>>,
}

impl SpecView {
    /// Whether a list has so many containers that some of them are joined into one.
    pub(crate) fn has_joined_containers(&self) -> bool {
        [&self.containers, &self.init_containers, &self.ephemeral_containers, &self.image_volumes]
            .iter()
            .any(|list| list.len() > MAX_CONTAINERS)
    }
}

/// A pod template.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
pub struct PodTemplateView {
    /// The spec of the pods; has no template itself.
    #[serde(deserialize_with = "pod_spec")]
    pub spec: SpecView,
}

/// Decodes the spec of a pod. Kubernetes has no templates within templates, and decoding them would
/// recurse without limit.
fn pod_spec<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SpecView, D::Error> {
    #[derive(Deserialize, Default)]
    struct Spec(#[serde(with = "PodSpecView")] SpecView);
    nullable(deserializer).map(|Spec(spec)| spec)
}

/// The fields of a [`SpecView`] that a pod has.
#[derive(Deserialize, Default)]
#[serde(remote = "SpecView", default, rename_all = "camelCase")]
struct PodSpecView {
    #[serde(deserialize_with = "containers")]
    containers: Vec<Located<ContainerView>>,
    #[serde(deserialize_with = "containers")]
    init_containers: Vec<Located<ContainerView>>,
    #[serde(deserialize_with = "containers")]
    ephemeral_containers: Vec<Located<ContainerView>>,
    #[serde(rename = "volumes", deserialize_with = "image_volumes")]
    image_volumes: Vec<Located<ContainerView>>,
    restart_policy: Option<String>,
    #[serde(deserialize_with = "nullable")]
    scheduling_gates: Vec<IgnoredAny>,
    #[serde(deserialize_with = "nullable")]
    resources: ResourcesView,
    #[serde(skip)]
    replicas: Option<Amount>,
    #[serde(skip)]
    template: Option<Box<PodTemplateView>>,
    #[serde(skip)]
    job_template: Option<Box<JobTemplateView>>,
}

/// The job template of a `CronJob`.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
pub struct JobTemplateView {
    /// The spec of the Jobs.
    #[serde(deserialize_with = "nullable")]
    pub spec: JobSpecView,
}

/// The spec of a Job.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
pub struct JobSpecView {
    /// The pod template.
    #[serde(deserialize_with = "nullable")]
    pub template: PodTemplateView,
}

/// A container of any role.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerView {
    /// The name, unique in its pod.
    pub name: Option<String>,
    /// The image reference as written.
    pub image: Option<String>,
    /// `Always` on an init container makes it a native sidecar
    /// ([KEP-753](https://github.com/kubernetes/enhancements/issues/753)); on a regular container
    /// it takes precedence over the pod's
    /// ([KEP-5307](https://github.com/kubernetes/enhancements/issues/5307)).
    pub restart_policy: Option<String>,
    /// The liveness probe.
    #[serde(deserialize_with = "nullable")]
    pub liveness_probe: ProbeView,
    /// The readiness probe.
    #[serde(deserialize_with = "nullable")]
    pub readiness_probe: ProbeView,
    /// Requests and limits.
    #[serde(deserialize_with = "nullable")]
    pub resources: ResourcesView,
}

/// A probe: which handler it has.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct ProbeView {
    http_get: Option<IgnoredAny>,
    tcp_socket: Option<IgnoredAny>,
    exec: Option<IgnoredAny>,
    grpc: Option<IgnoredAny>,
}

impl ProbeView {
    /// Whether the probe has a handler; `livenessProbe: {}` has none.
    #[must_use]
    pub fn is_set(&self) -> bool {
        [&self.http_get, &self.tcp_socket, &self.exec, &self.grpc]
            .iter()
            .any(|handler| handler.is_some())
    }
}

/// Whether a probe has a handler.
pub(crate) fn has_handler(probe: &serde_json::Value) -> bool {
    ProbeView::deserialize(probe).is_ok_and(|probe| probe.is_set())
}

/// Requests and limits of a container or pod.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
pub struct ResourcesView {
    /// The requests.
    #[serde(deserialize_with = "nullable")]
    pub requests: AmountsView,
    /// The limits.
    #[serde(deserialize_with = "nullable")]
    pub limits: AmountsView,
}

/// Amounts of CPU and memory.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
pub struct AmountsView {
    /// CPU.
    pub cpu: Amount,
    /// Memory.
    pub memory: Amount,
}
