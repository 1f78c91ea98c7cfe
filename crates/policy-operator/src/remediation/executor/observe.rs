//! Follows the rollouts of patches, and takes back what did harm.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use policy_core::api::RemediationState;
use policy_core::remediation::{Reason, Release, Target, is_disowned, release, removable, removal};
use policy_core::workload::ObjectKind;
use policy_kube::ErrorKind;
use serde_json::Value;
use tokio::time::Instant;

use super::super::counters::{self, Failure};
use super::super::decision::message;
use super::super::guard::{Assessment, Cause, Guard};
use super::super::notices::NoticeKind;
use super::super::record::{Entry, Record};
use super::super::rollout::Rollout;
use super::{CONCURRENCY, Executor, Found, Fresh, Read, Scope, blocks};
use crate::status::whole_seconds;
use crate::write_error::WriteError;
use crate::writer::{Attempt, workload_path};

/// What an observation calls for.
enum Observed {
    Wait,
    /// It is not observed any more, but planned anew.
    Plan,
    /// The workload is gone, or another one has its name.
    Gone,
    Revert(Cause),
}

impl Executor {
    /// Reads the workloads whose rollout is observed, and takes back what did harm.
    pub(super) async fn observe(&self, scope: &Scope<'_>, record: &mut Record) {
        let start = Instant::now();
        for entry in record.entries.values_mut() {
            self.resume(scope, entry, start);
        }
        let due = record.entries.iter();
        let due = due.filter(|(_, entry)| entry.guard.is_some() && entry.due <= start);
        let due: Vec<_> =
            due.map(|(label, entry)| (label.clone(), entry.workload.clone())).collect();
        let namespace = &scope.policy.namespace;
        let mut reads = stream::iter(due)
            .map(|(label, workload)| async move {
                let found = self.find(namespace, &workload).await;
                (label, found)
            })
            .buffer_unordered(CONCURRENCY);
        let mut reverts = Vec::new();
        while let Some((label, found)) = reads.next().await {
            let now = Instant::now();
            let Some(entry) = record.entries.get_mut(&label) else { continue };
            let read = match found {
                Ok(Found::Workload(read)) => Some(read),
                Ok(_) => None,
                Err(error) => {
                    if let Some(why) = blocks(&error) {
                        record.block(why, false, now);
                        break;
                    }
                    entry.failed(now);
                    continue;
                }
            };
            let observed = match &read {
                Some(read) => observed(scope, entry, read, now),
                None => Observed::Gone,
            };
            if entry.guard.as_ref().is_some_and(Guard::is_proven) {
                // From now on it is no rollout in the sense of the budgets.
                entry.permit = None;
                record.proven = Some(scope.rules.clone());
            }
            match observed {
                Observed::Wait => {}
                Observed::Plan => {
                    entry.unguard();
                    entry.due = now;
                }
                Observed::Gone => {
                    entry.unguard();
                    entry.shown = None;
                    entry.due = now;
                }
                Observed::Revert(cause) => {
                    entry.reverting = Some(cause.clone());
                    reverts.extend(read.map(|read| (label, read, cause)));
                }
            }
            if entry.guard.is_none() && entry.state() == Some(RemediationState::Patched) {
                record.proven = Some(scope.rules.clone());
            }
        }
        drop(reads);
        record.entries.retain(|_, entry| entry.shown.is_some() || entry.has_findings());
        for (label, read, cause) in reverts {
            self.revert(scope, record, &label, *read, cause).await;
        }
    }

    /// Begins to observe a workload that another replica, or this one before a restart, patched.
    fn resume(&self, scope: &Scope<'_>, entry: &mut Entry, now: Instant) {
        let Some(shown) = entry.shown.as_ref() else { return };
        if shown.state != RemediationState::Observing || entry.guard.is_some() {
            return;
        }
        let patched = shown.since.0.as_second();
        let age = scope.second().saturating_sub(patched);
        let age = Duration::from_secs(u64::try_from(age).unwrap_or_default());
        entry.guard = Some(Guard::new(patched, &entry.fields(), now));
        entry.permit = Some(self.budgets.resume(scope.policy, age, now));
        entry.due = now;
    }

    async fn revert(
        &self,
        scope: &Scope<'_>,
        record: &mut Record,
        label: &str,
        (target, object): Read,
        cause: Cause,
    ) {
        let rollout = Rollout::read(target.kind, &object);
        let released = self.release(scope, record, label, &target, &object).await;
        let Some(entry) = record.entries.get_mut(label) else { return };
        if let Err(error) = released {
            // The next observation takes it back.
            entry.failed(Instant::now());
            record.release_failed(label, &error);
            return;
        }
        if target.kind == ObjectKind::StatefulSet {
            self.delete_broken_pods(scope, entry, rollout.revision.as_deref()).await;
        }
        entry.unguard();
        entry.succeeded();
        entry.was_read(Instant::now());
        if let Some(shown) = &mut entry.shown {
            shown.state = RemediationState::Reverted;
            shown.since = whole_seconds(scope.now);
            cause.reason.as_str().clone_into(&mut shown.reason);
            shown.message = message(&cause.sentence);
        }
        record.reverts.add(scope.second());
        counters::reverted(cause.reason);
        let mut sentence = format!("{label}: the patch was taken back, because {}", cause.sentence);
        if target.kind == ObjectKind::Deployment {
            let revision = rollout.revision.unwrap_or_default();
            let more = format!(
                ". Revision {revision} has what was taken back: name another one with `kubectl \
                 rollout undo --to-revision`"
            );
            sentence.push_str(&more);
        }
        record.notices.add(NoticeKind::Reverted, sentence);
    }

