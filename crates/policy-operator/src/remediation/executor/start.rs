//! Patches the workloads that were chosen.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use policy_core::Timestamp;
use policy_core::api::{RemediatedWorkload, RemediationState};
use policy_core::remediation::{Fields, Plan, Target, apply_body};
use policy_core::workload::{ObjectKind, Workload};
use serde_json::Value;
use tokio::time::Instant;

use super::super::budget::Withheld;
use super::super::counters::{self, Failure};
use super::super::decision::{has_all, message, patched_at, with_withheld};
use super::super::guard::{Guard, POLL};
use super::super::notices::NoticeKind;
use super::super::record::{Record, Start, shown};
use super::super::rollout::Rollout;
use super::{
    CONCURRENCY, Executor, Found, Fresh, Planner, Read, Scope, blocks, say, take_in_found,
};
use crate::status::whole_seconds;
use crate::write_error::WriteError;
use crate::writer::{Attempt, workload_path};

/// No further patch begins after that time. Longer than for reads, as the budgets limit how many
/// there are.
const START_TURN: Duration = Duration::from_secs(30);

/// No further patch begins where the namespace has to wait so long for its next write, since the
/// rollouts that have begun are not observed in that time. A dry run counts as a write: but for the
/// storage, it costs the API server and its webhooks as much.
const LONGEST_DEBT: Duration = Duration::from_secs(10);

/// A workload that was chosen.
struct Chosen {
    label: String,
    workload: Workload,
    memory: Option<RemediatedWorkload>,
    fields: Fields,
    /// As it was read in this reconcile.
    read: Option<Box<Read>>,
}

/// What became of an attempt.
enum Attempted {
    /// The workload as it is now.
    Patched(Box<Read>),
    /// It is not to be patched any more.
    Changed(Found),
    /// There was no time, or for that reason.
    Postponed(Option<Withheld>),
    NotApplied,
    Failed(WriteError),
}

impl Executor {
    /// Patches the workloads that [`Executor::prepare`] chose. Returns whether there were any.
    pub(crate) async fn start(
        &self,
        scope: &Scope<'_>,
        record: &mut Record,
        mut fresh: Fresh,
    ) -> bool {
        let begin = Instant::now();
        self.unlock(scope, record, &mut fresh).await;
        let mut chosen = Vec::new();
        for (label, entry) in &record.entries {
            if let (Some(Start::Patch(fields, _)), Some(_), None) =
                (&entry.start, &entry.permit, &entry.guard)
            {
                chosen.push(Chosen {
                    label: label.clone(),
                    workload: entry.workload.clone(),
                    memory: entry.shown.clone(),
                    fields: fields.clone(),
                    read: fresh.reads.remove(label),
                });
            }
        }
        if chosen.is_empty() {
            return false;
        }
        let planner = match self.planner(scope).await {
            Ok(planner) => planner,
            Err(error) => {
                give_up(record, &error);
                return true;
            }
        };
        // The first one alone: where rights are missing it shows that for all.
        let others = chosen.split_off(1);
        for batch in [chosen, others] {
            let failed = self.attempt_all((scope, begin), &planner, record, batch).await;
            if let Some(error) = failed {
                give_up(record, &error);
                break;
            }
        }
        true
    }

