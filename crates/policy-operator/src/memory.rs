//! What is remembered of one policy between two looks at it.

use std::time::Duration;

use policy_core::Timestamp;
use policy_core::api::{DevOpsPolicy, DevOpsPolicyStatus, EnforcementMode, ViolationsBySeverity};
use policy_core::report::Summary;
use tokio::time::Instant;

use crate::herald::Herald;
use crate::judgement::Judgement;
use crate::trail::Trail;

/// A policy is judged once in that time on the average, however often its namespace changes: so
/// many status writes there are at most. One look may come early: many are for a moment's sake,
/// such as the end of a minute, and the next change shall not have to wait for that.
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

/// The status that was written last. Kept until the watch has it.
#[derive(Debug)]
struct Written {
    version: Option<u64>,
    status: DevOpsPolicyStatus,
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
    /// How long the policy has to wait before it is judged again; `None` where it is its turn. One
    /// whose spec changed does not wait.
    pub(crate) fn rest(&self, generation: Option<i64>, now: Instant) -> Option<Duration> {
        let last = self.judged.filter(|last| last.generation == generation)?;
        let rest = last.paid.saturating_duration_since(now + PACE);
        (!rest.is_zero()).then_some(rest)
    }

    /// Notes that the policy is judged now.
    pub(crate) fn judges(&mut self, generation: Option<i64>, now: Instant) {
        let paid = self.judged.map_or(now, |last| last.paid.max(now)) + PACE;
        self.judged = Some(Judged { paid, generation });
    }

    /// The status that the policy has: the one that was written last, unless the watch has it or a
    /// newer one.
    pub(crate) fn status(&mut self, policy: Option<&DevOpsPolicy>) -> Option<DevOpsPolicyStatus> {
        // Where the policy cannot be decoded there is nothing to compare with.
        let Some(policy) = policy else {
            return self.written.as_ref().map(|written| written.status.clone());
        };
        let seen = version(policy.metadata.resource_version.as_deref());
        if self.written.as_ref().is_some_and(|written| written.version <= seen || seen.is_none()) {
            self.written = None;
        }
        let written = self.written.as_ref().map(|written| &written.status);
        written.or(policy.status.as_ref()).cloned()
    }

    /// Notes that the status was written, and when it is to be written again.
    pub(crate) fn wrote(&mut self, status: DevOpsPolicyStatus, resource_version: Option<&str>) {
        self.beat = None;
        self.beat_after(&status);
        self.written = Some(Written { version: version(resource_version), status });
    }

    /// The second (since 1970) at which the status is to be written in any case, where that is
    /// known.
    pub(crate) fn beat(&self) -> Option<i64> {
        self.beat
    }

    /// The second (since 1970) at which a policy with that status is to be written in any case.
    pub(crate) fn beat_after(&mut self, status: &DevOpsPolicyStatus) -> i64 {
        *self.beat.get_or_insert_with(|| {
            let last = status.last_evaluated.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
            last.as_second() + HEARTBEAT + fastrand::i64(0..=SPREAD)
        })
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn status(score: i32) -> DevOpsPolicyStatus {
        let last_evaluated = Some(Time(Timestamp::from_second(1_000).unwrap()));
        DevOpsPolicyStatus { health_score: Some(score), last_evaluated, ..Default::default() }
    }

    fn policy(version: &str, score: i32) -> DevOpsPolicy {
        let mut policy = DevOpsPolicy { status: Some(status(score)), ..DevOpsPolicy::default() };
        policy.metadata.resource_version = Some(version.to_owned());
        policy
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
    }

    #[test]
    fn what_was_written_counts_until_the_watch_has_it() {
        let mut memory = Memory::default();
        let score = |memory: &mut Memory, policy: &DevOpsPolicy| {
            memory.status(Some(policy)).and_then(|status| status.health_score)
        };
        assert_eq!(score(&mut memory, &policy("9", 50)), Some(50));
        memory.wrote(status(60), Some("10"));
        assert_eq!(score(&mut memory, &policy("9", 50)), Some(60), "the watch lags behind");
        assert_eq!(score(&mut memory, &policy("10", 60)), Some(60));
        assert_eq!(score(&mut memory, &policy("11", 70)), Some(70), "somebody else wrote");
        memory.wrote(status(80), Some("12"));
        assert_eq!(score(&mut memory, &policy("odd", 70)), Some(70));
    }

    #[test]
    fn a_status_is_written_again_within_five_minutes() {
        let mut memory = Memory::default();
        let beat = memory.beat_after(&status(1));
        assert!((1_240..1_300).contains(&beat), "{beat}");
        assert_eq!(memory.beat_after(&status(1)), beat, "the moment stays");
    }
}
