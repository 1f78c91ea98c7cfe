//! How long a pod has been pending or not ready, and whether a pod or a Job has ended.

use std::num::NonZeroU32;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use super::restarts_always;
use crate::view::{ConditionsView, ContainerStatusView, PodStatusView, ReadyView, SpecView};

/// The phase of a pod, as far as checks depend on it. Times are in seconds since 1970; in 32 bits, because
/// a large cluster has 150 000 of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Running, or held by a scheduling gate, or a template.
    Active,
    /// Running without being ready.
    NotReady {
        /// When its condition `Ready` became `False`; a pod that was never ready has it since its
        /// start. `None` where that is not known.
        since: Option<NonZeroU32>,
        /// Whether only a readiness gate is missing
        /// ([KEP-580](https://github.com/kubernetes/enhancements/issues/580)).
        lacks_only_gates: bool,
    },
    /// Waiting for a node or an image.
    Pending {
        /// When it was created, or when its last scheduling gate was removed; `None` where neither
        /// is known.
        since: Option<NonZeroU32>,
    },
    /// Succeeded or Failed. Neither such a pod nor the template of such a Job is counted.
    Ended,
}

impl Lifecycle {
    pub(super) fn of(metadata: &ObjectMeta, spec: &SpecView, status: &PodStatusView) -> Self {
        match status.phase.as_deref() {
            Some("Succeeded" | "Failed") => Self::Ended,
            Some("Pending") if spec.scheduling_gates.is_empty() => {
                Self::of_ungated(metadata, &status.conditions)
            }
            Some("Running") => Self::of_running(spec, status),
            _ => Self::Active,
        }
    }

    /// Without a condition `Ready`, which every kubelet writes, it is not known whether a pod is
    /// ready, and nothing is claimed.
    ///
    /// The kubelet sets the condition to `False` as soon as one container has completed, also where
    /// that one is not to be restarted and others still work, as in the pod of a Job. Such a pod
    /// does what it should.
    fn of_running(spec: &SpecView, status: &PodStatusView) -> Self {
        match status.conditions.ready {
            Some(ReadyView { is_true: false, since, lacks_only_gates })
                if !is_only_completed(spec, status) =>
            {
                Self::NotReady { since: known(since), lacks_only_gates }
            }
            _ => Self::Active,
        }
    }

    /// Kubernetes keeps no record of scheduling gates that were removed, only traces:
    ///
    /// - Removing a gate changes the spec and so raises `metadata.generation`, which starts at 1
    ///   ([KEP-5067](https://github.com/kubernetes/enhancements/issues/5067)); scheduling does not
    ///   raise it. At generation 1 there never was a gate, and the age runs from creation.
    /// - The API server creates a gated pod with the condition `PodScheduled` and the reason
    ///   `SchedulingGated` ([KEP-3521](https://github.com/kubernetes/enhancements/issues/3521)).
    ///   While it is still there, the scheduler has not handled the pod since the gate ended.
    /// - When the pod gets a node, `PodScheduled` changes to `True`. The age runs from then: no
    ///   earlier time is known for certain.
    /// - While the scheduler finds no node, it keeps the condition's status and with it the time of
    ///   creation. The end of the gate is then not recorded anywhere, and the age runs from
    ///   creation.
    fn of_ungated(metadata: &ObjectMeta, conditions: &ConditionsView) -> Self {
        let created = metadata.creation_timestamp.as_ref().map(|time| Timestamp::as_second(time.0));
        if metadata.generation == Some(1) {
            return Self::Pending { since: known(created) };
        }
        if conditions.is_gated {
            return Self::Active;
        }
        Self::Pending { since: known(created.max(conditions.scheduled_transition)) }
    }
}

/// A second since 1970, where it is one that a cluster has seen.
fn known(second: Option<i64>) -> Option<NonZeroU32> {
    second.and_then(|second| u32::try_from(second).ok()).and_then(NonZeroU32::new)
}

/// Whether the containers that are not ready have all completed, and stay so.
fn is_only_completed(spec: &SpecView, status: &PodStatusView) -> bool {
    let of_pod = restarts_always(spec.restart_policy.as_deref()).unwrap_or(true);
    let restarts = |name: &Option<String>| {
        let container = spec.containers.iter().find(|container| container.value.name == *name);
        let own = container.and_then(|container| container.value.restart_policy.as_deref());
        restarts_always(own).unwrap_or(of_pod)
    };
    let has_completed = |status: &ContainerStatusView| {
        let end = status.state.terminated.as_ref();
        end.is_some_and(|end| end.exit_code == 0) && !restarts(&status.name)
    };
    let mut regular = status.container_statuses.iter().filter(|status| !status.ready).peekable();
    // An init container that completed is ready.
    regular.peek().is_some()
        && regular.all(has_completed)
        && status.init_container_statuses.iter().all(|status| status.ready)
}
