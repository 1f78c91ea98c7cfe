//! The reconcile of one policy: judge its namespace, then write what is due.
//!
//! Every replica judges, so that its state is current when it takes over; the leader writes.

mod cluster;
mod enforce;
mod open_report;

use std::borrow::Cow;
use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use metrics::{counter, histogram};
use policy_core::Timestamp;
use policy_core::verdict::{Lists, Verdict};
use policy_core::view::PolicyView;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::audit_store::AuditStore;
use crate::cluster::Namespaces;
use crate::context::ReconcileContext;
use crate::custom;
use crate::drains::{BlockedWorkloads, Drains, with_budgets};
use crate::judgement::{Judged, Judgement, Rejection};
use crate::notes::Notes;
use crate::open_reports::OpenReports;
use crate::pods::Pods;
use crate::policies::{Policies, PolicyGauges};
use crate::policy_key::PolicyKey;
use crate::policy_state::PolicyState;
use crate::queue::{Outcome, PACE};
use crate::remediation::Executor;
use crate::rollouts::Rollouts;
use crate::workload_labels::WorkloadLabels;
use crate::write_error::{ErrorClass, WriteError};
use crate::writer::{Role, Writer};
use policy_metrics::operator::{DURATION, PODS_SCANNED, RECONCILE_ERRORS, RECONCILES};

/// Whether the other policies remember what a deleted one does is asked again after that time.
const HANDOVER_POLL: Duration = Duration::from_millis(200);

