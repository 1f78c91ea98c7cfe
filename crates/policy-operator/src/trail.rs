//! The trail of verdicts that audit results are made of: of each minute in which the verdict
//! changed, the latest. Pure.
//!
//! Every replica keeps the trail and the leader writes it down, so that nothing of a minute is
//! lost with its leader.

use std::collections::VecDeque;

use policy_core::Timestamp;
use policy_core::api::PolicyAuditResultSpec;
use policy_core::verdict::Fingerprint;

/// Verdicts that wait to be written down, of one policy. Each may be some tens of kilobytes, and
/// where more are waiting, writing has failed for as many minutes.
const MOST: usize = 3;
/// The time of a minute.
const MINUTE: i64 = 60;
/// A follower lets go of what has been due for so long: its leader wrote it down, or never saw it.
pub(crate) const STALE: i64 = 3 * MINUTE;

/// A verdict that was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// The minute that it belongs to, since 1970.
    pub(crate) minute: i64,
    /// Tells it from others; `None` where it does not say.
    pub(crate) fingerprint: Option<Fingerprint>,
}

/// A verdict to be written down.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pending {
    /// The minute that it belongs to, since 1970.
    pub(crate) minute: i64,
    /// Tells it from others.
    pub(crate) fingerprint: Fingerprint,
    /// What to write.
    pub(crate) spec: PolicyAuditResultSpec,
}

/// The verdicts of a policy that wait to be written down, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Trail(VecDeque<Pending>);

impl Trail {
    /// Takes in the verdict of that second (since 1970). `last` is the newest that was written
    /// down. Says how many were left out for want of room.
    pub(crate) fn observe(
        &mut self,
        last: Option<Recorded>,
        fingerprint: Fingerprint,
        second: i64,
        spec: impl FnOnce() -> PolicyAuditResultSpec,
    ) -> usize {
        self.settle(last);
        let recorded = last.and_then(|last| last.fingerprint);
        let is_known = |pending: &VecDeque<Pending>| {
            pending.back().map(|back| back.fingerprint).or(recorded) == Some(fingerprint)
        };
        if is_known(&self.0) {
            return 0;
        }
        // A minute that was written down is over, whatever the clock says.
        let after = last.map_or(i64::MIN, |last| last.minute + 1);
        let minute = second.div_euclid(MINUTE).max(after);
        if self.0.back().is_some_and(|back| back.minute >= minute) {
            self.0.pop_back();
            if is_known(&self.0) {
                return 0;
            }
        }
        let mut spec = spec();
        // Who reads it later takes the minute from the time.
        let begin = Timestamp::from_second(minute * MINUTE).unwrap_or_default();
        spec.timestamp.0 = spec.timestamp.0.max(begin);
        self.0.push_back(Pending { minute, fingerprint, spec });
        let excess = self.0.len().saturating_sub(MOST);
        self.0.drain(..excess);
        excess
    }

    /// Lets go of what was written down, by this replica or another. Two that look at a policy at
    /// different moments may count the same verdict to different minutes.
    pub(crate) fn settle(&mut self, last: Option<Recorded>) {
        let Some(last) = last else { return };
        self.0.retain(|pending| pending.minute > last.minute);
        while self.0.front().is_some_and(|front| Some(front.fingerprint) == last.fingerprint) {
            self.0.pop_front();
        }
    }

    /// Moves the oldest verdict to the next minute, because somebody else wrote down another one of
    /// its own. Where that minute has one of its own, this one is let go of.
    pub(crate) fn postpone(&mut self) {
        let Some(mut front) = self.0.pop_front() else { return };
        front.minute += 1;
        if self.0.front().is_none_or(|next| next.minute > front.minute) {
            self.0.push_front(front);
        }
    }

    /// Lets go of everything.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Lets go of what somebody else should have written down long ago.
    pub(crate) fn forget_stale(&mut self, second: i64) {
        self.0.retain(|pending| (pending.minute + 1) * MINUTE + STALE > second);
    }

    /// The oldest verdict whose minute is over.
    pub(crate) fn due(&self, second: i64) -> Option<&Pending> {
        self.0.front().filter(|pending| (pending.minute + 1) * MINUTE <= second)
    }

