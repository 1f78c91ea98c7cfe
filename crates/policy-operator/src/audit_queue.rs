//! The verdicts that wait to be written as audit results: of each minute in which the verdict
//! changed, the last one. Pure.
//!
//! Every replica keeps this queue and the leader writes it, so that a change of the leader loses
//! nothing.

use std::collections::VecDeque;

use policy_core::Timestamp;
use policy_core::api::PolicyAuditResultSpec;
use policy_core::verdict::Fingerprint;

/// The most verdicts of a policy that wait. Each may have tens of kilobytes, and so many wait only
/// after writing has failed for as many minutes.
const MOST_WAITING: usize = 3;
const MINUTE_SECONDS: i64 = 60;
/// A standby drops a verdict that has been due for this time: the leader either wrote it or judged
/// differently. With one verdict a minute, at most [`MOST_WAITING`] then wait on a standby.
pub(crate) const OVERDUE_SECONDS: i64 = 2 * MINUTE_SECONDS;

/// The minute (since 1970) of a time.
pub(crate) fn minute_of(time: Timestamp) -> i64 {
    time.as_second().div_euclid(MINUTE_SECONDS)
}

/// The beginning of a minute.
pub(crate) fn start_of(minute: i64) -> Timestamp {
    Timestamp::from_second(minute.saturating_mul(MINUTE_SECONDS)).unwrap_or_default()
}

/// An audit result that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrittenResult {
    /// The minute that it is about, since 1970.
    pub(crate) minute: i64,
    /// Identifies the verdict; `None` where the object does not say.
    pub(crate) fingerprint: Option<Fingerprint>,
}

/// A verdict that waits to be written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WaitingResult {
    /// The minute that it is about, since 1970.
    pub(crate) minute: i64,
    /// Identifies the verdict.
    pub(crate) fingerprint: Fingerprint,
    /// The spec to write.
    pub(crate) spec: PolicyAuditResultSpec,
}

impl WaitingResult {
    /// The second (since 1970) at which the minute is over and the verdict can be written.
    fn due(&self) -> i64 {
        (self.minute + 1) * MINUTE_SECONDS
    }
}

/// The verdicts of a policy that wait to be written, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct AuditQueue(VecDeque<WaitingResult>);

impl AuditQueue {
    /// Adds the verdict of now, if it is another one than the last. `newest` is the newest audit
    /// result that exists. Returns how many verdicts were dropped because too many wait.
    pub(crate) fn observe(
        &mut self,
        newest: Option<WrittenResult>,
        fingerprint: Fingerprint,
        now: Timestamp,
        spec: impl FnOnce() -> PolicyAuditResultSpec,
    ) -> usize {
        self.remove_written(newest);
        let written = newest.and_then(|newest| newest.fingerprint);
        let is_known = |waiting: &VecDeque<WaitingResult>| {
            waiting.back().map(|last| last.fingerprint).or(written) == Some(fingerprint)
        };
        if is_known(&self.0) {
            return 0;
        }
        // A minute has one audit result at most, even where the clock was set back.
        let earliest = newest.map_or(i64::MIN, |newest| newest.minute + 1);
        let minute = minute_of(now).max(earliest);
        if self.0.back().is_some_and(|last| last.minute >= minute) {
            self.0.pop_back();
            if is_known(&self.0) {
                return 0;
            }
        }
        let mut spec = spec();
        // Readers of an audit result derive its minute from the time.
        spec.timestamp.0 = spec.timestamp.0.max(start_of(minute));
        // One waits for each policy after a start, more are rare.
        self.0.reserve_exact(1);
        self.0.push_back(WaitingResult { minute, fingerprint, spec });
        let excess = self.0.len().saturating_sub(MOST_WAITING);
        self.0.drain(..excess);
        excess
    }

    /// Removes what this or another replica has written. Two replicas that judge a policy at
    /// different times may assign the same verdict to different minutes.
    pub(crate) fn remove_written(&mut self, newest: Option<WrittenResult>) {
        let Some(newest) = newest else { return };
        self.0.retain(|waiting| waiting.minute > newest.minute);
        while self.0.front().is_some_and(|first| Some(first.fingerprint) == newest.fingerprint) {
            self.0.pop_front();
        }
        // Most queues are empty for days, and each would keep a kilobyte.
        self.0.shrink_to_fit();
    }

