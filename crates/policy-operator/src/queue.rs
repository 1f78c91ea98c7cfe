//! The reconcile queue: the only schedule of which policy is reconciled when.
//!
//! Every reason to reconcile (a changed spec, changed pods, a time that is due, a write to retry)
//! becomes a due time, and a policy has one entry, with the earliest. Due times of the wall clock
//! (ages of pods, minutes of audit results, the heartbeat) arrive here as durations and are
//! measured in monotonic time, so that a changed clock cannot stop the queue.
//!
//! The operator does not use kube-runtime's `Controller`. That would be longer and less clear:
//! - Its scheduler runs an object at its earliest request. The only way to put off a run is a
//!   [debounce](https://docs.rs/kube-runtime/5.0.0/kube_runtime/controller/struct.Config.html#method.debounce)
//!   that every further change extends without end. Neither the gathering of changes from the first
//!   one on nor a pause after a failed write can be expressed: reconciles had to start, look at the
//!   time, and ask to be started again.
//! - It is driven by a watch stream and reads a reflector store. The watches of this service push
//!   into sinks, so it got an empty stream and a second copy of all policies.

mod schedule;

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::policy_key::PolicyKey;
use crate::write_budget::WriteBudget;
use policy_metrics::operator::DEFERRED;
use schedule::{Schedule, Taken};

/// A policy is reconciled once in that time on average. One reconcile may come early: many happen
/// because of a time that is due, such as the end of a minute, and must not delay the next change.
pub(crate) const PACE: Duration = Duration::from_secs(1);

/// A policy that waits for answers again is reconciled once in that time: a cluster policy gets them
/// for one namespace after the other.
const AGAIN: Duration = Duration::from_millis(250);

/// When a policy that was reconciled is reconciled again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// After that time at the latest. `None`: only a change of the policy or its pods brings work.
    pub(crate) requeue_after: Option<Duration>,
    /// Not within that time, unless the policy's spec changes or it is deleted.
    pub(crate) pause: Duration,
    /// Whether nothing came of it but a question, whose answer brings the next reconcile. It does not
    /// count in the [`PACE`]; one that waits again has a pace of its own, [`AGAIN`].
    pub(crate) waits: bool,
}

/// The policies that wait for a reconcile or are being reconciled.
#[derive(Clone, Default)]
pub(crate) struct ReconcileQueue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    schedule: Mutex<Schedule>,
    changed: Notify,
    budget: WriteBudget,
}

impl ReconcileQueue {
    /// Adds a policy that is due after that time, or later where it pauses.
    pub(crate) fn add_after(&self, key: &PolicyKey, delay: Duration) {
        self.update(|schedule, now| schedule.add(key, now + delay, false));
    }

    /// Adds a policy that is due now, even where it pauses.
    pub(crate) fn add_urgent(&self, key: &PolicyKey) {
        self.update(|schedule, now| schedule.add(key, now, true));
    }