/// Everything that the reconciles of all policies share.
pub(crate) struct Reconciler {
    pub(crate) pods: Pods,
    pub(crate) namespaces: Namespaces,
    pub(crate) rollouts: Rollouts,
    pub(crate) drains: Drains,
    pub(crate) labels: WorkloadLabels,
    pub(crate) policies: Policies,
    pub(crate) audit_store: AuditStore,
    pub(crate) writer: Writer,
    pub(crate) executor: Executor,
    /// `None` where nobody wants Reports.
    pub(crate) open_reports: Option<OpenReports>,
    pub(crate) cluster_name: Option<String>,
    /// How many audit results of a policy are kept.
    pub(crate) retention: usize,
    /// The wall clock.
    pub(crate) now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Reconciler {
    /// Brings the cluster up to date with one policy.
    pub(crate) async fn reconcile(&self, key: &PolicyKey) -> Outcome {
        let Some((policy, state)) = self.policies.get(key) else { return Outcome::default() };
        let start = Instant::now();
        let mut state = state.lock().await;
        let outcome = match self.try_reconcile(&policy, &mut state).await {
            Ok(outcome) => {
                state.succeeded();
                outcome
            }
            Err(error) => {
                let delay = state.failed(error.class());
                report(&error, delay);
                Outcome { requeue_after: Some(delay), pause: delay, waits: false }
            }
        };
        counter!(RECONCILES.name).increment(1);
        let seconds = start.elapsed().as_secs_f64();
        histogram!(DURATION.name).record(seconds);
        outcome
    }

    async fn try_reconcile(
        &self,
        policy: &PolicyView,
        state: &mut PolicyState,
    ) -> Result<Outcome, WriteError> {
        let metadata = &policy.metadata;
        let role = self.writer.role();
        let has_finalizer = policy.finalizers.ours.is_some();
        if metadata.deletion_timestamp.is_some() {
            // The series and the pending work end before the finalizer is removed.
            self.policies.set_gauges(policy, None);
            state.audit.clear();
            state.cluster = None;
            let key = PolicyKey::of(metadata);
            self.pods.custom().retain_policies(|other| *other != key);
            if role == Role::Leader && has_finalizer {
                if !self.policies.has_handed_over(policy) && state.may_hand_over(Instant::now()) {
                    return Ok(Outcome {
                        requeue_after: Some(HANDOVER_POLL),
                        ..Outcome::default()
                    });
                }
                let written = self.writer.remove_finalizer(policy).await?;
                self.policies.written(written);
            }
            return Ok(Outcome::default());
        }
        let is_within_limits = self.policies.is_judged(policy) && !policy.finalizers.are_too_many();
        if role == Role::Leader && !has_finalizer && is_within_limits {
            let written = self.writer.add_finalizer(policy).await?;
            // This change causes the next reconcile.
            self.policies.written(written);
            return Ok(Outcome::default());
        }
        let (now, start) = ((self.now)(), Instant::now());
        let Some(judgement) = self.judge(policy, state, now).await else {
            // The policy is due again when the list of pods is complete.
            return Ok(Outcome::default());
        };
        if let Some(wait) = state.custom_wait(&judgement, start) {
            return Ok(Outcome { requeue_after: Some(wait), waits: true, ..Outcome::default() });
        }
        if judgement.is_excess() {
            // It may have been judged before.
            state.audit.clear();
            state.cluster = None;
        }
        self.policies.set_gauges(policy, judgement.judged().map(PolicyGauges::of));
        let (report, written) = (None, None);
        let mut context = ReconcileContext { policy, state, judgement, role, now, report, written };
        let newest = self.audit_store.newest(metadata, now);
        let dropped = context.observe(newest, self.cluster_name.as_deref());
        if dropped > 0 {
            counter!("dropped_total", "what" => "audit results").increment(dropped as u64);
        }
        let (has_written_status, remediation) = if role == Role::Leader {
            self.remediate_and_write(&mut context).await?
        } else {
            // The leader's is in the status.
            context.state.remediation = None;
            (false, None)
        };
        let report = self.write_open_report(&mut context).await;
        // Since the judgement: what changed after it must not wait for a slow write as well.
        let pause = PACE.saturating_sub(start.elapsed());
        let next = [context.requeue_after((self.now)()), remediation, report];
        Ok(Outcome {
            requeue_after: next.into_iter().flatten().min(),
            pause: if has_written_status { pause } else { Duration::ZERO },
            waits: false,
        })
    }

    /// Judges the pods that a policy is about. `None` while a list of pods is being read.
    async fn judge(
        &self,
        policy: &PolicyView,
        state: &mut PolicyState,
        now: Timestamp,
    ) -> Option<Judgement> {
        let mut judgement = match &policy.cluster {
            None => {
                let policy = &self.with_selected(policy).await;
                let blocked = self.blocked_drains(policy).await;
                self.judge_namespace(policy, &blocked, now)?
            }
            Some(part) => self.judge_namespaces(policy, part, state, now).await?,
        };
        if let Judgement::Judged(judged) = &mut judgement {
            judged.unread_labels = self.labels.unread(&judged.policy);
        }
        Some(judgement)
    }

    /// The policy of a namespace, with the workloads that its exemptions select.
    async fn with_selected<'a>(&self, policy: &'a PolicyView) -> Cow<'a, PolicyView> {
        let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
        match &policy.rules {
            Ok(rules) if rules.has_selectors() => {
                let rules = Ok(self.labels.resolve(rules, namespace).await);
                Cow::Owned(PolicyView { rules, ..policy.clone() })
            }
            _ => Cow::Borrowed(policy),
        }
    }

    /// The workloads of the namespace of a policy whose drain is blocked, where it has the check.
    async fn blocked_drains(&self, policy: &PolicyView) -> BlockedWorkloads {
        let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
        match &policy.rules {
            Ok(rules) if rules.needs_budgets() => self.drains.of(namespace).await,
            _ => BlockedWorkloads::new(),
        }
    }

    /// Judges the namespace of a policy. `None` while a list of pods is being read.
    pub(crate) fn judge_namespace(
        &self,
        policy: &PolicyView,
        blocked: &BlockedWorkloads,
        now: Timestamp,
    ) -> Option<Judgement> {
        let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
        let key = PolicyKey::of(&policy.metadata);
        if self.pods.excludes(namespace) {
            return Some(Judgement::Rejected(Rejection::ExcludedNamespace));
        }
        if !self.policies.is_judged(policy) {
            self.pods.custom().forget(namespace, &key);
            return Some(Judgement::Rejected(Rejection::TooManyPolicies));
        }
        let rules = match &policy.rules {
            Ok(rules) => rules,
            Err(refused) => {
                self.pods.custom().forget(namespace, &key);
                return Some(Judgement::Rejected(Rejection::Policy(refused.clone())));
            }
        };
        let mut pods = self.pods.of(namespace)?;
        with_budgets(&mut pods, blocked);
        let places = (&self.pods, &self.namespaces);
        let (found, custom) = custom::found(places, (&key, rules), namespace, &pods);
        let judged = custom::with_found(&pods, &found);
        let verdict = Verdict::listing(self.lists(), judged, rules, now);
        counter!(PODS_SCANNED.name).increment(verdict.tally.pods());
        let mut notes = Notes::default();
        self.rollouts.note(namespace, &mut notes);
        notes.add_images(&pods, "");
        let judged = Judged { notes: notes.finish(), custom, ..Judged::new(rules, verdict) };
        Some(Judgement::Judged(judged.into()))
    }

    /// The findings that a verdict lists.
    fn lists(&self) -> Lists {
        if self.open_reports.is_some() { Lists::StatusAndReport } else { Lists::Status }
    }

    /// Writes what is due, the status first. Returns whether the status was written.
    async fn write(&self, context: &mut ReconcileContext<'_>) -> Result<bool, WriteError> {
        let has_written_status = self.write_status(context).await?;
        if let Some(event) = context.due_refusal(self.writer.identity()) {
            self.publish(&PolicyKey::of(&context.policy.metadata), &event).await;
        }
        self.publish_event(context).await;
        self.write_audit_results(context).await?;
        Ok(has_written_status)
    }

    async fn write_status(&self, context: &mut ReconcileContext<'_>) -> Result<bool, WriteError> {
        let Some(status) = context.due_status() else { return Ok(false) };
        let written = self.writer.status(context.policy, &status).await?;
        context.state.status_written(context.now);
        context.written = Some(status);
        self.policies.written(written);
        Ok(true)
    }

    async fn publish_event(&self, context: &mut ReconcileContext<'_>) {
        let Some((class, event)) = context.due_event(self.writer.identity()) else { return };
        let is_published = self.publish(&PolicyKey::of(&context.policy.metadata), &event).await;
        context.state.events.sent(class, is_published.then_some(event), context.now);
    }

    /// An Event that cannot be published is counted and not retried: later it would mislead.
    async fn publish(&self, policy: &PolicyKey, event: &Event) -> bool {
        let published = self.writer.event(policy, event).await;
        if let Err(error) = &published {
            counter!("dropped_total", "what" => "events").increment(1);
            if !error.is_gone() {
                warn!("{error}");
            }
        }
        published.is_ok()
    }

    async fn write_audit_results(
        &self,
        context: &mut ReconcileContext<'_>,
    ) -> Result<(), WriteError> {
        let metadata = &context.policy.metadata;
        let key = PolicyKey::of(metadata);
        let namespace = self.audit_store.namespace_of(metadata).to_owned();
        while let Some((minute, result)) = context.due_audit_result(&namespace) {
            if self.writer.audit_result(&key, &result).await? {
                self.audit_store.insert(&result.metadata, minute);
                let newest = self.audit_store.newest(metadata, context.now);
                context.state.audit.remove_written(newest);
            } else {
                // By the next minute the watch will have shown which verdict has this one.
                context.state.audit.postpone();
            }
        }
        for name in self.audit_store.excess(metadata, self.retention) {
            self.writer.delete_audit_result(&key, &namespace, &name).await?;
            self.audit_store.remove(&namespace, &name);
        }
        Ok(())
    }
}

/// Counts and logs a write that failed.
fn report(error: &WriteError, delay: Duration) {
    let class = error.class();
    counter!(RECONCILE_ERRORS.name, "class" => class.as_str()).increment(1);
    if class == ErrorClass::NotLeader {
        debug!("{error}");
    } else {
        warn!(class = class.as_str(), retry_after = ?delay, "{error}");
    }
}

#[cfg(test)]
mod tests;
