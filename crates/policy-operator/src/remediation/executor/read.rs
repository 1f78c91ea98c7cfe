//! Reads workloads and plans them.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use policy_core::api::RemediationState;
use policy_core::remediation::{Fields, OptIn, Reason, Target};
use policy_core::workload::{ObjectKind, Workload};
use policy_kube::names::is_subdomain;
use serde_json::Value;
use tokio::time::Instant;

use super::super::budget::Withheld;
use super::super::counters;
use super::super::decision::{message, take_in};
use super::super::notices::NoticeKind;
use super::super::record::{self, Entry, Record, Start, shown};
use super::observe::has_empty_keys;
use super::{CONCURRENCY, Executor, Fresh, Planner, Read, Scope, TURN, blocks};
use crate::write_error::WriteError;
use crate::writer::workload_path;

/// A workload whose pods exist and which does not is read again after that time.
const GONE: Duration = Duration::from_secs(15);

/// What is known of the workload of pods.
pub(super) enum Found {
    Workload(Box<Read>),
    /// It belongs to a Deployment.
    Deployment(Workload),
    /// It is not changed, for this reason in one word and in a sentence.
    Unpatchable(&'static str, String),
    Gone,
}

fn unpatchable(kind: &str) -> Found {
    let reason = Reason::UnpatchableKind(kind.to_owned());
    Found::Unpatchable(reason.code(), reason.to_string())
}

impl Executor {
    pub(super) async fn find(
        &self,
        namespace: &str,
        workload: &Workload,
    ) -> Result<Found, WriteError> {
        let Workload { group, kind, name } = workload;
        let Some(known) = ObjectKind::in_group(group, kind) else {
            return Ok(unpatchable(kind));
        };
        if known != ObjectKind::ReplicaSet && !known.is_patchable() {
            return Ok(unpatchable(kind));
        }
        // The API server does not check the names in ownerReferences, and the name becomes a part of
        // a path: `web/../../` or `web?watch=true` would be another request.
        if !is_subdomain(name) {
            let problem = "its pods name an owner that cannot exist, as no object has such a name";
            return Ok(Found::Unpatchable("Unreadable", problem.to_owned()));
        }
        let path = workload_path(namespace, known, name);
        let Some(object) = self.writer.read(&path).await? else { return Ok(Found::Gone) };
        if known == ObjectKind::ReplicaSet {
            return Ok(controller(&object));
        }
        Ok(match Target::read(&object) {
            Ok(target) if target.namespace != namespace || *target.name != **name => {
                let problem = "the API server answered with another object";
                Found::Unpatchable("Unreadable", problem.to_owned())
            }
            Ok(target) => Found::Workload(Box::new((target, object))),
            Err(problem) => Found::Unpatchable("Unreadable", message(&problem)),
        })
    }

