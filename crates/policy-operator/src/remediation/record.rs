//! What enforce mode knows of the workloads of one policy. The leader keeps it; a new leader starts
//! from the status.

mod label;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use policy_core::Timestamp;
use policy_core::api::{DevOpsPolicyStatus, MAX_WORKLOADS, RemediatedWorkload, RemediationState};
use policy_core::remediation::{self, Fields, Reason, RemediationRules};
use policy_core::verdict::JudgedWorkload;
use policy_core::workload::{ObjectKind, Workload};
use policy_runtime::backoff::{Backoff, jittered};
use tokio::time::Instant;

use super::budget::{Permit, Reverts, Withheld};
use super::guard::{Cause, Guard};
use super::notices::{NoticeKind, Notices};
use super::succession::TakenOver;
use crate::status::whole_seconds;
pub(crate) use label::{label, workload_of};

/// A workload is read again after that time, since nothing tells of its changes: sooner where its
/// owner is to do something.
const RECHECK: Duration = Duration::from_secs(600);
const RECHECK_PROPOSED: Duration = Duration::from_secs(120);
/// So much later for each workload of the policy, so that many are not read more often.
const RECHECK_EACH: Duration = Duration::from_millis(500);
/// It is not read more often than that because its pods change.
const LEAST_RECHECK: Duration = Duration::from_secs(10);
/// The delays between attempts, of one workload and of a policy.
const FIRST_DELAY: Duration = Duration::from_secs(2);
const LONGEST_DELAY: Duration = Duration::from_secs(600);
/// The most lines of fields of a workload in a status.
const MAX_LINES: usize = 200;

/// Everything about the workloads of one policy.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// The term of the leadership in which it was started from the status.
    term: Option<u32>,
    /// By label.
    pub(crate) entries: BTreeMap<String, Entry>,
    /// How many workloads are beyond the most that a status lists.
    pub(crate) omitted: usize,
    pub(crate) applied: i64,
    pub(crate) failed: i64,
    pub(crate) reverts: Reverts,
    /// The rules by which a workload was patched and did well.
    pub(crate) proven: Option<RemediationRules>,
    /// The enforce policies of the namespace when plans were last made.
    rules: Vec<(Arc<str>, RemediationRules)>,
    pub(crate) block: Option<Block>,
    /// What keeps every workload of the policy from being changed.
    pub(crate) stopped: Option<Withheld>,
    pub(crate) lacks_webhook: bool,
    pub(crate) taken_over: TakenOver,
    pub(crate) notices: Notices,
}

/// A time in which nothing is attempted for a policy, because an attempt for any of its workloads
/// would fail as the last one did.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) why: Withheld,
    /// Whether it was a write that failed.
    pub(crate) is_write: bool,
    pub(crate) until: Instant,
    backoff: Backoff,
}

/// A workload.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) workload: Workload,
    /// As the status has it; `None` where there is nothing to say.
    pub(crate) shown: Option<RemediatedWorkload>,
    /// The patchable findings in its pods.
    findings: Option<u64>,
    pub(crate) read: Option<Instant>,
    /// When it is read next.
    pub(crate) due: Instant,
    /// What is done as soon as it may be.
    pub(crate) start: Option<Start>,
    pub(crate) guard: Option<Guard>,
    pub(crate) permit: Option<Permit>,
    /// Why it is being taken back. Set until that has succeeded.
    pub(crate) reverting: Option<Cause>,
    backoff: Option<Backoff>,
    /// The times to the next looks at pods that are not ready yet.
    settling: Option<Backoff>,
    /// Before that time it is not attempted again.
    pub(crate) not_before: Option<Instant>,
}

/// What is to be done with a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Also what is not filled in, and why.
    Patch(Fields, Vec<remediation::Withheld>),
    Inject(Fields),
}

impl Entry {
    pub(crate) fn new(workload: Workload, due: Instant) -> Self {
        Self {
            workload,
            shown: None,
            findings: None,
            read: None,
            due,
            start: None,
            guard: None,
            permit: None,
            reverting: None,
            backoff: None,
            settling: None,
            not_before: None,
        }
    }

    /// The kind, where it is one of those that can be patched.
    pub(crate) fn kind(&self) -> Option<ObjectKind> {
        let Workload { group, kind, .. } = &self.workload;
        ObjectKind::in_group(group, kind).filter(|kind| kind.is_patchable())
    }

    pub(crate) fn state(&self) -> Option<RemediationState> {
        self.shown.as_ref().map(|shown| shown.state)
    }

    pub(crate) fn has_findings(&self) -> bool {
        self.findings.is_some()
    }

