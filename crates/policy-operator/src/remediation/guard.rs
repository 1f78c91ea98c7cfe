//! The rollout guard: whether a patch did harm. Pure; follows one rollout from one observation to
//! the next.
//!
//! Time runs by the monotonic clock, so that a changed clock neither ends an observation nor makes
//! a rollout late. Whether a pod is new is decided by the API server's clock on both sides.

use std::time::Duration;

use policy_core::remediation::{Fields, TcpProbe};
use tokio::time::Instant;

use super::pod_health::PodHealth;
use super::rollout::Rollout;

/// A rollout without progress for so long has failed.
const NO_PROGRESS: Duration = Duration::from_secs(120);
/// The time that a pod needs beside the probe that was filled in: for its node, image and start.
const START: Duration = Duration::from_secs(60);
/// A failure to create pods that lasts so long is one. A controller retries at once after a conflict.
const REPLICA_FAILURE: Duration = Duration::from_secs(5);
/// Between the moment when a kubelet acts and the one at which its report is here.
const REPORT: Duration = Duration::from_secs(10);
/// How long a memory limit is observed: the use grows with caches and load.
const MEMORY: Duration = Duration::from_secs(600);
/// The longest observation. A workload that is scaled all the time is never complete for long.
const LONGEST: Duration = Duration::from_secs(1800);
/// The time from one observation to the next, while a rollout runs, and while only memory is
/// observed.
pub(crate) const POLL: Duration = Duration::from_secs(2);
const SLOW_POLL: Duration = Duration::from_secs(15);
/// An injected pod that fails later than so many seconds after it was created does not fail for
/// what was injected.
const INJECTION_SECONDS: i64 = 900;

/// What to do after an observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Assessment {
    /// Observe it again after that time.
    Wait(Duration),
    /// It did no harm.
    Settled,
    /// It did harm, and is to be taken back.
    Revert(Cause),
}

/// Why a remediation is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) reason: RevertReason,
    /// One sentence, without names of pods, which differ each time.
    pub(crate) sentence: String,
}

/// Why a remediation is taken back, as the label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
pub(crate) enum RevertReason {
    /// New pods did not become available.
    NoProgress,
    /// Pods could not be created.
    ReplicaFailure,
    /// A container of a new pod was restarted.
    Restarted,
    /// A container of a new pod was killed for its memory.
    OutOfMemory,
    /// A pod that was changed at admission failed.
    InjectedPodFailed,
}

impl RevertReason {
    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Observes the rollout of one patch.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    /// When the patch was made, in seconds since 1970 by the API server's clock. Pods that were
    /// created then or later are new.
    patched: i64,
    /// A rollout without progress for so long has failed.
    deadline: Duration,
    /// How long complete the rollout has to be until a probe would have failed.
    horizon: Duration,
    observes_memory: bool,
    begun: Instant,
    progressed: Instant,
    best: Best,
    completed: Option<Instant>,
    failing_since: Option<Instant>,
    is_proven: bool,
}

/// The farthest that a rollout was. Only what exceeds it is progress: pods that become ready and
/// unready in turns are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Best {
    desired: i64,
    updated: i64,
    available: i64,
    /// How many pods of the old template were left at least.
    old: Option<i64>,
}

impl Guard {
    /// Begins to observe a patch of these fields.
    pub(crate) fn new(patched: i64, fields: &Fields, now: Instant) -> Self {
        let readiness = fields.0.iter().filter_map(|container| container.readiness);
        let readiness = readiness.map(TcpProbe::horizon).max().unwrap_or_default();
        Self {
            patched,
            deadline: NO_PROGRESS.max(Duration::from_secs(readiness) + START),
            horizon: Duration::from_secs(fields.horizon()) + REPORT,
            observes_memory: fields.limits_memory(),
            begun: now,
            progressed: now,
            best: Best::default(),
            completed: None,
            failing_since: None,
            is_proven: false,
        }
    }

    /// Whether the rollout is complete for so long that a probe would have failed. It is no rollout
    /// in the sense of the budgets any more, and ends the time of a canary.
    pub(crate) fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// Where the API server's clock was set back after the patch, its new pods would seem older than
    /// the patch. Rather an old pod counts as new, and the patch is taken back without need.
    pub(crate) fn clock_is(&mut self, now: i64) {
        self.patched = self.patched.min(now);
    }

    /// Whether a pod was created by the patch.
    pub(crate) fn is_new(&self, pod: &PodHealth) -> bool {
        pod.created >= self.patched
    }

