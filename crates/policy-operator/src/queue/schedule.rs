//! Which policy is reconciled next. Pure.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use super::{AGAIN, Outcome, PACE};
use crate::policy_key::PolicyKey;
use crate::write_budget::WriteBudget;

/// The most policies of one namespace that are reconciled at the same time, so that a namespace
/// whose writes are slow leaves workers to the others.
pub(super) const MOST_RUNNING: usize = 2;

/// The policies that wait for a reconcile or are being reconciled. Those that are due are taken
/// from one namespace after the other: a policy waits for at most one of each other namespace,
/// however many these have.
#[derive(Default)]
pub(super) struct Schedule {
    pub(super) entries: HashMap<PolicyKey, Entry>,
    /// The policies that become due, and do not run.
    later: BTreeSet<(Instant, PolicyKey)>,
    /// The namespaces with a policy that is due or runs.
    pub(super) namespaces: HashMap<Arc<str>, Turn>,
    /// The namespaces that have a policy to take, by turns.
    turns: VecDeque<Arc<str>>,
    /// The namespaces that have a policy to take, and must not write until then.
    held: BTreeSet<(Instant, Arc<str>)>,
}

#[derive(Default)]
pub(super) struct Entry {
    due: Option<Instant>,
    /// The time before which only an urgent reconcile starts.
    not_before: Option<Instant>,
    /// Whether something urgent was added while the policy was being reconciled.
    is_urgent: bool,
    is_running: bool,
    /// The end of the time that the reconciles so far have used up, each of them [`PACE`].
    paced_until: Option<Instant>,
    /// Whether the last reconcile waits for an answer.
    waits: bool,
}

#[derive(Default)]
pub(super) struct Turn {
    /// The names of the policies that are due, with the time since when.
    due: BTreeSet<(Instant, Arc<str>)>,
    running: usize,
    /// Whether the namespace is in line, or held: it is in one place at a time.
    is_waiting: bool,
    /// Until when the namespace was held last.
    held_until: Option<Instant>,
}

/// A policy to reconcile.
pub(super) struct Taken {
    pub(super) key: PolicyKey,
    /// Whether its namespace was held while the policy was due.
    pub(super) was_deferred: bool,
}

impl Turn {
    fn has_more(&self) -> bool {
        !self.due.is_empty() && self.running < MOST_RUNNING
    }
}

impl Schedule {
    pub(super) fn add(&mut self, key: &PolicyKey, due: Instant, is_urgent: bool) {
        let entry = self.entries.entry(key.clone()).or_default();
        let due = if is_urgent { due } else { entry.not_before.map_or(due, |at| at.max(due)) };
        entry.is_urgent |= is_urgent;
        // One that is due already is not due later.
        if entry.due.is_some_and(|before| before <= due) {
            return;
        }
        let before = entry.due.replace(due);
        if !entry.is_running {
            if let Some(before) = before {
                self.later.remove(&(before, key.clone()));
            }
            self.later.insert((due, key.clone()));
        }
    }

    /// The policy whose turn it is, or when the next one is due.
    pub(super) fn take(
        &mut self,
        now: Instant,
        budget: &WriteBudget,
    ) -> Result<Taken, Option<Instant>> {
        self.collect_due(now);
        while let Some(namespace) = self.turns.pop_front() {
            let Some(turn) = self.namespaces.get_mut(&namespace) else { continue };
            if let Some(until) = budget.exhausted_until(&namespace, now) {
                turn.held_until = Some(until);
                self.held.insert((until, namespace));
                continue;
            }
            turn.is_waiting = false;
            let Some((due, name)) = turn.due.pop_first() else { continue };
            let was_deferred = turn.held_until.is_some_and(|until| due < until);
            turn.running += 1;
            self.get_in_line(&namespace);
            let key = PolicyKey { namespace, name };
            let entry = self.entries.entry(key.clone()).or_default();
            entry.due = None;
            entry.is_urgent = false;
            entry.is_running = true;
            entry.paced_until = Some(entry.paced_until.map_or(now, |until| until.max(now)) + PACE);
            return Ok(Taken { key, was_deferred });
        }
        let (later, held) = (self.later.first(), self.held.first());
        Err(later.map(|(at, _)| *at).into_iter().chain(held.map(|(at, _)| *at)).min())
    }

    pub(super) fn finish(&mut self, key: &PolicyKey, outcome: Outcome, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.is_running = false;
        if outcome.waits {
            entry.paced_until = entry.paced_until.and_then(|until| until.checked_sub(PACE));
        }
        let is_again = std::mem::replace(&mut entry.waits, outcome.waits) && outcome.waits;
        let pause = if is_again { outcome.pause.max(AGAIN) } else { outcome.pause };
        let paced = entry.paced_until.and_then(|until| until.checked_sub(PACE));
        entry.not_before = paced.max(Some(now + pause));
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
        if let Some(turn) = self.namespaces.get_mut(&key.namespace) {
            turn.running = turn.running.saturating_sub(1);
            if turn.running == 0 && turn.due.is_empty() {
                self.namespaces.remove(&key.namespace);
                if self.namespaces.is_empty() {
                    // A start makes all policies due at once; later few are.
                    self.namespaces = HashMap::new();
                }
            } else {
                self.get_in_line(&key.namespace);
            }
        }
    }

    /// The namespaces that are held, and how many policies of each are due.
    pub(super) fn held(&self) -> impl Iterator<Item = (&Arc<str>, usize)> {
        self.held.iter().map(|(_, namespace)| {
            (namespace, self.namespaces.get(namespace).map_or(0, |turn| turn.due.len()))
        })
    }

    /// Moves the policies that have become due to their namespaces, and the namespaces that may
    /// write again into the line.
    fn collect_due(&mut self, now: Instant) {
        while self.later.first().is_some_and(|(due, _)| *due <= now) {
            let Some((due, PolicyKey { namespace, name })) = self.later.pop_first() else { break };
            let turn = self.namespaces.entry(Arc::clone(&namespace)).or_default();
            turn.due.insert((due, name));
            self.get_in_line(&namespace);
        }
        while self.held.first().is_some_and(|(until, _)| *until <= now) {
            let Some((_, namespace)) = self.held.pop_first() else { break };
            self.turns.push_back(namespace);
        }
    }

    /// Puts a namespace at the end of the line, if it has a policy to take and is not there yet.
    fn get_in_line(&mut self, namespace: &Arc<str>) {
        let Some(turn) = self.namespaces.get_mut(namespace) else { return };
        if turn.has_more() && !turn.is_waiting {
            turn.is_waiting = true;
            self.turns.push_back(Arc::clone(namespace));
        }
    }
}