    /// Moves the oldest verdict to the next minute, because its own minute has another audit
    /// result already. It is dropped where the next minute has a verdict of its own.
    pub(crate) fn postpone(&mut self) {
        let Some(mut first) = self.0.pop_front() else { return };
        first.minute += 1;
        if self.0.front().is_none_or(|next| next.minute > first.minute) {
            self.0.push_front(first);
        }
    }

    /// Removes everything.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Removes what another replica should have written long ago.
    pub(crate) fn drop_overdue(&mut self, now: Timestamp) {
        self.0.retain(|waiting| waiting.due() + OVERDUE_SECONDS > now.as_second());
    }

    /// The oldest verdict, where its minute is over.
    pub(crate) fn due(&self, now: Timestamp) -> Option<&WaitingResult> {
        self.0.front().filter(|waiting| waiting.due() <= now.as_second())
    }

    /// The second (since 1970) at which the oldest verdict can be written.
    pub(crate) fn next_due(&self) -> Option<i64> {
        self.0.front().map(WaitingResult::due)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use policy_core::score::Classification;
    use proptest::prelude::*;

    use super::*;

    fn fingerprint(of: u8) -> Fingerprint {
        Fingerprint::parse(&format!("{of:032x}")).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn spec(second: i64) -> PolicyAuditResultSpec {
        PolicyAuditResultSpec {
            policy_name: "strict".to_owned(),
            cluster_name: None,
            timestamp: Time(at(second)),
            health_score: 100,
            classification: Classification::Healthy,
            total_pods: 0,
            total_violations: 0,
            violations: Vec::new(),
            truncated: false,
            exempted_violations: 0,
            exempted: Vec::new(),
        }
    }

    #[derive(Default)]
    struct Replica {
        queue: AuditQueue,
        written: Vec<(i64, u8)>,
    }

    impl Replica {
        fn newest(&self) -> Option<WrittenResult> {
            self.written.last().map(|(minute, of)| WrittenResult {
                minute: *minute,
                fingerprint: Some(fingerprint(*of)),
            })
        }

        fn judge(&mut self, second: i64, of: u8) {
            let newest = self.newest();
            let dropped = self.queue.observe(newest, fingerprint(of), at(second), || spec(second));
            assert_eq!(dropped, 0, "{:?}", self.queue);
        }

        fn write(&mut self, second: i64) {
            while let Some(due) = self.queue.due(at(second)) {
                let text = due.fingerprint.to_string();
                self.written.push((due.minute, u8::from_str_radix(&text, 16).unwrap()));
                self.queue.remove_written(self.newest());
            }
        }
    }

    #[test]
    fn the_last_verdict_of_each_minute_is_kept() {
        let mut replica = Replica::default();
        for (second, of) in [(0, 1), (10, 2), (59, 3), (60, 3), (61, 4), (125, 5)] {
            replica.write(second);
            replica.judge(second, of);
        }
        assert_eq!(replica.queue.next_due(), Some(180));
        replica.write(179);
        assert_eq!(replica.written, [(0, 3), (1, 4)]);
        replica.write(180);
        assert_eq!(replica.written, [(0, 3), (1, 4), (2, 5)]);
    }

    #[test]
    fn a_change_that_is_reverted_within_its_minute_is_none() {
        let mut replica = Replica::default();
        replica.judge(0, 1);
        replica.write(60);
        for (second, of) in [(61, 2), (70, 3), (80, 1)] {
            replica.judge(second, of);
        }
        assert_eq!(replica.queue.next_due(), None);
        replica.write(1_000);
        assert_eq!(replica.written, [(0, 1)]);
    }

    #[test]
    fn a_standby_drops_what_the_leader_has_written() {
        let mut standby = Replica::default();
        standby.judge(5, 1);
        standby.written.push((0, 1));
        standby.queue.remove_written(standby.newest());
        assert_eq!(standby.queue.next_due(), None);
        // Written by the leader between two reconciles of this replica.
        standby.judge(65, 2);
        standby.written.push((1, 2));
        standby.judge(70, 2);
        assert_eq!(standby.queue.next_due(), None);
        standby.written.pop();
        standby.judge(65, 2);
        standby.queue.drop_overdue(at(120 + OVERDUE_SECONDS - 1));
        assert_eq!(standby.queue.next_due(), Some(120));
        standby.queue.drop_overdue(at(120 + OVERDUE_SECONDS));
        assert_eq!(standby.queue.next_due(), None);
    }

    #[test]
    fn a_verdict_of_a_minute_that_is_written_belongs_to_the_next() {
        let mut replica = Replica { written: vec![(0, 1)], ..Replica::default() };
        replica.judge(30, 2);
        replica.write(119);
        assert_eq!(replica.written.len(), 1);
        replica.write(120);
        assert_eq!(replica.written, [(0, 1), (1, 2)]);
    }

    #[test]
    fn what_cannot_be_written_is_bounded_and_counted() {
        let mut queue = AuditQueue::default();
        let dropped: usize = (0..10)
            .map(|n| {
                let now = at(i64::from(n) * MINUTE_SECONDS);
                queue.observe(None, fingerprint(n), now, || spec(0))
            })
            .sum();
        assert_eq!((dropped, queue.0.len()), (10 - MOST_WAITING, MOST_WAITING));
    }

    #[test]
    fn a_verdict_whose_minute_is_taken_moves_to_the_next() {
        let mut queue = AuditQueue::default();
        queue.observe(None, fingerprint(1), at(0), || spec(0));
        queue.postpone();
        assert_eq!(queue.next_due(), Some(120));
        queue.observe(None, fingerprint(2), at(125), || spec(125));
        queue.postpone();
        assert_eq!((queue.0.len(), queue.next_due()), (1, Some(180)));
        // The other replica assigned the same verdict to another minute.
        queue.remove_written(Some(WrittenResult { minute: 0, fingerprint: Some(fingerprint(2)) }));
        assert_eq!(queue.next_due(), None);
    }

    proptest! {
        /// Two replicas judge at different times, and the leader writes. Whichever leads when: no
        /// verdict is written twice in a row, and the last one is written.
        #[test]
        fn each_change_is_written_once_under_changing_leaders(
            steps in prop::collection::vec((0_i64..40, 0_u8..3, 0_i64..3, any::<bool>()), 1..60),
        ) {
            let mut replicas = [Replica::default(), Replica::default()];
            let (mut second, mut leader) = (0, 0);
            for (step, of, late, changes_leader) in &steps {
                second += step;
                for (number, replica) in replicas.iter_mut().enumerate() {
                    // A reconcile reads the clock once.
                    let now = second + if number == 0 { 0 } else { *late };
                    if number != leader {
                        replica.queue.drop_overdue(at(now));
                    }
                    replica.judge(now, *of);
                }
                leader = if *changes_leader { 1 - leader } else { leader };
                replicas[leader].write(second + late);
                let written = replicas[leader].written.clone();
                replicas[1 - leader].written = written;
            }
            let last = steps.last().map(|(_, of, ..)| *of);
            replicas[leader].judge(second + 3, last.unwrap_or_default());
            replicas[leader].write(second + 3 * MINUTE_SECONDS);
            let written = &replicas[leader].written;
            prop_assert_eq!(written.last().map(|(_, of)| *of), last);
            for pair in written.windows(2) {
                prop_assert_ne!(pair[0].1, pair[1].1, "{:?}", written);
            }
        }

        /// Whatever is judged when, and however late it is written: the last verdict is written,
        /// none twice in a row, and one for each minute at most.
        #[test]
        fn each_change_is_written_once_however_late(
            judged in prop::collection::vec((0_i64..40, 0_u8..3, any::<bool>()), 1..60),
        ) {
            let mut replica = Replica::default();
            let mut second = 0;
            for (step, of, writes) in &judged {
                second += step;
                if *writes || replica.queue.0.len() == MOST_WAITING {
                    replica.write(second + if *writes { 0 } else { MINUTE_SECONDS });
                }
                replica.judge(second, *of);
            }
            replica.write(second + 2 * MINUTE_SECONDS);
            let written = &replica.written;
            prop_assert_eq!(written.last().map(|(_, of)| *of), judged.last().map(|(_, of, _)| *of));
            for pair in written.windows(2) {
                prop_assert!(pair[0].0 < pair[1].0, "{:?}", written);
                prop_assert_ne!(pair[0].1, pair[1].1);
            }
        }
    }
}
