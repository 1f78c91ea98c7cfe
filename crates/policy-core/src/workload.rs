//! Kinds that make pods, and the workload that a pod belongs to.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::Serialize;

use crate::text::bounded_name;
use crate::view::POD_TEMPLATE_HASH;

/// A kind that is analysed: a pod, or a kind with a pod template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// `v1` Pod.
    Pod,
    /// `apps` Deployment.
    Deployment,
    /// `apps` `StatefulSet`.
    StatefulSet,
    /// `apps` `DaemonSet`.
    DaemonSet,
    /// `apps` `ReplicaSet`.
    ReplicaSet,
    /// `v1` `ReplicationController`.
    ReplicationController,
    /// `batch` Job.
    Job,
    /// `batch` `CronJob`.
    CronJob,
}

impl ObjectKind {
    /// All kinds that are analysed.
    pub const ALL: [Self; 8] = [
        Self::Pod,
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::ReplicaSet,
        Self::ReplicationController,
        Self::Job,
        Self::CronJob,
    ];

    /// The kind as it stands in a manifest.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::ReplicaSet => "ReplicaSet",
            Self::ReplicationController => "ReplicationController",
            Self::Job => "Job",
            Self::CronJob => "CronJob",
        }
    }

    /// The API group that the kind is served in; the core group is the empty one.
    const fn group(self) -> &'static str {
        match self {
            Self::Pod | Self::ReplicationController => "",
            Self::Deployment | Self::StatefulSet | Self::DaemonSet | Self::ReplicaSet => "apps",
            Self::Job | Self::CronJob => "batch",
        }
    }

    /// Whether the kind is or was served in that group.
    fn is_of_group(self, group: &str) -> bool {
        match self.group() {
            // Not by comparing: that takes a hundred times as long where both are empty, as a
            // masked load of bytes that are not there has to be mended by the processor.
            "" => group.is_empty(),
            "apps" => matches!(group, "apps" | "extensions"),
            own => group == own,
        }
    }

    /// The kind of a manifest; `None` where it is not one that is analysed. The version of the
    /// group does not matter.
    #[must_use]
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        Self::in_group(group(api_version), kind)
    }

    /// The same for who knows the group without the version.
    #[must_use]
    pub fn in_group(group: &str, kind: &str) -> Option<Self> {
        Self::named(kind).filter(|found| found.is_of_group(group))
    }

    /// The kind of that name, whatever its group.
    #[must_use]
    pub fn named(kind: &str) -> Option<Self> {
        Some(match kind {
            "Pod" => Self::Pod,
            "Deployment" => Self::Deployment,
            "StatefulSet" => Self::StatefulSet,
            "DaemonSet" => Self::DaemonSet,
            "ReplicaSet" => Self::ReplicaSet,
            "ReplicationController" => Self::ReplicationController,
            "Job" => Self::Job,
            "CronJob" => Self::CronJob,
            _ => return None,
        })
    }

    /// Whether the pods of this kind run to their end by the kind's nature.
    #[must_use]
    pub const fn runs_to_completion(self) -> bool {
        matches!(self, Self::Job | Self::CronJob)
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a user would change to change a pod: its controller, through a `ReplicaSet` to the
/// Deployment; else the pod itself. Any kind of any group may own pods.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// The API group; empty for the core group, and where an owner does not say it. Tells an
    /// `apps` `StatefulSet` from another project's.
    #[serde(skip)]
    pub group: Arc<str>,
    /// The kind.
    pub kind: Arc<str>,
    /// The name, in the namespace of the pod.
    pub name: Arc<str>,
}

impl Workload {
    /// The workload of an object with that metadata.
    #[must_use]
    pub fn of(kind: ObjectKind, name: &str, metadata: &ObjectMeta) -> Self {
        let hash = metadata.labels.as_ref().and_then(|labels| labels.get(POD_TEMPLATE_HASH));
        let controller = match kind {
            ObjectKind::Pod => metadata
                .owner_references
                .iter()
                .flatten()
                .find(|owner| owner.controller == Some(true)),
            _ => None,
        };
        let (group, kind, name) = match controller {
            Some(owner) => (group(&owner.api_version), owner.kind.as_str(), owner.name.as_str()),
            None => (kind.group(), kind.as_str(), name),
        };
        let is_replica_set = kind == ObjectKind::ReplicaSet.as_str()
            && (group.is_empty() || ObjectKind::ReplicaSet.is_of_group(group));
        let (kind, name) = hash
            .filter(|_| is_replica_set)
            .and_then(|hash| deployment_name(name, hash))
            .map_or((kind, name), |deployment| (ObjectKind::Deployment.as_str(), deployment));
        Self {
            group: bounded_name(group).into(),
            kind: bounded_name(kind).into(),
            name: bounded_name(name).into(),
        }
    }
}

