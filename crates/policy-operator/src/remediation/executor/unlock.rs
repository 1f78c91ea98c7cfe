//! Takes back the patches of workloads that somebody applies on the server by now, so that the
//! owner's next apply succeeds. What is missing then is injected at admission, or proposed.

use policy_core::remediation::{OptIn, Target};
use tokio::time::Instant;

use super::super::counters::{self, Failure};
use super::super::notices::NoticeKind;
use super::super::record::Record;
use super::{BREAKER_POLL, Executor, Fresh, Planner, Scope};

impl Planner<'_> {
    /// Whether the operator takes back what it owns of a workload for the sake of its owner.
    pub(super) fn unlocks(&self, target: &Target) -> bool {
        let namespace = &self.surroundings.facts;
        target.locks_out
            && !namespace.is_excluded
            && ![target.opt_in, namespace.opt_in].contains(&OptIn::Disabled)
    }
}

impl Executor {
    /// Called once the status says what is done at admission, since the new pods come at once. Each
    /// is a rollout, and the windows and budgets count it as one.
    pub(super) async fn unlock(&self, scope: &Scope<'_>, record: &mut Record, fresh: &mut Fresh) {
        let locked = fresh.reads.extract_if(|_, read| read.0.locks_out);
        for (label, read) in locked.collect::<Vec<_>>() {
            let (target, object) = *read;
            let now = Instant::now();
            let permit = if record.stopped.is_some() || !self.budgets.may_start() {
                None
            } else {
                self.budgets.start(scope.policy, true, now).ok()
            };
            let released = match &permit {
                Some(_) => Some(self.release(scope, record, &label, &target, &object).await),
                None => None,
            };
            let Some(entry) = record.entries.get_mut(&label) else { continue };
            match released {
                None => entry.due = now + BREAKER_POLL,
                Some(Ok(())) => {
                    entry.permit = permit;
                    entry.succeeded();
                    let sentence = format!(
                        "{label}: the patch was taken back, because {} applies the workload now \
                         and would be in conflict with it",
                        target.owner
                    );
                    record.notices.add(NoticeKind::Released, sentence);
                }
                Some(Err(error)) => {
                    entry.failed(now);
                    record.failed += 1;
                    counters::failed(Failure::of(&error));
                    let sentence =
                        format!("{label}: cannot take back the patch: {}", error.reason());
                    record.notices.add(NoticeKind::Failed, sentence);
                }
            }
        }
    }
}