    /// Waits until a policy is due. It is not given again before [`ReconcileQueue::finish`]. Of
    /// several, namespaces take turns.
    pub(crate) async fn next(&self) -> PolicyKey {
        loop {
            let changed = self.0.changed.notified();
            let taken = self.0.schedule.lock().take(Instant::now(), &self.0.budget);
            match taken {
                Ok(Taken { key, was_deferred }) => {
                    counter!(DEFERRED.name).increment(u64::from(was_deferred));
                    return key;
                }
                Err(None) => changed.await,
                Err(Some(due)) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(due) => {}
                },
            }
        }
    }

    /// Ends the reconcile of a policy.
    pub(crate) fn finish(&self, key: &PolicyKey, outcome: Outcome) {
        self.update(|schedule, now| schedule.finish(key, outcome, now));
    }

    /// The budget that every write has to be counted in.
    pub(crate) fn budget(&self) -> WriteBudget {
        self.0.budget.clone()
    }

    /// At most so many of the namespaces that have used up their budget, each with the number of
    /// its policies that wait for it.
    pub(crate) fn deferred(&self, most: usize) -> Vec<(Arc<str>, usize)> {
        let schedule = self.0.schedule.lock();
        schedule.held().take(most).map(|(name, waiting)| (Arc::clone(name), waiting)).collect()
    }

    fn update(&self, work: impl FnOnce(&mut Schedule, Instant)) {
        work(&mut self.0.schedule.lock(), Instant::now());
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    fn key() -> PolicyKey {
        PolicyKey::new("shop", "strict")
    }

    fn requeue(after: Duration) -> Outcome {
        Outcome { requeue_after: Some(after), ..Outcome::default() }
    }

    /// When the next policy is due, as time from now; `None` if not within an hour.
    async fn next_after(queue: &ReconcileQueue) -> Option<Duration> {
        let start = Instant::now();
        let next = tokio::time::timeout(3600 * PACE, queue.next()).await;
        next.ok().map(|_| start.elapsed())
    }

    fn assert_about(found: Option<Duration>, expected: Duration) {
        let found = found.unwrap();
        assert!(found >= expected && found <= expected + 2 * MOMENT, "{found:?}, not {expected:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_due_time_counts_and_a_policy_runs_once_at_a_time() {
        let queue = ReconcileQueue::default();
        queue.add_after(&key(), 3 * PACE);
        queue.add_after(&key(), PACE / 2);
        queue.add_after(&key(), PACE);
        assert_about(next_after(&queue).await, PACE / 2);
        queue.add_after(&key(), Duration::ZERO);
        assert_eq!(next_after(&queue).await, None, "it is running");
        queue.finish(&key(), Outcome::default());
        assert_about(next_after(&queue).await, Duration::ZERO);
        queue.finish(&key(), Outcome::default());
        assert_eq!(next_after(&queue).await, None, "nothing is left");
        assert!(queue.0.schedule.lock().entries.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_gathered_from_the_first_one_on() {
        let queue = ReconcileQueue::default();
        queue.add_after(&key(), PACE / 10);
        tokio::time::advance(PACE / 20).await;
        queue.add_after(&key(), PACE / 10);
        assert_about(next_after(&queue).await, PACE / 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_is_reconciled_once_a_second_on_average() {
        let queue = ReconcileQueue::default();
        queue.add_after(&key(), Duration::ZERO);
        let start = Instant::now();
        let mut runs = 0;
        while start.elapsed() < 20 * PACE {
            queue.next().await;
            runs += 1;
            queue.add_after(&key(), Duration::ZERO);
            queue.finish(&key(), Outcome::default());
        }
        assert!((20..=22).contains(&runs), "{runs}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reconcile_that_waits_does_not_delay_the_next_one() {
        let queue = ReconcileQueue::default();
        let waits = Outcome { waits: true, ..requeue(9 * PACE) };
        for _ in 0..4 {
            queue.add_urgent(&key());
            assert_about(next_after(&queue).await, Duration::ZERO);
            queue.finish(&key(), waits);
            queue.add_after(&key(), Duration::ZERO);
            // Otherwise the reconciles of one change would use up the time of the next.
            assert_about(next_after(&queue).await, Duration::ZERO);
            queue.finish(&key(), requeue(290 * PACE));
            tokio::time::advance(PACE).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_waits_again_and_again_has_a_pace_of_its_own() {
        let queue = ReconcileQueue::default();
        let (start, mut runs) = (Instant::now(), 0);
        queue.add_after(&key(), Duration::ZERO);
        while start.elapsed() < 20 * AGAIN {
            queue.next().await;
            runs += 1;
            queue.add_after(&key(), Duration::ZERO);
            queue.finish(&key(), Outcome { waits: true, ..Outcome::default() });
        }
        assert!((20..=22).contains(&runs), "{runs}");
        queue.next().await;
        queue.finish(&key(), Outcome::default());
        queue.add_after(&key(), Duration::ZERO);
        assert_about(next_after(&queue).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_against_changes_and_not_against_a_changed_spec() {
        let queue = ReconcileQueue::default();
        let failed =
            Outcome { requeue_after: Some(9 * PACE), pause: 9 * PACE, ..Outcome::default() };
        queue.add_urgent(&key());
        queue.next().await;
        queue.add_after(&key(), Duration::ZERO);
        queue.finish(&key(), failed);
        queue.add_after(&key(), Duration::ZERO);
        assert_about(next_after(&queue).await, 9 * PACE);
        queue.finish(&key(), failed);
        queue.add_urgent(&key());
        assert_about(next_after(&queue).await, Duration::ZERO);
        queue.add_urgent(&key());
        queue.finish(&key(), failed);
        assert_about(next_after(&queue).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_requeue_is_brought_forward_by_a_change() {
        let queue = ReconcileQueue::default();
        queue.add_after(&key(), Duration::ZERO);
        queue.next().await;
        queue.finish(&key(), requeue(290 * PACE));
        tokio::time::advance(5 * PACE).await;
        queue.add_after(&key(), PACE / 10);
        assert_about(next_after(&queue).await, PACE / 10);
        queue.finish(&key(), requeue(290 * PACE));
        assert_about(next_after(&queue).await, 290 * PACE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_that_runs_holds_up_no_other() {
        let queue = ReconcileQueue::default();
        let other = PolicyKey::new("bank", "strict");
        queue.add_after(&key(), Duration::ZERO);
        queue.add_after(&other, MOMENT);
        assert_eq!(queue.next().await, key());
        queue.add_after(&key(), Duration::ZERO);
        assert_eq!(queue.next().await, other);
    }

    fn named(namespace: &str, number: usize) -> PolicyKey {
        PolicyKey::new(namespace, &format!("p-{number:03}"))
    }

    #[tokio::test(start_paused = true)]
    async fn namespaces_take_turns_however_many_policies_they_have() {
        let queue = ReconcileQueue::default();
        for number in 0..100 {
            queue.add_after(&named("many", number), Duration::ZERO);
        }
        tokio::time::advance(MOMENT).await;
        queue.add_after(&named("few", 0), Duration::ZERO);
        queue.add_urgent(&named("one", 0));
        let mut order = Vec::new();
        for _ in 0..5 {
            let key = queue.next().await;
            queue.finish(&key, Outcome::default());
            order.push(key.to_string());
        }
        assert_eq!(order, ["many/p-000", "few/p-000", "one/p-000", "many/p-001", "many/p-002"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_has_only_some_of_the_workers() {
        let queue = ReconcileQueue::default();
        for number in 0..10 {
            queue.add_urgent(&named("many", number));
        }
        let mut running = Vec::new();
        for _ in 0..schedule::MOST_RUNNING {
            running.push(queue.next().await);
        }
        assert_eq!(next_after(&queue).await, None, "all its workers are busy");
        queue.add_urgent(&key());
        assert_eq!(queue.next().await, key());
        queue.finish(&running[0], Outcome::default());
        assert_about(next_after(&queue).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_that_wrote_too_much_waits_and_loses_nothing() {
        let queue = ReconcileQueue::default();
        let budget = queue.budget();
        while budget.exhausted_until("shop", Instant::now()).is_none() {
            budget.spend(&key().namespace);
        }
        let until = budget.exhausted_until("shop", Instant::now()).unwrap();
        let other = PolicyKey::new("shop", "other");
        queue.add_urgent(&key());
        queue.add_urgent(&other);
        queue.add_after(&PolicyKey::new("bank", "strict"), MOMENT);
        assert_about(next_after(&queue).await, MOMENT);
        assert_eq!(queue.deferred(10), [("shop".into(), 2)]);
        assert!(next_after(&queue).await.is_some());
        assert!((until..=until + 2 * MOMENT).contains(&Instant::now()));
        // Nothing was written, so that the second need not wait either.
        assert_about(next_after(&queue).await, Duration::ZERO);
        assert_eq!(queue.deferred(10), []);
        for key in [key(), other] {
            queue.finish(&key, Outcome::default());
        }
        assert_eq!(next_after(&queue).await, None);
    }

    proptest! {
        /// Whatever is due: between two policies of a namespace that are due, each other namespace
        /// has one turn at most, and every policy is taken once.
        #[test]
        fn no_namespace_has_two_turns_while_another_waits(
            added in prop::collection::btree_set((0_usize..5, 0_usize..30), 1..80),
            seed in any::<u64>(),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().start_paused(true).enable_time().build();
            let taken: Vec<PolicyKey> = runtime.unwrap().block_on(async {
                let queue = ReconcileQueue::default();
                let mut all: Vec<_> = added.iter().collect();
                fastrand::Rng::with_seed(seed).shuffle(&mut all);
                for (namespace, number) in all {
                    queue.add_urgent(&named(&namespace.to_string(), *number));
                }
                let mut taken = Vec::new();
                while let Ok(key) = tokio::time::timeout(MOMENT, queue.next()).await {
                    queue.finish(&key, Outcome::default());
                    taken.push(key);
                }
                taken
            });
            prop_assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), added.len());
            for (start, first) in taken.iter().enumerate() {
                let mut seen = BTreeSet::from([&first.namespace]);
                let turn = taken[start + 1..].iter().take_while(|key| seen.insert(&key.namespace)).count();
                let rest = &taken[start + 1 + turn..];
                // The namespaces that waited have all had their turn before one has its second.
                for waiting in rest {
                    let had_turn = taken[start..=start + turn].iter().any(|key| key.namespace == waiting.namespace);
                    prop_assert!(had_turn, "{:?}", taken);
                }
            }
        }
    }
}
