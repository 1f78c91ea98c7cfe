//! What is remembered of one policy between two looks at it.

use std::sync::Arc;
use std::time::Duration;

use policy_core::Timestamp;
use policy_core::api::{DevOpsPolicyStatus, EnforcementMode, ViolationsBySeverity};
use policy_core::report::Summary;
use policy_core::view::PolicyView;
use policy_runtime::backoff::Backoff;
use tokio::time::Instant;

use crate::herald::Herald;
use crate::judgement::Judgement;
use crate::trail::Trail;
use crate::write::Class;

/// A policy's status is written once in that time at most, and the policy judged as often on the
/// average, however often its namespace changes. One look may come early: many are for a moment's
/// sake, such as the end of a minute, and the next change shall not have to wait for that.
pub(crate) const PACE: Duration = Duration::from_secs(1);
/// A status that says nothing new is written again after that time and up to as much more as
/// follows, so that policies made together are not written together for ever. Both together are
/// less than the five minutes that are promised.
const HEARTBEAT: i64 = 240;
const SPREAD: i64 = 50;

/// What is remembered of one policy. Every replica remembers, so that any can take over.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    judged: Option<Judged>,
    failure: Option<Failure>,
    written_at: Option<Instant>,
    written: Option<Written>,
    /// The second (since 1970) at which the status is to be written in any case.
    beat: Option<i64>,
    /// The verdicts to be written down.
    pub(crate) trail: Trail,
    /// What was told of the class.
    pub(crate) herald: Herald,
    /// What metrics say of it.
    pub(crate) shown: Option<Shown>,
}

#[derive(Clone, Copy, Debug)]
struct Judged {
    /// When the looks so far are paid for, at one in each [`PACE`].
    paid: Instant,
    generation: Option<i64>,
}

/// Writes that fail, one after the other, for the same sort of reason.
#[derive(Debug)]
struct Failure {
    class: Class,
    backoff: Backoff,
    until: Instant,
    generation: Option<i64>,
}

/// The status that was written last. Kept until the watch has it.
#[derive(Debug)]
struct Written {
    version: Option<u64>,
    status: Arc<DevOpsPolicyStatus>,
}

/// What metrics say of a policy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shown {
    pub(crate) mode: EnforcementMode,
    pub(crate) score: u8,
    pub(crate) violations: u64,
    pub(crate) by_severity: ViolationsBySeverity,
}

impl Shown {
    /// Nothing is told of a policy that cannot be judged by.
    pub(crate) fn of(judgement: &Judgement) -> Option<Self> {
        let Judgement::Judged(policy, verdict) = judgement else { return None };
        let summary = Summary::of(&verdict.tally, policy);
        Some(Self {
            mode: policy.mode(),
            score: summary.score,
            violations: summary.total_violations,
            by_severity: summary.violations_by_severity,
        })
    }
}

/// The API server counts versions up. One that is no number is taken for newer than any.
fn version(text: Option<&str>) -> Option<u64> {
    text.and_then(|text| text.parse().ok())
}

impl Memory {
    /// How long the policy has to wait before it is looked at again, because it was a moment ago, or
    /// because a write failed; `None` where it is its turn. One whose spec changed, or that is
    /// being deleted, does not wait: both make another generation.
    pub(crate) fn rest(&self, generation: Option<i64>, now: Instant) -> Option<Duration> {
        let judged = self.judged.filter(|last| last.generation == generation);
        let written = self.written_at.filter(|_| judged.is_some());
        let failure = self.failure.as_ref().filter(|last| last.generation == generation);
        let paid = judged.map(|last| last.paid.saturating_duration_since(now + PACE));
        let rests = [
            paid,
            written.map(|at| (at + PACE).saturating_duration_since(now)),
            failure.map(|last| last.until.saturating_duration_since(now)),
        ];
        let rest = rests.into_iter().flatten().max()?;
        (!rest.is_zero()).then_some(rest)
    }

    /// Notes that the policy is judged now.
    pub(crate) fn judges(&mut self, generation: Option<i64>, now: Instant) {
        let paid = self.judged.map_or(now, |last| last.paid.max(now)) + PACE;
        self.judged = Some(Judged { paid, generation });
    }

    /// Notes that a write failed, and gives the time until it is to be tried again.
    pub(crate) fn failed(
        &mut self,
        class: Class,
        generation: Option<i64>,
        now: Instant,
    ) -> Duration {
        let failing = self.failure.take().filter(|failure| failure.class == class);
        let mut backoff = failing.map_or_else(|| class.backoff(), |failure| failure.backoff);
        let delay = backoff.delay();
        self.failure = Some(Failure { class, backoff, until: now + delay, generation });
        delay
    }

    /// Notes that all that was to be written is written.
    pub(crate) fn succeeded(&mut self) {
        self.failure = None;
    }

    /// Lets go of a policy that is being deleted: its series and its pending work.
    pub(crate) fn release(&mut self) {
        self.shown = None;
        self.trail.clear();
        self.written = None;
    }

    /// Notes the version in which the watch has the policy.
    pub(crate) fn sees(&mut self, resource_version: Option<&str>) {
        let seen = version(resource_version);
        if self.written.as_ref().is_some_and(|written| written.version <= seen || seen.is_none()) {
            self.written = None;
        }
    }

    /// The status that the policy has: the one that was written last, unless the watch has it or a
    /// newer one.
    pub(crate) fn status(&mut self, policy: &PolicyView) -> Option<Arc<DevOpsPolicyStatus>> {
        self.sees(policy.metadata.resource_version.as_deref());
        let written = self.written.as_ref().map(|written| &written.status);
        written.or(policy.status.as_ref()).cloned()
    }

