//! Kinds that create pods, and the workload of a pod.

mod configured;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::Serialize;

use crate::text::bounded_name;
use crate::view::{POD_TEMPLATE_HASH, ROLLOUT_TEMPLATE_HASH};

#[cfg(test)]
pub(crate) use configured::for_tests;
pub use configured::{ConfiguredKind, UnusableKind, WorkloadKind, check_all, configure};

/// A kind that is evaluated: a pod, or a kind with a pod template.
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
    /// One that configuration added.
    Configured(ConfiguredKind),
}

/// No kind that is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no kind that is evaluated")]
pub struct UnknownKind;

impl FromStr for ObjectKind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        Self::all().find(|kind| kind.as_str() == name).ok_or(UnknownKind)
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl ObjectKind {
    /// The kinds of Kubernetes that are evaluated.
    pub const BUILT_IN: [Self; 8] = [
        Self::Pod,
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::ReplicaSet,
        Self::ReplicationController,
        Self::Job,
        Self::CronJob,
    ];

    /// All kinds that are evaluated: those of Kubernetes, and those that configuration added.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::BUILT_IN.into_iter().chain(ConfiguredKind::all().map(Self::Configured))
    }

    /// The kind as in a manifest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::ReplicaSet => "ReplicaSet",
            Self::ReplicationController => "ReplicationController",
            Self::Job => "Job",
            Self::CronJob => "CronJob",
            Self::Configured(kind) => &kind.get().kind,
        }
    }

    /// The API group that the kind is served in; the core group is the empty one.
    fn group(self) -> &'static str {
        match self {
            Self::Pod | Self::ReplicationController => "",
            Self::Deployment | Self::StatefulSet | Self::DaemonSet | Self::ReplicaSet => "apps",
            Self::Job | Self::CronJob => "batch",
            Self::Configured(kind) => &kind.get().group,
        }
    }

    /// The kind of Kubernetes of that name in that group; `None` where it is not evaluated.
    fn built_in(group: &str, kind: &str) -> Option<Self> {
        let named = Self::BUILT_IN.into_iter().find(|own| own.as_str() == kind);
        named.filter(|own| own.is_of_group(group))
    }

    /// Whether the kind is or was served in that group.
    pub(crate) fn is_of_group(self, group: &str) -> bool {
        match self.group() {
            // `group == own` takes a hundred times as long where both are empty: the processor
            // handles a masked load of no bytes from an invalid address in microcode.
            "" => group.is_empty(),
            "apps" => matches!(group, "apps" | "extensions"),
            own => group == own,
        }
    }

    /// The kind of a manifest; `None` where it is not evaluated. The version does not matter.
    #[must_use]
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        Self::in_group(group(api_version), kind)
    }

    /// The kind of that name in that API group; `None` where it is not evaluated.
    #[must_use]
    pub fn in_group(group: &str, kind: &str) -> Option<Self> {
        let built_in = Self::built_in(group, kind);
        built_in.or_else(|| ConfiguredKind::find(group, kind).map(Self::Configured))
    }

    /// The fields of the spec to the pod template, where it is not in the usual place of the kind.
    pub(crate) fn template_path(self) -> Option<impl Iterator<Item = &'static str>> {
        match self {
            Self::Configured(kind) => kind.path_below_spec(),
            _ => None,
        }
    }

    /// The fields of an object to its pod spec.
    pub(crate) fn pod_spec_path(self) -> Vec<&'static str> {
        let template: Vec<&str> = match self {
            Self::Pod => return vec!["spec"],
            Self::CronJob => vec!["jobTemplate", "spec", "template"],
            _ => self.template_path().map_or_else(|| vec!["template"], Iterator::collect),
        };
        [&["spec"], &*template, &["spec"]].concat()
    }

    /// Whether the operator may patch objects of this kind.
    #[must_use]
    pub const fn is_patchable(self) -> bool {
        matches!(self, Self::Deployment | Self::StatefulSet | Self::DaemonSet)
    }

    /// Whether the pods of this kind are meant to end.
    #[must_use]
    pub const fn runs_to_completion(self) -> bool {
        matches!(self, Self::Job | Self::CronJob)
    }
}

/// The object that a user would change to change a pod: its controller, for a `ReplicaSet` its
/// Deployment, for a Job of a `CronJob` the `CronJob`; without a controller the pod itself. Any
/// kind of any group may own pods.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// The API group; empty for the core group, and where an owner reference has none. It
    /// distinguishes the `StatefulSet` of `apps` from another project's.
    #[serde(skip)]
    pub group: Arc<str>,
    /// The kind.
    pub kind: Arc<str>,
    /// The name, in the namespace of the pod.
    pub name: Arc<str>,
}

