//! Takes back the patches of workloads that somebody applies on the server by now, so that the
//! owner's next apply succeeds. What is missing then is injected at admission, or proposed.

use std::time::Duration;

use policy_core::remediation::{OptIn, Target};
use tokio::time::Instant;

use super::super::counters::{self, Failure};
use super::super::notices::NoticeKind;
use super::super::record::Record;
use super::{BREAKER_POLL, Executor, Fresh, Planner, Scope};
use crate::write_error::WriteError;

/// So long after the status says so, the webhook is taken to know what it fills in: it hears of a
/// status by its watch, of 99 in 100 within 0.3 s (`cargo xtask bench changes`). A pod that comes
/// earlier is without it.
const HEARD: Duration = Duration::from_secs(2);

impl Planner<'_> {
    /// Whether the operator takes back what it owns of a workload for the sake of its owner.
    pub(super) fn unlocks(&self, target: &Target) -> bool {
        let namespace = &self.surroundings.facts;
        target.locks_out()
            && !namespace.is_excluded
            && ![target.opt_in, namespace.opt_in].contains(&OptIn::Disabled)
    }
}

impl Executor {
    /// Called once the status says what is done at admission, since the new pods come at once; where
    /// it has said so for a moment only, the next turn does it. Each is a rollout, and the windows and
    /// budgets count it as one.
    pub(super) async fn unlock(&self, scope: &Scope<'_>, record: &mut Record, fresh: &mut Fresh) {
        let locked = fresh.reads.extract_if(|_, read| read.0.locks_out());
        for (label, read) in locked.collect::<Vec<_>>() {
            let (target, object) = *read;
            let now = Instant::now();
            if let Some(entry) = record.entries.get_mut(&label)
                && let Some(shown) = &entry.shown
                && scope.second() - shown.since.0.as_second() < HEARD.as_secs().cast_signed()
            {
                entry.due = now + HEARD;
                continue;
            }
            let may_start = record.stopped.is_none() && self.budgets.may_start();
            let permit = may_start.then(|| self.budgets.start(scope.policy, true, now));
            let Some(Ok(permit)) = permit else {
                if let Some(entry) = record.entries.get_mut(&label) {
                    entry.due = now + BREAKER_POLL;
                }
                continue;
            };
            let released = self.release(scope, record, &label, &target, &object).await;
            let Some(entry) = record.entries.get_mut(&label) else { continue };
            if let Err(error) = released {
                entry.failed(now);
                record.release_failed(&label, &error);
                continue;
            }
            entry.permit = Some(permit);
            entry.succeeded();
            let sentence = format!(
                "{label}: the patch was taken back, because {} applies the workload now and would \
                 be in conflict with it",
                target.owner
            );
            record.notices.add(NoticeKind::Released, sentence);
        }
    }
}

impl Record {
    /// A patch is to be taken back, and that failed.
    pub(super) fn release_failed(&mut self, label: &str, error: &WriteError) {
        self.failed += 1;
        counters::failed(Failure::of(error));
        let sentence = format!("{label}: cannot take back the patch: {}", error.reason());
        self.notices.add(NoticeKind::Failed, sentence);
    }
}
