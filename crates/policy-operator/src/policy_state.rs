//! The data that is kept of a policy from one reconcile to the next.

use std::time::Duration;

use policy_core::Timestamp;
use policy_core::api::DevOpsPolicyStatus;
use policy_runtime::backoff::Backoff;
use tokio::time::Instant;

use crate::audit_queue::AuditQueue;
use crate::cluster::ClusterState;
use crate::event_throttle::EventThrottle;
use crate::judgement::Judgement;
use crate::open_reports::ReportState;
use crate::remediation::Record;
use crate::write_error::ErrorClass;

/// The longest time for which a deletion waits until other policies remember what this one does.
const LONGEST_HANDOVER: Duration = Duration::from_secs(10);

/// The longest time for which a status waits until pods are judged by custom checks.
const LONGEST_CUSTOM_WAIT: Duration = Duration::from_secs(10);

/// An unchanged status is written again after this time plus a random part of the spread, so that
/// policies that were created together are not always written together. The sum stays below the
/// promised five minutes by more than a reconcile takes.
const HEARTBEAT_SECONDS: i64 = 240;
const HEARTBEAT_SPREAD: i64 = 50;

/// The state of one policy. Every replica keeps it, so that each can take over.
#[derive(Debug, Default)]
pub(crate) struct PolicyState {
    /// The writes that fail in a row, all for the same class of reason. Boxed, because a backoff takes
    /// more than all else here, and few policies have one.
    failing: Option<Box<(ErrorClass, Backoff)>>,
    /// The second (since 1970) at which the status is written even if nothing changed.
    heartbeat: Option<i64>,
    pub(crate) audit: AuditQueue,
    pub(crate) events: EventThrottle,
    /// Of a policy in enforce mode, what it did with its workloads.
    pub(crate) remediation: Option<Box<Record>>,
    /// Of a cluster policy, the verdict on its namespaces.
    pub(crate) cluster: Option<Box<ClusterState>>,
    /// Of its Report, where there are Reports.
    pub(crate) report: Option<Box<ReportState>>,
    /// Since when pods are not judged by its custom checks.
    unjudged: Option<Instant>,
    /// When its deletion was first seen.
    deleted: Option<Instant>,
}

impl PolicyState {
    /// Records that a write failed, and returns the time after which to retry.
    pub(crate) fn failed(&mut self, class: ErrorClass) -> Duration {
        let known = self.failing.take().filter(|failing| failing.0 == class);
        let mut failing = known.unwrap_or_else(|| Box::new((class, class.backoff())));
        let delay = failing.1.delay();
        self.failing = Some(failing);
        delay
    }

    /// Records that everything due was written.
    pub(crate) fn succeeded(&mut self) {
        self.failing = None;
    }

    /// The second (since 1970) of the next heartbeat, where it is known.
    pub(crate) fn heartbeat(&self) -> Option<i64> {
        self.heartbeat
    }

    /// Whether a policy with that status is to be written even if nothing changed.
    pub(crate) fn is_heartbeat_due(&mut self, status: &DevOpsPolicyStatus, now: Timestamp) -> bool {
        let heartbeat = *self.heartbeat.get_or_insert_with(|| {
            // A time in the future counts as now.
            let last = status.last_evaluated.as_ref().map(|time| time.0.min(now));
            heartbeat_after(last.unwrap_or_default())
        });
        let remaining = heartbeat - now.as_second();
        // A heartbeat too far in the future was set before the clock was set back.
        remaining <= 0 || remaining > HEARTBEAT_SECONDS + HEARTBEAT_SPREAD
    }

    /// How long a judgement waits for the results of custom checks, which mostly take a moment: a score
    /// without them would be too good.
    pub(crate) fn custom_wait(&mut self, judgement: &Judgement, now: Instant) -> Option<Duration> {
        let custom = judgement.judged().and_then(|judged| judged.custom.as_ref());
        let Some(custom) = custom.filter(|custom| custom.unjudged > 0) else {
            self.unjudged = None;
            return None;
        };
        let waited = now.duration_since(*self.unjudged.get_or_insert(now));
        let left = LONGEST_CUSTOM_WAIT.saturating_sub(waited);
        (custom.error.is_none() && !left.is_zero()).then_some(left)
    }

    /// Whether a deletion may still wait for other policies.
    pub(crate) fn may_hand_over(&mut self, now: Instant) -> bool {
        now.duration_since(*self.deleted.get_or_insert(now)) < LONGEST_HANDOVER
    }

    /// Records that the status was written.
    pub(crate) fn status_written(&mut self, now: Timestamp) {
        self.heartbeat = Some(heartbeat_after(now));
    }

    /// Clears the heartbeat, because another replica writes it.
    pub(crate) fn clear_heartbeat(&mut self) {
        self.heartbeat = None;
    }
}

fn heartbeat_after(written: Timestamp) -> i64 {
    written.as_second() + HEARTBEAT_SECONDS + fastrand::i64(0..=HEARTBEAT_SPREAD)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn evaluated_at(second: i64) -> DevOpsPolicyStatus {
        DevOpsPolicyStatus { last_evaluated: Some(Time(at(second))), ..Default::default() }
    }

    #[test]
    fn each_policy_takes_little_memory() {
        assert!(size_of::<PolicyState>() <= 160, "{} bytes", size_of::<PolicyState>());
    }

    #[test]
    fn failures_of_one_class_are_further_and_further_apart() {
        let mut state = PolicyState::default();
        let mut last = Duration::ZERO;
        for _ in 0..4 {
            let delay = state.failed(ErrorClass::Forbidden);
            assert!(delay > last, "{delay:?} after {last:?}");
            last = delay;
        }
        assert!(state.failed(ErrorClass::Conflict) < Duration::from_secs(1), "another class");
        for _ in 0..4 {
            last = state.failed(ErrorClass::Conflict);
        }
        state.succeeded();
        assert!(state.failed(ErrorClass::Conflict) < last);
    }

    #[test]
    fn a_status_is_written_again_within_five_minutes() {
        let mut state = PolicyState::default();
        state.status_written(at(1_000));
        let heartbeat = state.heartbeat().unwrap();
        assert!((1_240..1_300).contains(&heartbeat), "{heartbeat}");
        assert!(!state.is_heartbeat_due(&evaluated_at(1_000), at(1_239)));
        assert!(state.is_heartbeat_due(&evaluated_at(1_000), at(1_290)));
        assert!(state.is_heartbeat_due(&evaluated_at(1_000), at(500)), "the clock was set back");
    }

    #[test]
    fn a_replica_that_takes_over_continues_the_heartbeat() {
        let mut state = PolicyState::default();
        assert!(!state.is_heartbeat_due(&evaluated_at(1_000), at(1_100)));
        let heartbeat = state.heartbeat().unwrap();
        assert!((1_240..1_300).contains(&heartbeat), "{heartbeat}");
        assert!(!state.is_heartbeat_due(&evaluated_at(1_000), at(1_200)));
        assert_eq!(state.heartbeat(), Some(heartbeat), "the time stays");
        state.clear_heartbeat();
        assert!(!state.is_heartbeat_due(&evaluated_at(1_000), at(500)));
        let heartbeat = state.heartbeat().unwrap();
        assert!((740..800).contains(&heartbeat), "{heartbeat}: a status from the future");
    }
}