    /// Takes an observation in. `pods` are those of the workload that are not healthy.
    pub(crate) fn observe<'a>(
        &mut self,
        rollout: &Rollout,
        pods: impl IntoIterator<Item = &'a PodHealth>,
        now: Instant,
    ) -> Assessment {
        let new: Vec<_> = pods.into_iter().filter(|pod| self.is_new(pod)).collect();
        if let Some(cause) = restarted(&new) {
            return Assessment::Revert(cause);
        }
        self.take_in(rollout, now);
        if let Some(cause) = self.failure(rollout, &new, now) {
            return Assessment::Revert(cause);
        }
        let Some(completed) = self.completed else {
            // It is scaled all the time, and nothing has failed.
            let is_over = now.duration_since(self.begun) >= LONGEST && new.is_empty();
            return if is_over { Assessment::Settled } else { Assessment::Wait(POLL) };
        };
        let complete_for = now.duration_since(completed);
        let horizon = self.horizon + Duration::from_secs(rollout.grace_seconds);
        self.is_proven |= complete_for >= horizon;
        if !self.is_proven {
            Assessment::Wait(POLL)
        } else if self.observes_memory && complete_for < MEMORY {
            Assessment::Wait(SLOW_POLL)
        } else {
            Assessment::Settled
        }
    }

    fn take_in(&mut self, rollout: &Rollout, now: Instant) {
        let Rollout { desired, updated, available, current, .. } = *rollout;
        let old = (current - updated).max(0);
        // Nobody works on it meanwhile.
        let stands_still = !rollout.is_observed || rollout.is_paused;
        if rollout.is_complete() {
            self.completed.get_or_insert(now);
        } else if self.completed.take().is_some() || desired != self.best.desired {
            self.best = Best { desired, updated, available, old: Some(old) };
            self.progressed = now;
        }
        let best = Best {
            desired,
            updated: updated.max(self.best.updated),
            available: available.max(self.best.available),
            old: Some(self.best.old.map_or(old, |least| least.min(old))),
        };
        if best != self.best || stands_still {
            self.best = best;
            self.progressed = now;
        }
    }

    fn failure(&mut self, rollout: &Rollout, new: &[&PodHealth], now: Instant) -> Option<Cause> {
        if !rollout.is_observed {
            return None;
        }
        match &rollout.replica_failure {
            None => self.failing_since = None,
            Some(why) => {
                let since = *self.failing_since.get_or_insert(now);
                if now.duration_since(since) >= REPLICA_FAILURE {
                    let sentence = format!("new pods could not be created: {why}");
                    return Some(Cause { reason: RevertReason::ReplicaFailure, sentence });
                }
            }
        }
        if rollout.is_complete() || rollout.is_paused {
            return None;
        }
        let deadline = self.deadline + Duration::from_secs(rollout.min_ready_seconds);
        let is_late = now.duration_since(self.progressed) >= deadline;
        let why = match &rollout.deadline_exceeded {
            _ if is_late => {
                format!("the rollout made no progress for {} s", deadline.as_secs())
            }
            Some(why) => format!("the rollout has failed ({why})"),
            None => return None,
        };
        let sentence = match new.first() {
            Some(pod) => format!("{why}; of a new pod: {}", pod.cause()),
            None => why,
        };
        Some(Cause { reason: RevertReason::NoProgress, sentence })
    }
}

/// A new pod whose container was restarted.
fn restarted(new: &[&PodHealth]) -> Option<Cause> {
    let killed = new.iter().find(|pod| pod.was_killed_for_memory());
    let (pod, reason) = match killed {
        Some(pod) => (pod, RevertReason::OutOfMemory),
        None => (new.iter().find(|pod| pod.restarts > 0)?, RevertReason::Restarted),
    };
    Some(Cause { reason, sentence: format!("of a new pod: {}", pod.cause()) })
}

/// Why injection into the pods of a workload is switched off: the first pod that fails soon after
/// it was created. `since` is when injection began; `now` is the wall clock.
pub(crate) fn failed_injection<'a>(
    pods: impl IntoIterator<Item = &'a PodHealth>,
    since: i64,
    now: i64,
) -> Option<Cause> {
    let failed = pods.into_iter().find(|pod| {
        let ended = pod.terminated.as_ref().and_then(|terminated| terminated.at);
        let failed_at = if pod.is_ready { ended } else { pod.since.max(ended) };
        let is_early =
            failed_at.is_none_or(|at| at.saturating_sub(pod.created) < INJECTION_SECONDS);
        pod.is_injected
            && pod.created >= since
            && is_early
            && (pod.was_killed_for_memory() || pod.is_failing(now))
    })?;
    let sentence = format!("of a pod that was injected into: {}", failed.cause());
    Some(Cause { reason: RevertReason::InjectedPodFailed, sentence })
}

#[cfg(test)]
mod tests;