    /// What was filled in.
    pub(crate) fn fields(&self) -> Fields {
        let lines = self.shown.iter().flat_map(|shown| &shown.fields);
        Fields::parse(lines.map(String::as_str))
    }

    /// Whether its state outlives the findings in its pods.
    fn is_remembered(&self) -> bool {
        let is_kept =
            |state: RemediationState| state.is_remembered() || state == RemediationState::Injecting;
        self.state().is_some_and(is_kept)
    }

    /// Whether its pods carry a remediation.
    pub(crate) fn is_repaired(&self) -> bool {
        use RemediationState::{Injecting, Observing, Patched};
        matches!(self.state(), Some(Observing | Injecting | Patched))
    }

    /// Shows a state. The time of one that does not change stays.
    pub(crate) fn show(&mut self, mut shown: RemediatedWorkload) {
        shown.fields.truncate(MAX_LINES);
        if let Some(before) = &self.shown
            && before.state == shown.state
            && before.uid == shown.uid
            && before.template == shown.template
        {
            shown.since = before.since.clone();
        }
        self.shown = Some(shown);
    }

    /// It does not start after all.
    pub(crate) fn give_back_permit(&mut self) {
        if let Some(permit) = self.permit.take() {
            permit.give_back();
        }
    }

    /// Ends the observation.
    pub(crate) fn unguard(&mut self) {
        self.guard = None;
        self.permit = None;
        self.reverting = None;
    }

    /// The attempt succeeded.
    pub(crate) fn succeeded(&mut self) {
        self.backoff = None;
        self.not_before = None;
    }

    /// The attempt failed: it is repeated later, and later each time.
    pub(crate) fn failed(&mut self, now: Instant) {
        let backoff = self.backoff.get_or_insert_with(|| Backoff::new(FIRST_DELAY, LONGEST_DELAY));
        let next = now + backoff.delay();
        self.not_before = Some(next);
        self.due = next;
    }

    /// It was read now, and is read again when its pods change, or after a while.
    pub(crate) fn was_read(&mut self, now: Instant) {
        self.read = Some(now);
        self.due = now + jittered(RECHECK);
    }

    /// It is one of so many that wait for their owners.
    pub(crate) fn waits_for_owner(&mut self, number: usize) {
        use RemediationState::{NotPatchable, Proposed, Reverted, Withdrawn};
        let waits = matches!(self.state(), Some(Proposed | Reverted | Withdrawn | NotPatchable));
        if let Some(read) = self.read.filter(|_| waits && self.kind().is_some()) {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let delay = self.recheck() + RECHECK_EACH.saturating_mul(number);
            self.due = self.due.min(read + jittered(delay));
        }
    }

    /// The time to the next look. That pods are not ready is mostly over in a moment, and nothing tells: the
    /// controller of a workload writes its status after the last event of a pod.
    fn recheck(&mut self) -> Duration {
        let is_settling =
            self.shown.as_ref().is_some_and(|shown| shown.reason == Reason::NotReady.code());
        if !is_settling {
            self.settling = None;
            return RECHECK_PROPOSED;
        }
        let settling = || Backoff::new(LEAST_RECHECK, RECHECK_PROPOSED);
        self.settling.get_or_insert_with(settling).delay()
    }

    fn pods_changed(&mut self, now: Instant) {
        let next = self.read.map_or(now, |read| now.max(read + LEAST_RECHECK));
        self.due = self.due.min(next);
    }

    /// The rank of those that are listed where not all are.
    fn rank(&self) -> (RemediationState, bool) {
        let is_patchable = self.kind().is_some();
        match self.state() {
            Some(state) => (state, false),
            None if is_patchable => (RemediationState::Proposed, true),
            None => (RemediationState::NotPatchable, true),
        }
    }
}

impl Record {
    /// Starts from the status, where that was not done in this term: in between, another leader may
    /// have patched or taken back what is remembered here in another state.
    pub(crate) fn load(
        &mut self,
        status: Option<&DevOpsPolicyStatus>,
        term: Option<u32>,
        now: Timestamp,
    ) {
        if self.term.is_some() && [self.term, None].contains(&term) {
            return;
        }
        *self = Self { term, ..Self::default() };
        let Some(status) = status else { return };
        self.applied = status.remediations_applied.unwrap_or_default();
        self.failed = status.remediations_failed.unwrap_or_default();
        let Some(remediation) = &status.remediation else { return };
        self.reverts = Reverts::of(&remediation.reverts, now.as_second());
        let start = Instant::now();
        for shown in &remediation.workloads {
            let mut entry = Entry::new(workload_of(&shown.workload), start);
            entry.shown = Some(shown.clone());
            self.entries.insert(shown.workload.clone(), entry);
        }
    }

