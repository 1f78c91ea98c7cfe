//! How enforce mode changes workloads, and what it did.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most windows of a policy.
pub const MAX_WINDOWS: usize = 16;
/// The most workloads that a status lists.
pub const MAX_WORKLOADS: usize = 1_000;

/// How enforce mode changes workloads.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(default, rename_all = "camelCase")]
pub struct Remediation {
    /// `auto` patches a workload where its owner cannot be locked out, injects into new pods at
    /// admission where the owner is Helm, Argo CD, Flux or another server-side applier, and
    /// proposes where neither is safe; `patch` and `admission` use one of the two, and propose
    /// where it is not safe; `propose` changes nothing. Default: auto.
    pub method: RemediationMethod,

    /// The times at which a remediation may start. One that has started is completed. Default:
    /// none, so that it may start at any time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub windows: Vec<RemediationWindow>,
}

/// By which means a workload is changed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum RemediationMethod {
    /// Whatever is safe for the owner of the workload.
    #[default]
    Auto,
    /// The operator patches the pod template.
    Patch,
    /// The webhook changes new pods.
    Admission,
    /// Nothing is changed.
    Propose,
}

/// A time at which remediations may start, again and again.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RemediationWindow {
    /// When the window begins: minute, hour, day of the month, month and day of the week, as in
    /// cron, such as `0 22 * * 1-5`. Required.
    #[schemars(length(min = 9, max = 256))]
    pub schedule: String,

    /// How long the window lasts. Unit: seconds. Range: 60 to 604800. Required.
    #[schemars(range(min = 60, max = 604_800))]
    pub duration_seconds: i32,

    /// The time zone of the schedule, as in the IANA time zone database, such as `Europe/Berlin`.
    /// Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
}

/// What enforce mode did and did not do with the workloads of a namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RemediationStatus {
    /// The workloads, by kind and name, at most 1 000; those whose state has to be remembered
    /// first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub workloads: Vec<RemediatedWorkload>,

    /// How many workloads are not listed, because there are more than 1 000, or because the status
    /// would be too large. One that waits may be changed later, and is listed then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub workloads_omitted: i64,

    /// When remediations of the last ten minutes were taken back. Two of them stop remediation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub reverts: Vec<Time>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A workload under enforce mode.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RemediatedWorkload {
    /// The workload as `Kind/name`.
    pub workload: String,

    /// Its uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,

    /// What was done with it.
    pub state: RemediationState,

    /// The hash of its pod template, without what the platform filled in and without the time of
    /// `kubectl rollout restart`. The state holds until it changes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub template: String,

    /// Since when it has the state.
    pub since: Time,

    /// What is filled in or proposed, as `container: field=value`, such as
    /// `web: readinessProbe=tcp:8080`. At most 200.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub fields: Vec<String>,

    /// Why, in one word; empty where nothing stands against it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,

    /// Why, in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// What was done with a workload.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum RemediationState {
    /// A patch was applied, and its rollout is observed.
    Observing,
    /// What was filled in was taken back. It is left alone until its owner changes the template.
    Reverted,
    /// What was filled in was removed or taken over by its owner. It is left alone until the owner
    /// changes the template.
    Withdrawn,
    /// The webhook injects into its new pods.
    Injecting,
    /// It is patched, and healthy as far as it was observed.
    Patched,
    /// It waits for a budget, a window or the circuit breaker.
    Waiting,
    /// The last attempt failed; it is repeated.
    Failed,
    /// What is missing is proposed, because a change would not be safe.
    Proposed,
    /// It cannot be changed.
    NotPatchable,
}

impl RemediationState {
    /// Whether it is remembered for as long as the workload has its template, so that nothing is
    /// tried twice.
    #[must_use]
    pub fn is_remembered(self) -> bool {
        matches!(self, Self::Observing | Self::Patched | Self::Reverted | Self::Withdrawn)
    }

    /// Whether it was taken back: by the operator because it did harm, or by the owner.
    #[must_use]
    pub fn is_taken_back(self) -> bool {
        matches!(self, Self::Reverted | Self::Withdrawn)
    }
}