    /// Reads and plans the workloads that are due.
    pub(super) async fn read_due(&self, scope: &Scope<'_>, record: &mut Record, fresh: &mut Fresh) {
        let start = Instant::now();
        let is_due = |entry: &Entry| entry.due <= start && entry.guard.is_none();
        if !record.lacks_webhook && !record.entries.values().any(is_due) {
            return;
        }
        let planner = match self.planner(scope).await {
            Ok(planner) => planner,
            Err(error) => {
                let why = blocks(&error).unwrap_or(Withheld::Unreachable);
                record.block(why, false, start);
                return;
            }
        };
        let has_webhook = planner.surroundings.facts.has_mutating_webhook;
        if has_webhook && record.lacks_webhook {
            // Everything was proposed for that alone.
            record.entries.values_mut().for_each(|entry| entry.due = start);
        }
        record.lacks_webhook = !has_webhook;
        let due = record.entries.iter().filter(|(_, entry)| is_due(entry));
        let due: Vec<_> =
            due.map(|(label, entry)| (label.clone(), entry.workload.clone())).collect();
        let namespace = &scope.policy.namespace;
        let is_blocked = record.block.as_ref().is_some_and(|block| !block.is_write);
        let most = if is_blocked { 1 } else { usize::MAX };
        let reads = due.into_iter().take(most).take_while(|_| start.elapsed() < TURN);
        let mut reads = stream::iter(reads)
            .map(|(label, workload)| async move {
                let found = self.find(namespace, &workload).await;
                (label, found)
            })
            .buffer_unordered(CONCURRENCY);
        while let Some((label, found)) = reads.next().await {
            match found {
                Ok(found) => {
                    record.unblock(false);
                    take_in_found(scope, &planner, record, &label, found, Some(fresh));
                }
                Err(error) => {
                    if let Some(why) = blocks(&error) {
                        record.block(why, false, Instant::now());
                        return;
                    }
                    if let Some(entry) = record.entries.get_mut(&label) {
                        entry.failed(Instant::now());
                    }
                }
            }
        }
        drop(reads);
        self.release_empty_keys(scope, record, fresh).await;
    }
}

/// The Deployment of a `ReplicaSet`, or why there is none.
fn controller(replica_set: &Value) -> Found {
    let owners = replica_set["metadata"]["ownerReferences"].as_array();
    let controller = owners.into_iter().flatten().find(|owner| owner["controller"] == true);
    let Some(controller) = controller else { return unpatchable("ReplicaSet") };
    let text = |field: &str| controller[field].as_str().unwrap_or_default();
    if ObjectKind::of(text("apiVersion"), text("kind")) == Some(ObjectKind::Deployment) {
        let (group, kind) = ("apps".into(), "Deployment".into());
        return Found::Deployment(Workload { group, kind, name: text("name").into() });
    }
    let reason = Reason::ForeignOwner(format!("{} {}", text("kind"), text("name")));
    Found::Unpatchable(reason.code(), reason.to_string())
}

/// Takes what was found of a workload into its entry.
pub(super) fn take_in_found(
    scope: &Scope<'_>,
    planner: &Planner<'_>,
    record: &mut Record,
    label: &str,
    found: Found,
    fresh: Option<&mut Fresh>,
) {
    let now = Instant::now();
    let Some(entry) = record.entries.get_mut(label) else { return };
    entry.was_read(now);
    let before = entry.shown.as_ref().map(|shown| (shown.state, shown.reason.clone()));
    let is_left = match found {
        Found::Workload(read) => {
            let own = entry.shown.as_ref();
            let (decided, inherited) = planner.plan(&entry.workload, own, &read.0);
            if let Some(inherited) = inherited {
                entry.shown = Some(inherited.clone());
            }
            let of = (&read.0, &read.1);
            let policies = (scope.policy, &*scope.enforcing);
            let is_left = take_in(entry, label, decided, of, policies, scope.now);
            let is_started = matches!(entry.start, Some(Start::Patch(..)));
            let opt_ins = [read.0.opt_in, planner.surroundings.facts.opt_in];
            let is_done = !is_left || entry.state().is_some_and(RemediationState::is_taken_back);
            let gives_up = has_empty_keys(&read) && is_done && !opt_ins.contains(&OptIn::Disabled);
            if let Some(fresh) = fresh
                && (is_started || gives_up || planner.unlocks(&read.0))
            {
                fresh.insert(label, read);
            }
            is_left
        }
        Found::Deployment(deployment) => {
            let name = record::label(&deployment);
            record.entries.entry(name).or_insert_with(|| Entry::new(deployment, now));
            false
        }
        Found::Unpatchable(code, sentence) => {
            entry.start = None;
            let state = RemediationState::NotPatchable;
            let mut next = shown(label, state, &Fields::default(), scope.now);
            code.clone_into(&mut next.reason);
            next.message = sentence;
            entry.show(next);
            true
        }
        Found::Gone => {
            entry.due = now + GONE;
            false
        }
    };
    let number = record.entries.len();
    let Some(entry) = record.entries.get_mut(label) else { return };
    entry.waits_for_owner(number);
    if entry.state() == Some(RemediationState::Observing) && entry.guard.is_none() {
        // A leader that was killed has patched it. Its rollout is observed from the next reconcile on.
        entry.due = now;
    }
    if !is_left {
        entry.start = None;
        entry.shown = None;
        if !entry.has_findings() {
            record.entries.remove(label);
        }
        return;
    }
    let after = entry.shown.as_ref().map(|shown| (shown.state, shown.reason.clone()));
    if let Some((RemediationState::Proposed, reason)) = &after
        && before != after
    {
        counters::proposed(reason);
        let sentence = entry.shown.as_ref().map(|shown| format!("{label}: {}", shown.message));
        record.notices.add(NoticeKind::Proposed, sentence.unwrap_or_default());
    }
}