    /// A time in the future, of a clock that was set back, counts as now: pods that are created from
    /// now on would seem older than what was done to them.
    pub(crate) fn clock_is(&mut self, now: Timestamp) {
        let second = now.as_second();
        for entry in self.entries.values_mut() {
            if let Some(shown) = entry.shown.as_mut().filter(|shown| shown.since.0 > now) {
                shown.since = whole_seconds(now);
            }
            if let Some(guard) = &mut entry.guard {
                guard.clock_is(second);
            }
        }
    }

    /// Whether a workload did well under these rules; after a start, whether any did.
    pub(crate) fn has_proof(&self, rules: &RemediationRules) -> bool {
        match &self.proven {
            Some(proven) => proven == rules,
            None => self.entries.values().any(|entry| {
                entry.state() == Some(RemediationState::Patched)
                    || entry.guard.as_ref().is_some_and(Guard::is_proven)
            }),
        }
    }

    /// Takes in what the verdict says of workloads.
    pub(crate) fn sync(&mut self, judged: &[JudgedWorkload], now: Instant) {
        let mut with_pods = HashMap::with_capacity(judged.len());
        for JudgedWorkload { workload, findings } in judged {
            let label = label(workload);
            if findings.is_some() {
                let entry = self.entries.entry(label.clone());
                let entry = entry.or_insert_with(|| Entry::new(workload.clone(), now));
                entry.workload.clone_from(workload);
                if entry.findings != *findings {
                    entry.findings = *findings;
                    entry.pods_changed(now);
                }
            }
            with_pods.insert(label, *findings);
        }
        self.entries.retain(|label, entry| {
            let found = with_pods.get(label).copied();
            if found.flatten().is_none() {
                entry.findings = None;
            }
            if found.is_none() {
                entry.pods_changed(now);
            }
            // One of a status may have been patched right before its writer was killed.
            let is_unread = entry.shown.is_some() && entry.read.is_none();
            entry.has_findings() || entry.is_remembered() || is_unread
        });
        self.omitted = self.entries.len().saturating_sub(MAX_WORKLOADS);
        if self.omitted > 0 {
            let mut ranked: Vec<_> =
                self.entries.iter().map(|(label, entry)| (entry.rank(), label.clone())).collect();
            ranked.sort();
            for (_, label) in ranked.drain(MAX_WORKLOADS..) {
                self.entries.remove(&label);
            }
        }
    }

    /// Plans everything anew where the policies of the namespace changed.
    pub(crate) fn rules_are(&mut self, rules: Vec<(Arc<str>, RemediationRules)>, now: Instant) {
        if self.rules != rules {
            self.rules = rules;
            for entry in self.entries.values_mut().filter(|entry| entry.guard.is_none()) {
                entry.due = now;
            }
        }
    }

    /// Whether something keeps every workload from being changed. It is published where it changes.
    pub(crate) fn stop(&mut self, stopped: Option<Withheld>) {
        // A window closes as its policy says.
        let is_news =
            |why: &Withheld| self.stopped != Some(*why) && !matches!(why, Withheld::Window { .. });
        if let Some(why) = stopped.filter(is_news) {
            self.notices.add(NoticeKind::Stopped, why.to_string());
        }
        self.stopped = stopped;
    }

    /// Any further attempt would fail as this one did.
    pub(crate) fn block(&mut self, why: Withheld, is_write: bool, now: Instant) {
        let known = self.block.take().filter(|block| block.why == why);
        let backoff = known.map(|block| block.backoff);
        let mut backoff = backoff.unwrap_or_else(|| Backoff::new(FIRST_DELAY, LONGEST_DELAY));
        let until = now + backoff.delay();
        self.block = Some(Block { why, is_write, until, backoff });
    }

    /// Whether reads are blocked now.
    pub(crate) fn blocks_reads(&self, now: Instant) -> bool {
        self.block.as_ref().is_some_and(|block| !block.is_write && now < block.until)
    }

    /// An attempt of that sort succeeded.
    pub(crate) fn unblock(&mut self, is_write: bool) {
        if self.block.as_ref().is_some_and(|block| block.is_write == is_write) {
            self.block = None;
        }
    }
}

/// A workload as a status has it.
pub(crate) fn shown(
    label: &str,
    state: RemediationState,
    fields: &Fields,
    now: Timestamp,
) -> RemediatedWorkload {
    RemediatedWorkload {
        workload: label.to_owned(),
        uid: String::new(),
        state,
        template: String::new(),
        since: Time(whole_seconds(now).0),
        fields: fields.lines(),
        reason: String::new(),
        message: String::new(),
    }
}
