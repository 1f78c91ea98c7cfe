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

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::policy_key::PolicyKey;

/// A policy is reconciled once in that time on average. One reconcile may come early: many happen
/// because of a time that is due, such as the end of a minute, and must not delay the next change.
pub(crate) const PACE: Duration = Duration::from_secs(1);

/// When a policy that was reconciled is reconciled again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// After that time at the latest. `None`: only a change of the policy or its pods brings work.
    pub(crate) requeue_after: Option<Duration>,
    /// Not within that time, unless the policy's spec changes or it is deleted.
    pub(crate) pause: Duration,
}

/// The policies that wait for a reconcile or are being reconciled.
#[derive(Clone, Default)]
pub(crate) struct ReconcileQueue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    schedule: Mutex<Schedule>,
    changed: Notify,
}

#[derive(Default)]
struct Schedule {
    entries: HashMap<PolicyKey, Entry>,
    /// The entries that are due at some time and not running.
    waiting: BTreeSet<(Instant, PolicyKey)>,
}

#[derive(Default)]
struct Entry {
    due: Option<Instant>,
    /// The time before which only an urgent reconcile starts.
    not_before: Option<Instant>,
    /// Whether something urgent was added while the policy was being reconciled.
    is_urgent: bool,
    is_running: bool,
    /// The end of the time that the reconciles so far have used up, each of them [`PACE`].
    paced_until: Option<Instant>,
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

    /// Waits until a policy is due. It is not given again before [`ReconcileQueue::finish`].
    pub(crate) async fn next(&self) -> PolicyKey {
        loop {
            let changed = self.0.changed.notified();
            let taken = self.0.schedule.lock().take(Instant::now());
            match taken {
                Ok(key) => return key,
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

    fn update(&self, work: impl FnOnce(&mut Schedule, Instant)) {
        work(&mut self.0.schedule.lock(), Instant::now());
        self.0.changed.notify_one();
    }
}

impl Schedule {
    fn add(&mut self, key: &PolicyKey, due: Instant, is_urgent: bool) {
        let entry = self.entries.entry(key.clone()).or_default();
        let due = if is_urgent { due } else { entry.not_before.map_or(due, |at| at.max(due)) };
        entry.is_urgent |= is_urgent;
        if entry.due.is_some_and(|before| before <= due) {
            return;
        }
        let before = entry.due.replace(due);
        if !entry.is_running {
            if let Some(before) = before {
                self.waiting.remove(&(before, key.clone()));
            }
            self.waiting.insert((due, key.clone()));
        }
    }

    /// The policy that is due, or when the next one is.
    fn take(&mut self, now: Instant) -> Result<PolicyKey, Option<Instant>> {
        let first = self.waiting.pop_first().ok_or(None)?;
        if first.0 > now {
            let due = first.0;
            self.waiting.insert(first);
            return Err(Some(due));
        }
        let (_, key) = first;
        let entry = self.entries.entry(key.clone()).or_default();
        entry.due = None;
        entry.is_urgent = false;
        entry.is_running = true;
        entry.paced_until = Some(entry.paced_until.map_or(now, |until| until.max(now)) + PACE);
        Ok(key)
    }

    fn finish(&mut self, key: &PolicyKey, outcome: Outcome, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.is_running = false;
        let paced = entry.paced_until.and_then(|until| until.checked_sub(PACE));
        entry.not_before = paced.max(Some(now + outcome.pause));
        let (due, is_urgent) = (entry.due.take(), entry.is_urgent);
        if let Some(due) = due {
            self.add(key, due, is_urgent);
        }
        if let Some(delay) = outcome.requeue_after {
            self.add(key, now + delay, false);
        }
        if due.is_none() && outcome.requeue_after.is_none() {
            self.entries.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
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
    async fn a_pause_holds_against_changes_and_not_against_a_changed_spec() {
        let queue = ReconcileQueue::default();
        let failed = Outcome { requeue_after: Some(9 * PACE), pause: 9 * PACE };
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
}