/// Group, kind and name of an object.
#[derive(Clone, Copy)]
struct ObjectId<'a> {
    group: &'a str,
    kind: &'a str,
    name: &'a str,
}

impl Workload {
    /// The Deployment of that name.
    #[must_use]
    pub fn deployment(name: &str) -> Self {
        Self::of_kind(ObjectKind::Deployment, name)
    }

    /// The workload of that kind and name that is no part of another one.
    #[must_use]
    pub fn of_kind(kind: ObjectKind, name: &str) -> Self {
        Self {
            group: kind.group().into(),
            kind: kind.as_str().into(),
            name: bounded_name(name).into(),
        }
    }

    /// The workload of an object with that metadata.
    #[must_use]
    pub fn of(kind: ObjectKind, name: &str, metadata: &ObjectMeta) -> Self {
        let owners = metadata.owner_references.iter().flatten();
        let controller = owners.into_iter().find(|owner| owner.controller == Some(true));
        let controller = controller.map(|owner| ObjectId {
            group: group(&owner.api_version),
            kind: &owner.kind,
            name: &owner.name,
        });
        let own = ObjectId { group: kind.group(), kind: kind.as_str(), name };
        let id = match (kind, controller) {
            (ObjectKind::Pod, Some(owner)) if owner.is(ObjectKind::Job) => {
                owner.cron_job(metadata).unwrap_or(owner)
            }
            (ObjectKind::Pod, Some(owner)) => owner.deployment(metadata).unwrap_or(owner),
            (ObjectKind::Job, Some(owner)) if owner.is(ObjectKind::CronJob) => owner,
            _ => own.deployment(metadata).unwrap_or(own),
        };
        Self {
            group: bounded_name(id.group).into(),
            kind: bounded_name(id.kind).into(),
            name: bounded_name(id.name).into(),
        }
    }

    /// Whether it is a pod that nothing controls.
    #[must_use]
    pub fn is_pod(&self) -> bool {
        self.group.is_empty() && *self.kind == *ObjectKind::Pod.as_str()
    }
}

impl<'a> ObjectId<'a> {
    fn is(self, kind: ObjectKind) -> bool {
        self.kind == kind.as_str() && (self.group.is_empty() || kind.is_of_group(self.group))
    }

    /// The Deployment of a `ReplicaSet`, which it names `<deployment>-<pod-template-hash>`. Argo's
    /// Rollout names its own in the same way, and has another label for the hash
    /// (`DefaultRolloutUniqueLabelKey` in
    /// <https://github.com/argoproj/argo-rollouts/blob/master/pkg/apis/rollouts/v1alpha1/types.go>).
    fn deployment(self, metadata: &'a ObjectMeta) -> Option<Self> {
        let labels = metadata.labels.as_ref()?;
        let (hash, group, kind) = match labels.get(ROLLOUT_TEMPLATE_HASH) {
            Some(hash) => (hash, ROLLOUT_GROUP, ROLLOUT),
            None => (labels.get(POD_TEMPLATE_HASH)?, self.group, ObjectKind::Deployment.as_str()),
        };
        let name = self.name.strip_suffix(hash.as_str()).filter(|_| !hash.is_empty())?;
        let name = name.strip_suffix('-').filter(|name| !name.is_empty())?;
        let is_replica_set = self.is(ObjectKind::ReplicaSet);
        is_replica_set.then_some(Self { group, kind, name })
    }

    /// The `CronJob` of a Job, which its controller names `<cronjob>-<minutes>`, the scheduled time
    /// in minutes since 1970 (`getJobName` in
    /// <https://github.com/kubernetes/kubernetes/blob/master/pkg/controller/cronjob/cronjob_controllerv2.go>).
    ///
    /// A pod refers to its Job only, and the Job's own owner is not in the pod, so the name must
    /// suffice. The suffix has to be a possible time: eight digits, not before this naming was
    /// introduced, and not after the pod was created. This excludes dates such as `20261104`.
    fn cron_job(self, metadata: &ObjectMeta) -> Option<Self> {
        let (name, suffix) = self.name.rsplit_once('-').filter(|(name, _)| !name.is_empty())?;
        let is_number = suffix.len() == 8 && suffix.bytes().all(|byte| byte.is_ascii_digit());
        let scheduled = suffix.parse::<i64>().ok().filter(|_| is_number)?;
        let created = metadata.creation_timestamp.as_ref();
        let latest = created.map_or(i64::MAX, |time| time.0.as_second() / 60 + CLOCK_SKEW_MINUTES);
        let is_possible = (FIRST_CRON_JOB_MINUTE..=latest).contains(&scheduled);
        let kind = ObjectKind::CronJob.as_str();
        is_possible.then_some(Self { kind, name, ..self })
    }
}

