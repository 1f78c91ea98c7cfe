//! Slim, lenient views of Kubernetes objects: only the fields that facts come from.
//!
//! One set of types reads the API server's JSON (live pods, admission requests) and users'
//! manifests. Unknown fields are skipped without being stored, a missing field and `null` mean
//! the same, and from a manifest each container keeps its line ([`Located`]; without a position
//! where the input is JSON from the API server).

mod amount;
mod lenient;
mod located;
mod metadata;
mod object;
mod policy;
mod status;
mod text;
mod volume;

pub use amount::Amount;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lenient::{bounded, nullable};
pub(crate) use located::LOCATED;
pub use located::Located;
use metadata::slim_metadata;
pub(crate) use metadata::{MIRROR_POD, POD_TEMPLATE_HASH};
pub use object::ObjectView;
pub(crate) use object::{MAX_ITEMS, items};
pub use policy::{PolicyView, Refused, policy_metadata};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
pub use status::{ConditionsView, ContainerStatusView, PodStatusView};
pub(crate) use text::Text;
use volume::image_volumes;

/// More than an API server can store in one pod: etcd takes 1.5 MiB, and a container takes about
/// 140 bytes once the server's defaults are set. What exceeds it is dropped while decoding.
const MAX_CONTAINERS: usize = 16_384;

/// A pod as the API server sends it. Usable with `kube::Api`, watches and admission reviews.
#[derive(kube_derive::Resource, Deserialize, Clone, Debug, Default)]
#[resource(inherit = "Pod", crates(kube_core = "::kube_core", k8s_openapi = "::k8s_openapi"))]
#[serde(default)]
pub struct PodView {
    /// Name, namespace, owners, and what watches need; labels and annotations only as far as
    /// facts come from them.
    #[serde(deserialize_with = "slim_metadata")]
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(deserialize_with = "nullable")]
    pub spec: SpecView,
    /// What is.
    #[serde(deserialize_with = "nullable")]
    pub status: PodStatusView,
}

/// The spec of a pod, or of an object that holds a pod template.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct SpecView {
    /// Regular containers.
    #[serde(deserialize_with = "bounded::<_, _, MAX_CONTAINERS>")]
    pub containers: Vec<Located<ContainerView>>,
    /// Containers that run before the regular ones, or beside them with restartPolicy Always.
    #[serde(deserialize_with = "bounded::<_, _, MAX_CONTAINERS>")]
    pub init_containers: Vec<Located<ContainerView>>,
    /// Containers added to a running pod for debugging.
    #[serde(deserialize_with = "bounded::<_, _, MAX_CONTAINERS>")]
    pub ephemeral_containers: Vec<Located<ContainerView>>,
    /// How many pods a template has; `None` where the default counts, and for a pod.
    pub replicas: Option<Amount>,
    /// Image volumes, each as a container that has an image and nothing else.
    #[serde(rename = "volumes", deserialize_with = "image_volumes")]
    pub image_volumes: Vec<Located<ContainerView>>,
    /// `Always` where left out.
    pub restart_policy: Option<String>,
    /// What keeps the pod from being scheduled on purpose.
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

/// A pod template.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
pub struct PodTemplateView {
    /// What the pods of this template are to be; holds no template itself.
    #[serde(deserialize_with = "pod_spec")]
    pub spec: SpecView,
}

/// Reads the spec of a pod. A template in it is nothing that Kubernetes has, and templates in
/// templates would take memory without end.
fn pod_spec<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SpecView, D::Error> {
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct PodSpec {
        #[serde(deserialize_with = "bounded::<_, _, MAX_CONTAINERS>")]
        containers: Vec<Located<ContainerView>>,
        #[serde(deserialize_with = "bounded::<_, _, MAX_CONTAINERS>")]
        init_containers: Vec<Located<ContainerView>>,
        #[serde(deserialize_with = "bounded::<_, _, MAX_CONTAINERS>")]
        ephemeral_containers: Vec<Located<ContainerView>>,
        #[serde(rename = "volumes", deserialize_with = "image_volumes")]
        image_volumes: Vec<Located<ContainerView>>,
        restart_policy: Option<String>,
        #[serde(deserialize_with = "nullable")]
        scheduling_gates: Vec<IgnoredAny>,
        #[serde(deserialize_with = "nullable")]
        resources: ResourcesView,
    }
    let PodSpec {
        containers,
        init_containers,
        ephemeral_containers,
        image_volumes,
        restart_policy,
        scheduling_gates,
        resources,
    } = nullable(deserializer)?;
    Ok(SpecView {
        containers,
        init_containers,
        ephemeral_containers,
        image_volumes,
        restart_policy,
        scheduling_gates,
        resources,
        replicas: None,
        template: None,
        job_template: None,
    })
}

/// The job template of a `CronJob`.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
pub struct JobTemplateView {
    /// What the jobs of this template are to be.
    #[serde(deserialize_with = "nullable")]
    pub spec: JobSpecView,
}

/// The spec of a job.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
pub struct JobSpecView {
    /// The pod template.
    #[serde(deserialize_with = "nullable")]
    pub template: PodTemplateView,
}

/// A container of any sort.
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

/// A probe: which way of probing it has.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct ProbeView {
    http_get: Option<IgnoredAny>,
    tcp_socket: Option<IgnoredAny>,
    exec: Option<IgnoredAny>,
    grpc: Option<IgnoredAny>,
}

impl ProbeView {
    /// Whether the probe probes anything; `livenessProbe: {}` does not.
    #[must_use]
    pub fn is_set(&self) -> bool {
        [&self.http_get, &self.tcp_socket, &self.exec, &self.grpc].iter().any(|way| way.is_some())
    }
}

/// Requests and limits: which of them are set.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
pub struct ResourcesView {
    /// What is set aside.
    #[serde(deserialize_with = "nullable")]
    pub requests: AmountsView,
    /// What may be used.
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