/// A Deployment names its `ReplicaSets` `<deployment>-<pod-template-hash>`.
fn deployment_name<'a>(replica_set: &'a str, hash: &str) -> Option<&'a str> {
    let name = replica_set.strip_suffix(hash).filter(|_| !hash.is_empty())?;
    name.strip_suffix('-').filter(|deployment| !deployment.is_empty())
}

/// The group of an `apiVersion`; the core group is the empty one.
fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::PodView;

    #[test]
    fn a_kind_counts_only_in_its_own_groups() {
        for kind in ObjectKind::ALL {
            assert_eq!(ObjectKind::named(kind.as_str()), Some(kind));
        }
        for (api_version, kind) in [
            ("v1", "Pod"),
            ("v1", "ReplicationController"),
            ("apps/v1", "Deployment"),
            ("apps/v1beta2", "StatefulSet"),
            ("extensions/v1beta1", "DaemonSet"),
            ("extensions/v1beta1", "ReplicaSet"),
            ("batch/v1", "Job"),
            ("batch/v2alpha1", "CronJob"),
        ] {
            assert_eq!(ObjectKind::of(api_version, kind), ObjectKind::named(kind), "{kind}");
        }
        for (api_version, kind) in [
            ("v1", "Deployment"),
            ("serving.knative.dev/v1", "Deployment"),
            ("batch.volcano.sh/v1alpha1", "Job"),
            ("metrics.k8s.io/v1", "Pod"),
            ("v1", "Service"),
            ("", ""),
        ] {
            assert_eq!(ObjectKind::of(api_version, kind), None, "{api_version} {kind}");
        }
    }

    fn workload(kind: ObjectKind, metadata: &str) -> String {
        let pod: PodView = serde_json::from_str(&format!("{{\"metadata\": {metadata}}}")).unwrap();
        Workload::of(kind, "web-5d8-x", &pod.metadata).to_string()
    }

    #[test]
    fn a_pods_workload_is_its_controller_and_a_replica_sets_deployment() {
        let owned = |owner: &str, hash: &str| {
            let metadata = format!(
                r#"{{"labels": {{"pod-template-hash": "{hash}"}}, "ownerReferences": [{owner}]}}"#
            );
            workload(ObjectKind::Pod, &metadata)
        };
        let replica_set = r#"{"kind": "ReplicaSet", "name": "web-5d8", "controller": true}"#;
        assert_eq!(owned(replica_set, "5d8"), "Deployment/web");
        assert_eq!(owned(replica_set, "d8"), "ReplicaSet/web-5d8", "not its hash");
        assert_eq!(owned(replica_set, ""), "ReplicaSet/web-5d8");
        let of = |group: &str| replica_set.replace('{', &format!(r#"{{"apiVersion": "{group}", "#));
        assert_eq!(owned(&of("apps/v1"), "5d8"), "Deployment/web");
        assert_eq!(owned(&of("apps.kruise.io/v1"), "5d8"), "ReplicaSet/web-5d8", "not ours");
        assert_eq!(owned(r#"{"kind": "Job", "name": "j", "controller": true}"#, ""), "Job/j");
        assert_eq!(owned(r#"{"kind": "Node", "name": "n", "controller": true}"#, ""), "Node/n");
        assert_eq!(owned(r#"{"kind": "Foo", "name": "n"}"#, ""), "Pod/web-5d8-x", "no controller");
        assert_eq!(workload(ObjectKind::Pod, "{}"), "Pod/web-5d8-x");
    }

    #[test]
    fn a_template_is_its_own_workload() {
        let owner =
            r#"{"ownerReferences": [{"kind": "CronJob", "name": "c", "controller": true}]}"#;
        assert_eq!(workload(ObjectKind::Job, owner), "Job/web-5d8-x");
        let hash = r#"{"labels": {"pod-template-hash": "x"}}"#;
        assert_eq!(workload(ObjectKind::ReplicaSet, hash), "Deployment/web-5d8");
        assert_eq!(workload(ObjectKind::Deployment, hash), "Deployment/web-5d8-x");
    }
}