    /// Notes that the status was written, and when it is to be written again.
    pub(crate) fn wrote(
        &mut self,
        status: Arc<DevOpsPolicyStatus>,
        resource_version: Option<&str>,
    ) {
        self.beat = None;
        self.beat_after(&status, Timestamp::MAX);
        self.written = Some(Written { version: version(resource_version), status });
        self.written_at = Some(Instant::now());
    }

    /// The second (since 1970) at which the status is to be written in any case, where that is
    /// known.
    pub(crate) fn beat(&self) -> Option<i64> {
        self.beat
    }

    /// The second (since 1970) at which a policy with that status is to be written in any case. A
    /// status from the future puts it off no longer than one of now.
    pub(crate) fn beat_after(&mut self, status: &DevOpsPolicyStatus, now: Timestamp) -> i64 {
        *self.beat.get_or_insert_with(|| {
            let last = status.last_evaluated.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
            last.min(now).as_second() + HEARTBEAT + fastrand::i64(0..=SPREAD)
        })
    }

    /// Whether that moment has come. One too far away was set by a clock that was set back since.
    pub(crate) fn is_to_beat(&mut self, status: &DevOpsPolicyStatus, now: Timestamp) -> bool {
        let rest = self.beat_after(status, now) - now.as_second();
        rest <= 0 || rest > HEARTBEAT + SPREAD
    }

    /// Forgets that moment: it is another replica's to keep.
    pub(crate) fn follows(&mut self) {
        self.beat = None;
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

    use policy_core::view::Refused;

    use super::*;

    fn status(score: i32) -> DevOpsPolicyStatus {
        let last_evaluated = Some(Time(Timestamp::from_second(1_000).unwrap()));
        DevOpsPolicyStatus { health_score: Some(score), last_evaluated, ..Default::default() }
    }

    fn policy(version: &str, score: i32) -> PolicyView {
        let metadata =
            ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() };
        let rules = Err(Refused::Undecodable("not asked".to_owned()));
        PolicyView { metadata, rules, status: Some(Arc::new(status(score))) }
    }

    #[test]
    fn a_policy_waits_for_its_turn_unless_its_spec_changed() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        assert_eq!(memory.rest(Some(1), start), None);
        memory.judges(Some(1), start);
        assert_eq!(memory.rest(Some(1), start), None, "one may come early");
        memory.judges(Some(1), start);
        assert_eq!(memory.rest(Some(1), start + PACE / 4), Some(PACE * 3 / 4));
        assert_eq!(memory.rest(Some(2), start + PACE / 4), None);
        assert_eq!(memory.rest(Some(1), start + PACE), None);
        for second in 1..100 {
            memory.judges(Some(1), start + PACE * second);
            assert!(memory.rest(Some(1), start + PACE * second).is_some(), "not two each second");
        }
        let mut memory = Memory::default();
        memory.judges(Some(1), start);
        memory.wrote(Arc::new(status(1)), Some("1"));
        let wrote = Instant::now();
        let rest = memory.rest(Some(1), wrote).unwrap_or_default();
        assert!(rest > PACE / 2, "{rest:?}: no second status within a second");
    }

    #[test]
    fn failures_of_one_sort_are_further_and_further_apart_whatever_changes() {
        let (mut memory, mut now) = (Memory::default(), Instant::now());
        let mut last = Duration::ZERO;
        for _ in 0..4 {
            let delay = memory.failed(Class::Forbidden, Some(1), now);
            assert!(delay > last, "{delay:?} after {last:?}");
            assert_eq!(memory.rest(Some(1), now), Some(delay));
            assert_eq!(memory.rest(Some(2), now), None, "a changed spec is tried at once");
            (now, last) = (now + delay, delay);
        }
        assert!(memory.failed(Class::Conflict, Some(1), now) < Duration::from_secs(1));
        memory.succeeded();
        assert_eq!(memory.rest(Some(1), now), None);
    }

    #[test]
    fn what_was_written_counts_until_the_watch_has_it() {
        let mut memory = Memory::default();
        let score = |memory: &mut Memory, policy: &PolicyView| {
            memory.status(policy).and_then(|status| status.health_score)
        };
        assert_eq!(score(&mut memory, &policy("9", 50)), Some(50));
        memory.wrote(Arc::new(status(60)), Some("10"));
        assert_eq!(score(&mut memory, &policy("9", 50)), Some(60), "the watch lags behind");
        assert_eq!(score(&mut memory, &policy("10", 60)), Some(60));
        assert_eq!(score(&mut memory, &policy("11", 70)), Some(70), "somebody else wrote");
        memory.wrote(Arc::new(status(80)), Some("12"));
        assert_eq!(score(&mut memory, &policy("odd", 70)), Some(70));
    }

    #[test]
    fn a_status_is_written_again_within_five_minutes() {
        let mut memory = Memory::default();
        let now = |second| Timestamp::from_second(second).unwrap();
        let beat = memory.beat_after(&status(1), now(1_100));
        assert!((1_240..1_300).contains(&beat), "{beat}");
        assert_eq!(memory.beat_after(&status(1), now(1_200)), beat, "the moment stays");
        memory.follows();
        let beat = memory.beat_after(&status(1), now(500));
        assert!((740..800).contains(&beat), "{beat}: the clock was set back");
    }
}
