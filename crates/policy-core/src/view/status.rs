//! The status of a pod or a Job.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::excess::MAX_CONTAINERS;
use super::lenient::{for_each, nullable};
use super::metadata::time;
use super::text::Text;
use crate::text::excerpt;

/// The status of a pod.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatusView {
    /// Pending, Running, Succeeded, Failed or Unknown.
    pub phase: Option<String>,
    /// Statuses of the regular containers.
    #[serde(deserialize_with = "statuses")]
    pub container_statuses: Vec<ContainerStatusView>,
    /// Statuses of the init containers.
    #[serde(deserialize_with = "statuses")]
    pub init_container_statuses: Vec<ContainerStatusView>,
    /// When a Job completed, as far as it did; not set for one that failed.
    pub completion_time: Option<IgnoredAny>,
    /// The facts that come from conditions.
    #[serde(deserialize_with = "conditions")]
    pub conditions: ConditionsView,
}

impl PodStatusView {
    /// Whether this is the status of a Job that will make no more pods.
    #[must_use]
    pub fn has_job_ended(&self) -> bool {
        self.conditions.is_job_ended || self.completion_time.is_some()
    }
}

/// The status of a container.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatusView {
    /// The container's name.
    pub name: Option<String>,
    /// The image that runs, with its digest: `docker.io/library/nginx@sha256:…`.
    #[serde(rename = "imageID")]
    pub image_id: Option<String>,
    /// How often it restarted.
    pub restart_count: Option<i64>,
    /// Whether it serves; an init container that completed is ready too.
    #[serde(deserialize_with = "nullable")]
    pub ready: bool,
    /// Why it does not run now.
    #[serde(deserialize_with = "nullable")]
    pub state: StateView,
    /// How it ended before it was restarted.
    #[serde(deserialize_with = "nullable")]
    pub last_state: StateView,
}

/// The state of a container that does not run.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
pub struct StateView {
    /// It ended.
    pub terminated: Option<TerminatedView>,
    /// It waits.
    pub waiting: Option<WaitingView>,
}

/// How a container ended.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct TerminatedView {
    /// The exit code of its process.
    #[serde(deserialize_with = "nullable")]
    pub exit_code: i64,
    /// The signal that ended it; most container runtimes add it to the exit code instead.
    pub signal: Option<i64>,
    /// Such as `OOMKilled` or `Error`.
    pub reason: Option<String>,
    /// When, by the kubelet's clock.
    #[serde(deserialize_with = "time")]
    pub finished_at: Option<Time>,
}

/// Why a container waits.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
pub struct WaitingView {
    /// Such as `ImagePullBackOff` or `CrashLoopBackOff`.
    pub reason: Option<String>,
    /// The words of the kubelet.
    pub message: Option<String>,
}

/// The kubelet writes them, not the owner of a pod; of more than any node runs the rest is skipped.
fn statuses<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<ContainerStatusView>, D::Error> {
    let mut found: Vec<ContainerStatusView> = Vec::new();
    for_each(deserializer, |status: ContainerStatusView| {
        found.push(status);
        found.len() < MAX_CONTAINERS
    })?;
    Ok(found)
}

/// The conditions of a pod, a Job or a Deployment, as far as they say how long a pod has been Pending,
/// whether it is ready, whether a Job has ended, and whether a rollout is stuck.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConditionsView {
    /// Whether the reason of `PodScheduled` is `SchedulingGated`.
    pub is_gated: bool,
    /// When the status of `PodScheduled` changed last, in seconds since 1970; `None` without it.
    pub scheduled_transition: Option<i64>,
    /// Whether the reason of `PodScheduled` is `Unschedulable`.
    pub is_unschedulable: bool,
    /// The condition `Ready`, where there is one.
    pub ready: Option<ReadyView>,
    /// Whether `Complete` or `Failed`, the last conditions of a Job, is `True`.
    pub is_job_ended: bool,
    /// Why `Progressing` is `False`, where it is: reason and message.
    pub stuck_rollout: Option<Box<str>>,
}

/// The condition `Ready` of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyView {
    /// Whether it is `True`.
    pub is_true: bool,
    /// When its status changed last, in seconds since 1970.
    pub since: Option<i64>,
    /// Whether only a readiness gate is missing: all containers are ready.
    pub lacks_only_gates: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Text<'a>,
    #[serde(borrow, default)]
    status: Text<'a>,
    #[serde(borrow, default)]
    reason: Text<'a>,
    #[serde(borrow, default)]
    last_transition_time: Text<'a>,
    #[serde(borrow, default)]
    message: Text<'a>,
}

impl Condition<'_> {
    /// Its reason and its message, both short.
    fn why(&self) -> Box<str> {
        let [reason, message] = [&self.reason.0, &self.message.0].map(|text| excerpt(text));
        match message.trim_end_matches('.') {
            "" => reason.into(),
            message => format!("{reason} ({message})").into(),
        }
    }

    /// When its status changed last, in seconds since 1970.
    fn transition(&self) -> Option<i64> {
        self.last_transition_time.0.parse().ok().map(Timestamp::as_second)
    }
}

pub(super) fn conditions<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<ConditionsView, D::Error> {
    let mut found = ConditionsView::default();
    for_each(deserializer, |condition: Option<Condition<'de>>| {
        let Some(condition) = condition else { return true };
        match &*condition.kind.0 {
            "PodScheduled" => {
                found.is_gated = condition.reason.0 == "SchedulingGated";
                found.is_unschedulable = condition.reason.0 == "Unschedulable";
                found.scheduled_transition = condition.transition();
            }
            "Ready" => {
                found.ready = Some(ReadyView {
                    is_true: condition.status.0 == "True",
                    since: condition.transition(),
                    lacks_only_gates: condition.reason.0 == "ReadinessGatesNotReady",
                });
            }
            "Progressing" if condition.status.0 == "False" => {
                found.stuck_rollout = Some(condition.why());
            }
            "Complete" | "Failed" => found.is_job_ended |= condition.status.0 == "True",
            _ => {}
        }
        true
    })?;
    Ok(found)
}