    /// Takes back what the operator owns of a workload, and makes sure that it is gone.
    pub(super) async fn release(
        &self,
        scope: &Scope<'_>,
        record: &Record,
        label: &str,
        target: &Target,
        object: &Value,
    ) -> Result<(), WriteError> {
        let policy = scope.policy;
        let path = workload_path(&target.namespace, target.kind, &target.name);
        let ours = if target.ours.is_empty() {
            let known = record.entries.get(label).map(Entry::fields).unwrap_or_default();
            removable(object, &known)
        } else {
            target.ours.clone()
        };
        let answer = match release(target, object) {
            Some(Release::Patch(operations)) => {
                // What the owner has as well stays.
                return unless_gone(self.writer.patch_workload(policy, &path, &operations).await);
            }
            Some(Release::Apply(body)) => {
                match self.writer.apply_workload(policy, &path, &body, Attempt::Real).await {
                    Ok(applied) => Some(applied),
                    // As where somebody added an empty object to a probe. It is removed below.
                    Err(error) if error.kind() == Some(ErrorKind::Invalid) => None,
                    other => return unless_gone(other),
                }
            }
            None => None,
        };
        // An apply answers 200 and removes nothing where managedFields were cleared.
        match removal(answer.as_ref().unwrap_or(object), &ours) {
            Some(left) => unless_gone(self.writer.patch_workload(policy, &path, &left).await),
            None => Ok(()),
        }
    }

    /// A `StatefulSet` waits for its broken pod for ever, also once its template is well again
    /// (<https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback>).
    /// It replaces a pod that is ready by itself, and only where the others are ready as well.
    async fn delete_broken_pods(&self, scope: &Scope<'_>, entry: &Entry, revision: Option<&str>) {
        let (Some(guard), Some(revision)) = (&entry.guard, revision) else { return };
        for (name, pod) in &scope.unhealthy {
            let is_broken = !pod.is_ready
                && pod.belongs_to(&entry.workload)
                && guard.is_new(pod)
                && pod.template.as_deref() == Some(revision);
            if is_broken && let Err(error) = self.writer.delete_pod(scope.policy, name).await {
                counters::failed(Failure::of(&error));
                tracing::warn!("{error}");
            }
        }
    }

    /// Gives up what the operator owns without a value: it would be in the way of an owner who
    /// renames a container. Nothing else is removed: the values that are there are the owner's.
    pub(super) async fn release_empty_keys(
        &self,
        scope: &Scope<'_>,
        record: &Record,
        fresh: &mut Fresh,
    ) {
        let is_started =
            |label: &String| record.entries.get(label).is_some_and(|entry| entry.start.is_some());
        let empty =
            fresh.reads.extract_if(|label, read| has_empty_keys(read) && !is_started(label));
        for (_, read) in empty.collect::<Vec<_>>() {
            let (target, object) = *read;
            let path = workload_path(&target.namespace, target.kind, &target.name);
            let Some(Release::Apply(body)) = release(&target, &object) else { continue };
            let answer = self.writer.apply_workload(scope.policy, &path, &body, Attempt::Real);
            if let Err(error) = unless_gone(answer.await) {
                counters::failed(Failure::of(&error));
                tracing::warn!("{error}");
            }
        }
    }
}

/// Whether the operator owns a part of a workload and no value in it.
pub(super) fn has_empty_keys((target, _): &Read) -> bool {
    target.is_ours && target.ours.is_empty()
}

/// Nothing is left to take back of a workload that is gone.
fn unless_gone(written: Result<Value, WriteError>) -> Result<(), WriteError> {
    match written {
        Err(error) if !error.is_gone() => Err(error),
        _ => Ok(()),
    }
}

fn observed(
    scope: &Scope<'_>,
    entry: &mut Entry,
    (target, object): &Read,
    now: Instant,
) -> Observed {
    let fields = entry.fields();
    let (Some(guard), Some(shown)) = (&mut entry.guard, &mut entry.shown) else {
        return Observed::Plan;
    };
    if shown.uid != target.uid {
        return Observed::Gone;
    }
    if let Some(cause) = &entry.reverting {
        return Observed::Revert(cause.clone());
    }
    if target.locks_out() {
        return Observed::Plan;
    }
    // Without managedFields the hash of the template is that with our fields.
    if shown.template != target.template && !is_disowned(object, &fields) {
        // The owner changed the template, and looks after that rollout.
        return Observed::Plan;
    }
    // Where managedFields were cleared the fields are there and nobody owns them. Who removes them by
    // an update leaves to us the keys of their containers.
    if target.ours.is_empty() && removal(object, &fields).is_none() {
        shown.state = RemediationState::Withdrawn;
        shown.since = whole_seconds(scope.now);
        Reason::Withdrawn.code().clone_into(&mut shown.reason);
        shown.message = Reason::Withdrawn.to_string();
        return Observed::Plan;
    }
    let rollout = Rollout::read(target.kind, object);
    entry.read = Some(now);
    match guard.observe(&rollout, scope.unhealthy(&entry.workload), now) {
        Assessment::Wait(delay) => {
            entry.due = now + delay;
            Observed::Wait
        }
        Assessment::Settled => {
            shown.state = RemediationState::Patched;
            shown.since = whole_seconds(scope.now);
            // What the owner has removed of it meanwhile, and what is not filled in, is planned anew.
            entry.unguard();
            entry.due = now;
            Observed::Wait
        }
        Assessment::Revert(cause) => Observed::Revert(cause),
    }
}
