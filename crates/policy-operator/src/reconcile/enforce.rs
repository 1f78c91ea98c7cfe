//! Enforce mode within a reconcile: the status with the intent is written before a workload is
//! changed, so that who takes over knows of it, and after that with the result.

use std::time::Duration;

use super::Reconciler;
use crate::context::ReconcileContext;
use crate::event_throttle::{event, reference};
use crate::policy_key::PolicyKey;
use crate::remediation::{Record, Report, Scope};
use crate::write_error::WriteError;

impl Reconciler {
    /// Writes what is due. Returns whether the status was written, and when enforce mode has
    /// something to do next.
    pub(super) async fn remediate_and_write(
        &self,
        context: &mut ReconcileContext<'_>,
    ) -> Result<(bool, Option<Duration>), WriteError> {
        let policy = PolicyKey::of(&context.policy.metadata);
        let compiled = context.judgement.judged().map(|judged| judged.policy.clone());
        let rules = compiled.as_ref().and_then(|policy| policy.remediation());
        // The status of a cluster policy says that it changes nothing.
        let rules = rules.filter(|_| !policy.is_cluster());
        let pods = rules.and_then(|_| self.pods.of(&policy.namespace));
        let (Some(rules), Some(pods)) = (rules, pods) else {
            context.state.remediation = None;
            context.report = Report::remembered(context.policy.status.as_deref());
            return Ok((self.write(context).await?, None));
        };
        let judged = context.judgement.take_workloads();
        let scope = Scope {
            policy: &policy,
            rules,
            enforcing: self.policies.enforcing(&policy.namespace),
            others: self.policies.others_memory(&policy),
            pods: &pods,
            judged: &judged,
            unhealthy: self.pods.unhealthy(&policy.namespace),
            now: context.now,
        };
        // Apart from the state while that is used for the status.
        let mut record = context.state.remediation.take().unwrap_or_default();
        let written = self.remediate(&scope, &mut record, context).await;
        let next = self.executor.next_due(&scope, &record);
        context.state.remediation = Some(record);
        Ok((written?, next))
    }

    async fn remediate(
        &self,
        scope: &Scope<'_>,
        record: &mut Record,
        context: &mut ReconcileContext<'_>,
    ) -> Result<bool, WriteError> {
        record.load(context.policy.status.as_deref(), self.writer.term(), context.now);
        let fresh = self.executor.prepare(scope, record).await;
        let second = context.now.as_second();
        let method = scope.rules.method;
        context.report = Some(Report::of(record, method, second));
        let mut has_written = self.write(context).await?;
        if self.executor.start(scope, record, fresh).await {
            context.report = Some(Report::of(record, method, second));
            has_written |= self.write_status(context).await?;
        }
        self.publish_notices(record, context).await;
        Ok(has_written)
    }

    async fn publish_notices(&self, record: &mut Record, context: &ReconcileContext<'_>) {
        let key = PolicyKey::of(&context.policy.metadata);
        let mut now = context.now;
        for (kind, note) in record.notices.take_due(context.now.as_second()) {
            // The time is part of the name.
            now = now.saturating_add(Duration::from_nanos(1)).unwrap_or(now);
            let about = (kind.reason(), "Remediate");
            let policy = reference(context.policy);
            let event = event(policy, about, !kind.is_warning(), note, self.writer.identity(), now);
            self.publish(&key, &event).await;
        }
    }
}