    /// Returns the error where no other attempt would succeed.
    async fn attempt_all(
        &self,
        (scope, begin): (&Scope<'_>, Instant),
        planner: &Planner<'_>,
        record: &mut Record,
        chosen: Vec<Chosen>,
    ) -> Option<WriteError> {
        let mut attempts = stream::iter(chosen)
            .map(|chosen| async move {
                let label = chosen.label.clone();
                let has_time = begin.elapsed() < START_TURN && self.budgets.may_start();
                let attempted = if !has_time {
                    Attempted::Postponed(None)
                } else if self.writer.debt(&scope.policy.namespace) > LONGEST_DEBT {
                    Attempted::Postponed(Some(Withheld::WriteBudget))
                } else {
                    let attempted = self.attempt(scope, planner, chosen).await;
                    attempted.unwrap_or_else(Attempted::Failed)
                };
                (label, attempted)
            })
            .buffer_unordered(CONCURRENCY);
        while let Some((label, attempted)) = attempts.next().await {
            let failed = take_in_attempt(scope, planner, record, &label, attempted);
            if failed.is_some() {
                return failed;
            }
        }
        None
    }

    async fn attempt(
        &self,
        scope: &Scope<'_>,
        planner: &Planner<'_>,
        chosen: Chosen,
    ) -> Result<Attempted, WriteError> {
        let Chosen { workload, memory, mut fields, read, .. } = chosen;
        let read = match read {
            Some(read) => read,
            // It has waited, and what was planned may not be right any more.
            None => match self.find(&scope.policy.namespace, &workload).await? {
                Found::Workload(read) => {
                    let (anew, _) = planner.plan(&workload, memory.as_ref(), &read.0);
                    match anew.plan {
                        Plan::Patch { fields: now, .. }
                            if anew.policy.as_ref() == Some(&scope.policy.name) =>
                        {
                            fields = now;
                            read
                        }
                        _ => return Ok(Attempted::Changed(Found::Workload(read))),
                    }
                }
                other => return Ok(Attempted::Changed(other)),
            },
        };
        let patched = self.patch(scope, &read.0, &fields).await?;
        Ok(patched.map_or(Attempted::NotApplied, |read| Attempted::Patched(Box::new(read))))
    }

    /// `None` where the API server accepted the patch and did not set all of its fields.
    async fn patch(
        &self,
        scope: &Scope<'_>,
        target: &Target,
        fields: &Fields,
    ) -> Result<Option<Read>, WriteError> {
        let path = workload_path(&target.namespace, target.kind, &target.name);
        let body = apply_body(target, fields, &scope.policy.to_string());
        let patched = |answer: Value| {
            let target = Target::read(&answer).ok()?;
            has_all(&target, fields).then_some((target, answer))
        };
        let dry = self.writer.apply_workload(scope.policy, &path, &body, Attempt::DryRun).await?;
        if patched(dry).is_none() {
            return Ok(None);
        }
        let answer = self.writer.apply_workload(scope.policy, &path, &body, Attempt::Real).await?;
        Ok(patched(answer))
    }
}

/// No other attempt would succeed.
fn give_up(record: &mut Record, error: &WriteError) {
    let why = blocks(error);
    let chosen = record.entries.values_mut().filter(|entry| entry.guard.is_none());
    for entry in chosen.filter(|entry| entry.permit.is_some()) {
        entry.give_back_permit();
        if let (Some(shown), Some(why)) = (&mut entry.shown, why) {
            say(shown, why);
        }
    }
    if let Some(why) = why {
        // A status that counted each probe would be written for each.
        record.failed += i64::from(record.block.is_none());
        counters::failed(Failure::of(error));
        record.block(why, true, Instant::now());
        record.stop(Some(why));
    }
}

/// Takes an attempt in. Returns the error where no other attempt would succeed either.
fn take_in_attempt(
    scope: &Scope<'_>,
    planner: &Planner<'_>,
    record: &mut Record,
    label: &str,
    attempted: Attempted,
) -> Option<WriteError> {
    let now = Instant::now();
    let entry = record.entries.get_mut(label)?;
    let (failure, why) = match attempted {
        Attempted::Patched(read) => {
            record.unblock(true);
            patched(scope, record, label, &read, now);
            return None;
        }
        Attempted::Postponed(why) => {
            entry.give_back_permit();
            if let (Some(shown), Some(why)) = (&mut entry.shown, why) {
                say(shown, why);
            }
            return None;
        }
        Attempted::Changed(found) => {
            entry.give_back_permit();
            take_in_found(scope, planner, record, label, found, None);
            return None;
        }
        Attempted::NotApplied => {
            let why = "the API server accepted the patch and did not set all of its fields";
            (Failure::NotApplied, why.to_owned())
        }
        // It is not the leader any more, or the workload is gone.
        Attempted::Failed(error) if error.kind().is_none() || error.is_gone() => {
            entry.permit = None;
            entry.due = now;
            return None;
        }
        Attempted::Failed(error) if blocks(&error).is_some() => return Some(error),
        Attempted::Failed(error) => (Failure::of(&error), why(&error)),
    };
    entry.permit = None;
    entry.failed(now);
    if let Some(shown) = &mut entry.shown {
        shown.state = RemediationState::Failed;
        shown.since = whole_seconds(scope.now);
        failure.as_str().clone_into(&mut shown.reason);
        shown.message = message(&why);
    }
    record.unblock(true);
    record.failed += 1;
    counters::failed(failure);
    record.notices.add(NoticeKind::Failed, format!("{label}: {why}"));
    None
}

/// Why an attempt failed, in the words of the API server but for a workload that was deleted between
/// its read and its patch: the uid in the patch keeps the API server from creating another one, and
/// its message is about uids.
fn why(error: &WriteError) -> String {
    let of_uid = ["uid mismatch", "UID in precondition"];
    if of_uid.iter().any(|text| error.reason().contains(text)) {
        return "it was deleted while it was being patched, and nothing was created".to_owned();
    }
    error.reason().to_owned()
}

fn patched(scope: &Scope<'_>, record: &mut Record, label: &str, read: &Read, now: Instant) {
    let (target, object) = read;
    let Some(entry) = record.entries.get_mut(label) else { return };
    let at = patched_at(object).unwrap_or_else(|| scope.second());
    let mut next = shown(label, RemediationState::Observing, &target.ours, scope.now);
    next.uid.clone_from(&target.uid);
    next.template.clone_from(&target.template);
    if let Ok(at) = Timestamp::from_second(at) {
        next.since.0 = at;
    }
    // While it started the reason was that.
    if let Some(Start::Patch(_, withheld)) = entry.start.take() {
        next = with_withheld(next, &withheld);
    }
    entry.shown = Some(next);
    entry.guard = Some(Guard::new(at, &target.ours, now));
    entry.succeeded();
    entry.due = now + POLL;
    record.applied += 1;
    counters::applied();
    let mut sentence = format!("{label}: filled in {}", target.ours.lines().join(", "));
    let revision = Rollout::read(target.kind, object).revision;
    if let Some(before) = revision.filter(|_| target.kind == ObjectKind::Deployment) {
        let more = format!(
            ". Revision {before} is without that: to go back further, name an older one with \
             `kubectl rollout undo --to-revision`"
        );
        sentence.push_str(&more);
    }
    record.notices.add(NoticeKind::Applied, sentence);
}