/// Argo's group, and its kind that makes a `ReplicaSet` as a Deployment does.
const ROLLOUT_GROUP: &str = "argoproj.io";
const ROLLOUT: &str = "Rollout";

/// The start of 2020. Jobs have been named by minutes since Kubernetes 1.20, of that year.
const FIRST_CRON_JOB_MINUTE: i64 = 26_297_280;
/// The API server stamps the pod and the controller manager names the Job, by their own clocks.
const CLOCK_SKEW_MINUTES: i64 = 60;

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
        configured::for_tests();
        for (api_version, kind) in [
            ("v1", "Pod"),
            ("v1", "ReplicationController"),
            ("apps/v1", "Deployment"),
            ("apps/v1beta2", "StatefulSet"),
            ("extensions/v1beta1", "DaemonSet"),
            ("extensions/v1beta1", "ReplicaSet"),
            ("batch/v1", "Job"),
            ("batch/v2alpha1", "CronJob"),
            ("argoproj.io/v1alpha1", "Rollout"),
        ] {
            assert_eq!(ObjectKind::of(api_version, kind), Some(kind.parse().unwrap()), "{kind}");
        }
        for (api_version, kind) in [
            ("v1", "Deployment"),
            ("serving.knative.dev/v1", "Deployment"),
            ("batch.volcano.sh/v1alpha1", "Job"),
            ("metrics.k8s.io/v1", "Pod"),
            ("argoproj.io/v1alpha1", "Workflow"),
            ("example.com/v1", "Rollout"),
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
        let rollout = r#"{"labels": {"rollouts-pod-template-hash": "5d8"}, "ownerReferences": [REPLICA_SET]}"#;
        let rollout = workload(ObjectKind::Pod, &rollout.replace("REPLICA_SET", replica_set));
        assert_eq!(rollout, "Rollout/web");
        assert_eq!(owned(r#"{"kind": "Job", "name": "j", "controller": true}"#, ""), "Job/j");
        assert_eq!(owned(r#"{"kind": "Node", "name": "n", "controller": true}"#, ""), "Node/n");
        assert_eq!(owned(r#"{"kind": "Foo", "name": "n"}"#, ""), "Pod/web-5d8-x", "no controller");
        assert_eq!(workload(ObjectKind::Pod, "{}"), "Pod/web-5d8-x");
    }

    /// 29 696 320 minutes are 2026-06-18T10:40:00Z.
    #[test]
    fn a_pods_workload_is_the_cron_job_of_its_job() {
        let of = |job: &str, api_version: &str, created: &str| {
            let metadata = format!(
                r#"{{"creationTimestamp": {created}, "ownerReferences": [{{"apiVersion": "{api_version}", "kind": "Job", "name": "{job}", "controller": true}}]}}"#
            );
            workload(ObjectKind::Pod, &metadata)
        };
        let june = r#""2026-06-18T10:40:03Z""#;
        assert_eq!(of("backup-29696320", "batch/v1", june), "CronJob/backup");
        assert_eq!(of("backup-29696321", "batch/v1", june), "CronJob/backup", "another run");
        assert_eq!(of("a-b-29696320", "batch/v1", june), "CronJob/a-b");
        assert_eq!(of("backup-29696320", "batch/v1", "null"), "CronJob/backup", "from a file");
        assert_eq!(of("backup-29696000", "batch/v1", june), "CronJob/backup", "retried for hours");
        for job in [
            "backup-29697000",
            "backup-20260618",
            "backup-1781759999",
            "backup-2969632",
            "backup-+2969632",
            "backup",
            "-29696320",
            "29696320",
        ] {
            assert_eq!(of(job, "batch/v1", june), format!("Job/{job}"));
        }
        let other = of("backup-29696320", "batch.volcano.sh/v1alpha1", june);
        assert_eq!(other, "Job/backup-29696320", "another project's Job");
    }

    #[test]
    fn a_template_is_its_own_workload_unless_a_cron_job_makes_it() {
        let owned_by = |kind: &str| {
            let owner = format!(
                r#"{{"ownerReferences": [{{"apiVersion": "batch/v1", "kind": "{kind}", "name": "c", "controller": true}}]}}"#
            );
            workload(ObjectKind::Job, &owner)
        };
        assert_eq!(owned_by("CronJob"), "CronJob/c");
        assert_eq!(owned_by("JobSet"), "Job/web-5d8-x");
        let hash = r#"{"labels": {"pod-template-hash": "x"}}"#;
        assert_eq!(workload(ObjectKind::ReplicaSet, hash), "Deployment/web-5d8");
        assert_eq!(workload(ObjectKind::Deployment, hash), "Deployment/web-5d8-x");
    }
}
