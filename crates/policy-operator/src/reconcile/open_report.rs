//! The Report of openreports.io within a reconcile. Whatever becomes of it, the status and audit results
//! are written.

use std::time::Duration;

use metrics::counter;
use policy_kube::ErrorKind;
use policy_metrics::operator::REPORTS;
use policy_runtime::backoff::jittered;
use tokio::time::Instant;

use super::Reconciler;
use crate::context::ReconcileContext;
use crate::judgement::Judged;
use crate::open_reports::ReportSource;
use crate::policy_key::PolicyKey;

/// While others are being written it is tried again after that time.
const BUSY: Duration = Duration::from_secs(2);

impl Reconciler {
    /// Writes the Report where it is due. Returns when it may be due next; `None` where only a change
    /// makes it so.
    pub(super) async fn write_open_report(
        &self,
        context: &mut ReconcileContext<'_>,
    ) -> Option<Duration> {
        let reports = self.open_reports.as_ref()?;
        // Without the lease nothing is written.
        let term = self.writer.term()?;
        let ReconcileContext { policy, judgement, state, .. } = context;
        let is_complete = judgement.judged().is_none_or(Judged::is_complete);
        // There may be any number of policies beyond a limit: those that had no Report get none.
        let is_excess = judgement.is_excess() && state.report.is_none();
        if !reports.are_served() || !is_complete || is_excess {
            return None;
        }
        let known = state.report.get_or_insert_default();
        known.in_term(term);
        if let Some(wait) = known.wait(Instant::now()) {
            return Some(wait);
        }
        let namespace = self.audit_store.namespace_of(&policy.metadata);
        let source = ReportSource::of(policy, namespace, judgement)?;
        let identity = source.identity();
        if !known.is_due(identity, Instant::now()) {
            return None;
        }
        let Some(_permit) = reports.permit() else { return Some(jittered(BUSY)) };
        let made = source.content()?;
        let key = PolicyKey::of(&policy.metadata);
        let written = self.writer.open_report(&key, namespace, &made).await;
        let now = Instant::now();
        let Err(error) = written else {
            counter!(REPORTS.name).increment(1);
            if made.not_listed > 0 {
                counter!("dropped_total", "what" => "findings of reports")
                    .increment(made.not_listed);
            }
            known.wrote(identity, now);
            return None;
        };
        match error.kind() {
            // It would be deleted with its policy.
            Some(ErrorKind::NamespaceTerminating) => return None,
            Some(ErrorKind::NotFound) => {
                if let Ok(false) = self.writer.ask_for_reports(reports).await {
                    return None;
                }
            }
            _ => {}
        }
        let delay = known.failed(error.class(), now);
        reports.failed(&error, delay);
        Some(delay)
    }
}
