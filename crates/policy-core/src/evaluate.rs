//! The engine: facts, policy and time in, findings out. All four callers use the same function.

use std::borrow::Cow;

use k8s_openapi::jiff::Timestamp;

use crate::checks::CheckId;
use crate::facts::{CheckedFacts, ContainerFacts, Lifecycle};
use crate::policy::{CompiledPolicy, EnabledCheck};
use crate::score::PodTally;
use crate::severity::Severity;

/// Evaluates one pod or pod template. Cannot fail; takes some tens of nanoseconds.
///
/// Times are compared in whole seconds, as the API server stores them.
#[must_use]
pub fn evaluate(pod: &CheckedFacts, policy: &CompiledPolicy, now: Timestamp) -> Evaluation {
    let mut evaluation = Evaluation::default();
    if pod.lifecycle == Lifecycle::Ended {
        return evaluation;
    }
    evaluation.is_counted = true;
    for (check, enabled) in policy.enabled() {
        evaluate_check(pod, check, enabled, now, &mut evaluation);
    }
    evaluation
}

/// Adds the findings of one check.
pub(crate) fn evaluate_check(
    pod: &CheckedFacts,
    check: CheckId,
    EnabledCheck { severity, limit }: EnabledCheck,
    now: Timestamp,
    evaluation: &mut Evaluation,
) {
    let mut sink = FindingSink { check, severity, evaluation };
    check.check().evaluate(pod, limit, now.as_second(), &mut sink);
}

/// The findings of one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evaluation {
    /// Whether the pod counts for the score. One that ended does not, and has no findings.
    pub is_counted: bool,
    /// The findings, by check in the registry's order, then by container.
    pub findings: Vec<Finding>,
    /// The finding that will appear only because time passes, and when.
    pub due: Option<Due>,
}

impl Evaluation {
    /// The pod's contribution to a tally.
    #[must_use]
    pub fn tally(&self) -> PodTally {
        let mut tally = PodTally::default();
        for finding in &self.findings {
            tally.add(finding.check, finding.count);
        }
        tally
    }
}

/// One check on one container, or on the pod as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The check that found it.
    pub check: CheckId,
    /// How severe it is under the policy.
    pub severity: Severity,
    /// The index in [`CheckedFacts::containers`]; `None` where it is about the pod.
    pub container: Option<usize>,
    /// The number by which the check's weight is multiplied.
    pub count: u32,
}

impl Finding {
    /// The container concerned, in the pod that was evaluated.
    #[must_use]
    pub fn container<'a>(&self, pod: &'a CheckedFacts) -> Option<&'a ContainerFacts> {
        self.container.and_then(|index| pod.containers.get(index))
    }

    /// The text of the finding in statuses and audit results, without the container's name.
    #[must_use]
    pub fn message(&self, pod: &CheckedFacts, policy: &CompiledPolicy) -> Cow<'static, str> {
        self.check.check().message(self.container(pod), policy.limit(self.check))
    }

    /// The text of the finding in reports, without the container's name.
    #[must_use]
    pub fn report_message(&self, pod: &CheckedFacts, policy: &CompiledPolicy) -> Cow<'static, str> {
        self.check.check().report_message(self.container(pod), policy.limit(self.check))
    }
}

/// A finding about the pod, of count 1, that appears only because time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The first second (since 1970) at which it is a finding.
    pub at: i64,
    /// The check that will have the finding.
    pub check: CheckId,
}

/// Collects the findings of a check.
pub struct FindingSink<'a> {
    check: CheckId,
    severity: Severity,
    evaluation: &'a mut Evaluation,
}

impl FindingSink<'_> {
    /// Adds a finding about the container at that index.
    pub fn container(&mut self, index: usize, count: u32) {
        self.push(Some(index), count);
    }

    /// Adds a finding about the pod.
    pub fn pod(&mut self, count: u32) {
        self.push(None, count);
    }

    /// Schedules a finding about the pod, of count 1, for that second (since 1970). Only for the
    /// check whose `comes_with_time` is set.
    pub fn due_at(&mut self, second: i64) {
        let due = Due { at: second, check: self.check };
        if self.evaluation.due.is_none_or(|earlier| due.at < earlier.at) {
            self.evaluation.due = Some(due);
        }
    }

    fn push(&mut self, container: Option<usize>, count: u32) {
        let Self { check, severity, .. } = *self;
        self.evaluation.findings.push(Finding { check, severity, container, count });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::PodFacts;

    fn evaluated(text: &str, second: i64) -> Evaluation {
        let pod = PodFacts::of_pod(&serde_json::from_str(text).unwrap(), "default");
        let now = Timestamp::from_second(second).unwrap();
        evaluate(&pod.checked, &CompiledPolicy::default_profile(), now)
    }

    #[test]
    fn a_pod_that_ended_is_not_counted_at_all() {
        for phase in ["Succeeded", "Failed"] {
            let text = format!(
                r#"{{"spec": {{"containers": [{{"image": "nginx"}}]}}, "status": {{"phase": "{phase}"}}}}"#
            );
            assert_eq!(evaluated(&text, 0), Evaluation::default());
        }
    }

    #[test]
    fn metadata_that_users_can_write_skips_no_check() {
        let text = r#"{"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "labels": {"skip": "all"},
            "annotations": {"kubernetes.io/config.mirror": "x", "devops.stochastic.io/remediation": "disabled"}},
            "spec": {"containers": [{"name": "c", "image": "nginx"}]}}"#;
        assert_eq!(evaluated(text, 0).findings.len(), 4);
    }

    #[test]
    fn a_pending_pod_says_when_it_becomes_a_finding() {
        let text = r#"{"metadata": {"creationTimestamp": "1970-01-01T00:00:10Z"}, "status": {"phase": "Pending"}}"#;
        let due = evaluated(text, 310).due.unwrap();
        assert_eq!((due.at, due.check.as_str()), (311, "pending"));
        let late = evaluated(text, due.at);
        assert_eq!((late.due, late.findings.len()), (None, 1));
    }
}