    /// The second (since 1970) at which the oldest verdict can be written down.
    pub(crate) fn next(&self) -> Option<i64> {
        self.0.front().map(|pending| (pending.minute + 1) * MINUTE)
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

    fn spec(second: i64) -> PolicyAuditResultSpec {
        PolicyAuditResultSpec {
            policy_name: "strict".to_owned(),
            cluster_name: None,
            timestamp: Time(Timestamp::from_second(second).unwrap()),
            health_score: 100,
            classification: Classification::Healthy,
            total_pods: 0,
            total_violations: 0,
            violations: Vec::new(),
            truncated: false,
        }
    }

    #[derive(Default)]
    struct Replica {
        trail: Trail,
        written: Vec<(i64, u8)>,
    }

    impl Replica {
        fn last(&self) -> Option<Recorded> {
            self.written.last().map(|(minute, of)| Recorded {
                minute: *minute,
                fingerprint: Some(fingerprint(*of)),
            })
        }

        fn see(&mut self, second: i64, of: u8) {
            let last = self.last();
            let dropped = self.trail.observe(last, fingerprint(of), second, || spec(second));
            assert_eq!(dropped, 0, "{:?}", self.trail);
        }

        fn write(&mut self, second: i64) {
            while let Some(due) = self.trail.due(second) {
                let text = due.fingerprint.to_string();
                self.written.push((due.minute, u8::from_str_radix(&text, 16).unwrap()));
                self.trail.settle(self.last());
            }
        }
    }

    #[test]
    fn of_each_minute_the_latest_verdict_is_kept() {
        let mut replica = Replica::default();
        for (second, of) in [(0, 1), (10, 2), (59, 3), (60, 3), (61, 4), (125, 5)] {
            replica.write(second);
            replica.see(second, of);
        }
        assert_eq!(replica.trail.next(), Some(180));
        replica.write(179);
        assert_eq!(replica.written, [(0, 3), (1, 4)]);
        replica.write(180);
        assert_eq!(replica.written, [(0, 3), (1, 4), (2, 5)]);
    }

    #[test]
    fn a_change_that_is_taken_back_within_its_minute_is_none() {
        let mut replica = Replica::default();
        replica.see(0, 1);
        replica.write(60);
        for (second, of) in [(61, 2), (70, 3), (80, 1)] {
            replica.see(second, of);
        }
        assert_eq!(replica.trail.next(), None);
        replica.write(1_000);
        assert_eq!(replica.written, [(0, 1)]);
    }

    #[test]
    fn a_replica_that_follows_lets_go_of_what_was_written() {
        let mut follower = Replica::default();
        follower.see(5, 1);
        follower.written.push((0, 1));
        follower.trail.settle(follower.last());
        assert_eq!(follower.trail.next(), None);
        // Written down by the leader while this one looked at something else.
        follower.see(65, 2);
        follower.written.push((1, 2));
        follower.see(70, 2);
        assert_eq!(follower.trail.next(), None);
        follower.written.pop();
        follower.see(65, 2);
        follower.trail.forget_stale(120 + STALE - 1);
        assert_eq!(follower.trail.next(), Some(120));
        follower.trail.forget_stale(120 + STALE);
        assert_eq!(follower.trail.next(), None);
    }

    #[test]
    fn a_verdict_of_a_minute_that_was_written_down_belongs_to_the_next() {
        let mut replica = Replica { written: vec![(0, 1)], ..Replica::default() };
        replica.see(30, 2);
        replica.write(119);
        assert_eq!(replica.written.len(), 1);
        replica.write(120);
        assert_eq!(replica.written, [(0, 1), (1, 2)]);
    }

    #[test]
    fn what_cannot_be_written_is_bounded_and_counted() {
        let mut trail = Trail::default();
        let left_out: usize = (0..10)
            .map(|n| trail.observe(None, fingerprint(n), i64::from(n) * MINUTE, || spec(0)))
            .sum();
        assert_eq!((left_out, trail.0.len()), (10 - MOST, MOST));
    }

    #[test]
    fn where_another_verdict_has_the_minute_the_next_one_is_taken() {
        let mut trail = Trail::default();
        trail.observe(None, fingerprint(1), 0, || spec(0));
        trail.postpone();
        assert_eq!(trail.next(), Some(120));
        trail.observe(None, fingerprint(2), 125, || spec(125));
        trail.postpone();
        assert_eq!((trail.0.len(), trail.next()), (1, Some(180)));
        // Written down elsewhere meanwhile, in whatever minute.
        trail.settle(Some(Recorded { minute: 0, fingerprint: Some(fingerprint(2)) }));
        assert_eq!(trail.next(), None);
    }

    proptest! {
        /// Two replicas look at different moments, and the one that leads writes: whoever leads
        /// when, no verdict is written down twice in a row, and the last one is.
        #[test]
        fn whoever_leads_tells_each_change_once(
            steps in prop::collection::vec((0_i64..40, 0_u8..3, 0_i64..3, any::<bool>()), 1..60),
        ) {
            let mut replicas = [Replica::default(), Replica::default()];
            let (mut second, mut leader) = (0, 0);
            for (step, of, late, changes_leader) in &steps {
                second += step;
                for (place, replica) in replicas.iter_mut().enumerate() {
                    replica.see(second + if place == 0 { 0 } else { *late }, *of);
                }
                leader = if *changes_leader { 1 - leader } else { leader };
                replicas[leader].write(second + late);
                let written = replicas[leader].written.clone();
                replicas[1 - leader].written = written;
            }
            let last = steps.last().map(|(_, of, ..)| *of);
            replicas[leader].see(second + 3, last.unwrap_or_default());
            replicas[leader].write(second + 3 * MINUTE);
            let written = &replicas[leader].written;
            prop_assert_eq!(written.last().map(|(_, of)| *of), last);
            for pair in written.windows(2) {
                prop_assert_ne!(pair[0].1, pair[1].1, "{:?}", written);
            }
        }

        /// Whatever is seen when, and however late it is written: the last verdict is written down,
        /// none twice in a row, and one for each minute at most.
        #[test]
        fn a_trail_tells_each_change_once(
            seen in prop::collection::vec((0_i64..40, 0_u8..3, any::<bool>()), 1..60),
        ) {
            let mut replica = Replica::default();
            let mut second = 0;
            for (step, of, writes) in &seen {
                second += step;
                if *writes || replica.trail.0.len() == MOST {
                    replica.write(second + if *writes { 0 } else { MINUTE });
                }
                replica.see(second, *of);
            }
            replica.write(second + 2 * MINUTE);
            let written = &replica.written;
            prop_assert_eq!(written.last().map(|(_, of)| *of), seen.last().map(|(_, of, _)| *of));
            for pair in written.windows(2) {
                prop_assert!(pair[0].0 < pair[1].0, "{:?}", written);
                prop_assert_ne!(pair[0].1, pair[1].1);
            }
        }
    }
}
