//! What starts now, and why the others wait.

use policy_core::api::{RemediatedWorkload, RemediationState};
use tokio::time::Instant;

use super::super::budget::{Withheld, circuit_breaker};
use super::super::counters;
use super::super::notices::NoticeKind;
use super::super::record::{Entry, Record, Start};
use super::{Executor, Scope};
use crate::status::whole_seconds;

impl Executor {
    /// Chooses what starts now, and says of the others why they wait.
    pub(super) fn choose(&self, scope: &Scope<'_>, record: &mut Record, now: Instant) {
        if !record.entries.values().any(|entry| entry.start.is_some()) {
            record.unblock(true);
        }
        let stopped = self.stopped(scope, record);
        record.stop(stopped);
        // What is blocked is tried with one workload from time to time.
        let block = record.block.as_ref();
        let mut is_probe = block.is_some_and(|block| {
            block.is_write && Some(block.why) == stopped && now >= block.until
        });
        let has_proof = record.has_proof(scope.rules);
        for (label, entry) in &mut record.entries {
            if entry.guard.is_none() {
                entry.permit = None;
            }
            let Some(start) = &entry.start else {
                withdraw_injection(entry, stopped);
                continue;
            };
            let is_patch = matches!(start, Start::Patch(..));
            let withheld = if let Some(stopped) = stopped.filter(|_| !(is_probe && is_patch)) {
                Err(stopped)
            } else if entry.not_before.is_some_and(|time| time > now) {
                // It shows why it failed.
                continue;
            } else if is_patch {
                self.budgets.start(scope.policy, has_proof, now).map(Some)
            } else {
                Ok(None)
            };
            let Some(shown) = &mut entry.shown else { continue };
            shown.state = RemediationState::Waiting;
            match withheld {
                Err(why) => say(shown, why),
                Ok(Some(permit)) => {
                    entry.permit = Some(permit);
                    // A probe is likely to fail: it is not worth two writes of the status.
                    say(shown, stopped.unwrap_or(Withheld::Starting));
                    is_probe = false;
                }
                Ok(None) => {
                    shown.state = RemediationState::Injecting;
                    shown.since = whole_seconds(scope.now);
                    if is_waiting(&shown.reason) {
                        shown.reason.clear();
                        shown.message.clear();
                    }
                    entry.start = None;
                    record.applied += 1;
                    counters::applied();
                    let sentence = format!("{label}: filled in at admission of new pods");
                    record.notices.add(NoticeKind::Applied, sentence);
                }
            }
        }
    }

    /// What keeps every workload of the policy from being changed.
    fn stopped(&self, scope: &Scope<'_>, record: &mut Record) -> Option<Withheld> {
        if !self.budgets.config().enabled {
            return Some(Withheld::Disabled);
        }
        if let Some(block) = &record.block {
            return Some(block.why);
        }
        let repaired = record.entries.values().filter(|entry| entry.is_repaired());
        let (mut number, mut unhealthy) = (0, 0);
        for entry in repaired {
            number += 1;
            let second = scope.second();
            let mut pods = scope.unhealthy(&entry.workload);
            unhealthy += usize::from(pods.any(|pod| pod.is_failing(second)));
        }
        let reverts = record.reverts.recent(scope.second()).len();
        circuit_breaker(reverts, number, unhealthy).or_else(|| {
            let opens = scope.rules.windows.next_open(scope.now);
            (opens != Some(scope.now)).then_some(Withheld::Window { opens })
        })
    }
}

pub(super) fn say(shown: &mut RemediatedWorkload, why: Withheld) {
    why.code().clone_into(&mut shown.reason);
    shown.message = why.to_string();
}

/// Whether that is a reason to wait, not one of the planner's.
fn is_waiting(reason: &str) -> bool {
    use strum::VariantNames as _;
    Withheld::VARIANTS.contains(&reason)
}

/// Where enforce mode is disabled the webhook must not inject either.
fn withdraw_injection(entry: &mut Entry, stopped: Option<Withheld>) {
    let is_disabled = stopped == Some(Withheld::Disabled);
    let Some(shown) = &mut entry.shown else { return };
    let is_waiting = matches!(shown.state, RemediationState::Injecting | RemediationState::Waiting);
    if is_disabled && is_waiting {
        shown.state = RemediationState::Waiting;
        say(shown, Withheld::Disabled);
        // Once enabled it is planned anew.
        entry.due = Instant::now();
    }
}
