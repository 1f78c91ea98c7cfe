//! The engine: facts, policy and time in, findings out. All four callers use the same function.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use crate::checks::{CheckId, CheckName, Subject};
use crate::custom::{CustomResults, CustomViolation};
use crate::facts::{CheckedFacts, ContainerFacts, Lifecycle, PodFacts};
use crate::labels::Labels;
use crate::policy::{
    CompiledPolicy, EnabledCheck, ExemptionId, ExemptionSubject, ExemptionUse, FindingExemptions,
    MatchingExemptions,
};
use crate::score::PodTally;
use crate::severity::Severity;

/// Evaluates one pod or pod template. Cannot fail; takes some tens of nanoseconds.
///
/// Times are compared in whole seconds, as the API server stores them.
#[must_use]
pub fn evaluate(pod: &PodFacts, policy: &CompiledPolicy, now: Timestamp) -> Evaluation {
    evaluate_with(pod, policy, None, None, now)
}

/// The same with what the custom checks of the policy say of the pod, and with the labels of a workload
/// that makes such pods, where it is known by its manifest.
#[must_use]
pub fn evaluate_with(
    pod: &PodFacts,
    policy: &CompiledPolicy,
    custom: Option<&CustomResults>,
    labels: Option<&Labels>,
    now: Timestamp,
) -> Evaluation {
    let mut evaluation = Evaluation::default();
    if pod.checked.lifecycle == Lifecycle::Ended {
        return evaluation;
    }
    evaluation.is_counted = true;
    let matching = policy
        .exemptions()
        .and_then(|exemptions| exemptions.matching(&ExemptionSubject { labels, ..pod.into() }));
    for (check, enabled) in policy.enabled() {
        evaluate_check(&pod.checked, check, enabled, matching, now, &mut evaluation);
    }
    for violation in custom.into_iter().flat_map(|custom| &custom.violations) {
        let finding = Finding::of_custom(violation);
        let name = finding.check.name();
        let exemptions = matching.and_then(|matching| matching.of(&name, None));
        add(finding, exemptions, ALWAYS, now.as_second(), &mut evaluation);
    }
    evaluation
}

/// Adds the findings of one check.
pub(crate) fn evaluate_check(
    pod: &CheckedFacts,
    check: CheckId,
    EnabledCheck { severity, parameters }: EnabledCheck,
    matching: Option<MatchingExemptions<'_>>,
    now: Timestamp,
    evaluation: &mut Evaluation,
) {
    let exempting = matching.map(|matching| Exempting { matching, containers: &pod.containers });
    let mut sink = FindingSink { check, severity, now: now.as_second(), exempting, evaluation };
    check.check().evaluate(pod, parameters, &mut sink);
}

/// The findings of one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evaluation {
    /// Whether the pod counts for the score. One that ended does not, and has no findings.
    pub is_counted: bool,
    /// The findings, by check in the registry's order, then by container.
    pub findings: Vec<Finding>,
    /// The findings that are known and accepted, in the same order. They have no weight.
    pub exempted: Vec<ExemptedFinding>,
    /// Which exemptions of the policy these findings are about.
    pub exemption_use: ExemptionUse,
    /// How the findings will change only because time passes, in no order.
    pub changes: Vec<TimedChange>,
}

impl Evaluation {
    /// The pod's contribution to a tally.
    #[must_use]
    pub fn tally(&self) -> PodTally {
        let mut tally = PodTally::default();
        for finding in &self.findings {
            tally.add(&finding.check, finding.count);
        }
        for ExemptedFinding { finding, .. } in &self.exempted {
            tally.exempt(&finding.check);
        }
        tally
    }

    /// The second (since 1970) at which the findings change only because time passes, if any.
    #[must_use]
    pub fn next_change(&self) -> Option<i64> {
        self.changes.iter().map(|change| change.at).min()
    }
}

/// The check of a finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FoundBy {
    /// One of the registry.
    Registered(CheckId),
    /// A custom one, with what it says.
    Custom(Arc<CustomViolation>),
}

impl FoundBy {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> CheckName {
        match self {
            Self::Registered(check) => CheckName::Registered(*check),
            Self::Custom(violation) => CheckName::Custom(Arc::clone(&violation.name)),
        }
    }

    /// The check of the registry, if it is one.
    #[must_use]
    pub fn registered(&self) -> Option<CheckId> {
        self.name().registered()
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> Cow<'static, str> {
        self.name().as_str()
    }
}

impl PartialEq<CheckId> for FoundBy {
    fn eq(&self, other: &CheckId) -> bool {
        self.registered() == Some(*other)
    }
}

impl fmt::Display for FoundBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().fmt(f)
    }
}

/// One check on one container, or on the pod as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The check that found it.
    pub check: FoundBy,
    /// How severe it is under the policy.
    pub severity: Severity,
    /// The index in [`CheckedFacts::containers`]; `None` where it is about the pod.
    pub container: Option<usize>,
    /// The number by which the check's weight is multiplied.
    pub count: u32,
}

/// A finding that is known and accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExemptedFinding {
    /// The finding.
    pub finding: Finding,
    /// The exemption of the policy; of several the one that lasts longest.
    pub exemption: ExemptionId,
}

impl Finding {
    fn of_custom(violation: &Arc<CustomViolation>) -> Self {
        let check = FoundBy::Custom(Arc::clone(violation));
        Self { check, severity: violation.severity, container: None, count: 1 }
    }

    /// Whether what is missing can be filled in.
    #[must_use]
    pub fn is_patchable(&self) -> bool {
        self.check.registered().is_some_and(|check| check.meta().patchable)
    }

    /// The container concerned, in the pod that was evaluated.
    #[must_use]
    pub fn container<'a>(&self, pod: &'a CheckedFacts) -> Option<&'a ContainerFacts> {
        self.container.and_then(|index| pod.containers.get(index))
    }

    /// The text of the finding in statuses and audit results, without the container's name.
    #[must_use]
    pub fn message(&self, pod: &CheckedFacts, policy: &CompiledPolicy) -> Cow<'static, str> {
        match &self.check {
            FoundBy::Registered(check) => {
                check.check().message(self.subject(pod), policy.parameters(*check))
            }
            FoundBy::Custom(violation) => violation.message.to_string().into(),
        }
    }

    /// The text of the finding in reports, without the container's name.
    #[must_use]
    pub fn report_message(&self, pod: &CheckedFacts, policy: &CompiledPolicy) -> Cow<'static, str> {
        match &self.check {
            FoundBy::Registered(check) => {
                check.check().report_message(self.subject(pod), policy.parameters(*check))
            }
            FoundBy::Custom(violation) => violation.message.to_string().into(),
        }
    }

    fn subject<'a>(&self, pod: &'a CheckedFacts) -> Subject<'a> {
        Subject::of(pod, self.container)
    }
}

/// A finding that comes or goes only because time passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedChange {
    /// The first second (since 1970) at which it is, or is no longer, a finding.
    pub at: i64,
    /// The check that has the finding.
    pub check: FoundBy,
    /// Whether it comes or goes.
    pub direction: Direction,
    /// Whether the finding is an exempted one until then, or from then on. An exempted one that
    /// counts from some second on goes as the one, and comes as the other.
    pub is_exempted: bool,
    /// The finding's count.
    pub count: u32,
}

/// Whether a finding comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It becomes a finding.
    Comes,
    /// It is a finding until then.
    Goes,
}

/// Collects the findings of a check.
pub struct FindingSink<'a> {
    check: CheckId,
    severity: Severity,
    now: i64,
    /// `None` where the policy has no exemption for the pod.
    exempting: Option<Exempting<'a>>,
    evaluation: &'a mut Evaluation,
}

/// The exemptions of a pod, and the names that they are about.
#[derive(Clone, Copy)]
struct Exempting<'a> {
    matching: MatchingExemptions<'a>,
    containers: &'a [ContainerFacts],
}

/// The seconds (since 1970) from the first at which something is, to the first at which it is no
/// longer.
type Seconds = (i64, i64);

/// A pod with a finding has often several: each time that their list grows costs as much as a check.
const FIRST: usize = 12;

/// Something that always is.
const ALWAYS: Seconds = (i64::MIN, i64::MAX);

impl FindingSink<'_> {
    /// Adds a finding about the container at that index.
    pub fn container(&mut self, index: usize, count: u32) {
        self.add(Some(index), count, ALWAYS);
    }

    /// Adds a finding about the pod.
    pub fn pod(&mut self, count: u32) {
        self.add(None, count, ALWAYS);
    }

    /// Adds a finding about the pod, of count 1, where its state has lasted longer than the limit,
    /// in seconds. Until then the finding is scheduled.
    pub fn pod_later_than(&mut self, since: i64, limit: u32) {
        self.add(None, 1, (after(since, limit), i64::MAX));
    }

    /// Adds a finding about the container at that index, unless what it is about happened longer
    /// ago than the window, in seconds. It goes when the window is over.
    pub fn container_within(&mut self, index: usize, count: u32, (happened, window): (i64, u32)) {
        self.add(Some(index), count, (i64::MIN, after(happened, window)));
    }

    /// Adds a finding that is one for so long.
    fn add(&mut self, container: Option<usize>, count: u32, seconds: Seconds) {
        let Self { check, severity, .. } = *self;
        let finding = Finding { check: FoundBy::Registered(check), severity, container, count };
        // So are nearly all.
        if self.exempting.is_none() && seconds == ALWAYS {
            let findings = &mut self.evaluation.findings;
            if findings.is_empty() {
                findings.reserve(FIRST);
            }
            findings.push(finding);
            return;
        }
        let exemptions = self.exempting.and_then(|exempting| exempting.of(check, container));
        add(finding, exemptions, seconds, self.now, self.evaluation);
    }
}

/// Adds a finding that is one for so long. An exemption divides that time into two.
fn add(
    finding: Finding,
    exemptions: Option<FindingExemptions>,
    (from, to): Seconds,
    now: i64,
    evaluation: &mut Evaluation,
) {
    let Some(FindingExemptions { longest, ends, all }) = exemptions else {
        schedule(finding, None, (from, to), now, evaluation);
        return;
    };
    if schedule(finding.clone(), Some(longest), (from, to.min(ends)), now, evaluation) {
        evaluation.exemption_use.add_exempted(longest, all);
    }
    if schedule(finding, None, (from.max(ends), to), now, evaluation) {
        evaluation.exemption_use.add_counting(all);
    }
}

/// Adds a finding that is one for so long, and exempted or not. Returns whether it is one now.
fn schedule(
    finding: Finding,
    exemption: Option<ExemptionId>,
    (from, to): Seconds,
    now: i64,
    evaluation: &mut Evaluation,
) -> bool {
    if to <= now || to <= from {
        return false;
    }
    let is_exempted = exemption.is_some();
    let mut change = |at, direction| {
        let (check, count) = (finding.check.clone(), finding.count);
        evaluation.changes.push(TimedChange { at, check, direction, is_exempted, count });
    };
    if to < i64::MAX {
        change(to, Direction::Goes);
    }
    if now < from {
        change(from, Direction::Comes);
        return false;
    }
    match exemption {
        Some(exemption) => evaluation.exempted.push(ExemptedFinding { finding, exemption }),
        None => evaluation.findings.push(finding),
    }
    true
}

impl Exempting<'_> {
    fn of(&self, check: CheckId, container: Option<usize>) -> Option<FindingExemptions> {
        let container = container.and_then(|index| self.containers.get(index));
        self.matching.of(&check.into(), container.map(|container| &*container.name))
    }
}

/// The first second that is more than that many seconds later.
fn after(second: i64, seconds: u32) -> i64 {
    second.saturating_add(i64::from(seconds)).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::PodFacts;

    fn evaluated(text: &str, second: i64) -> Evaluation {
        let pod = PodFacts::of_pod(&serde_json::from_str(text).unwrap(), "default");
        let now = Timestamp::from_second(second).unwrap();
        evaluate(&pod, &CompiledPolicy::default_profile(), now)
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
        let early = evaluated(text, 310);
        let change = early.changes[0].clone();
        assert_eq!((change.at, &*change.check.name().as_str(), change.count), (311, "pending", 1));
        assert_eq!((change.direction, early.findings.len()), (Direction::Comes, 0));
        let late = evaluated(text, change.at);
        assert_eq!((late.changes.len(), late.findings.len()), (0, 1));
    }

    #[test]
    fn a_restarted_container_says_when_it_is_no_finding_any_more() {
        let text = r#"{"spec": {"containers": [{"name": "c", "image": "a:1"}]}, "status": {"containerStatuses": [
            {"name": "c", "restartCount": 4, "lastState": {"terminated": {"finishedAt": "1970-01-01T00:00:10Z"}}}]}}"#;
        let restarts = |second| {
            let mut evaluation = evaluated(text, second);
            evaluation.findings.retain(|finding| finding.check.name().as_str() == "high-restarts");
            evaluation
        };
        let early = restarts(86_410);
        let change = early.changes[0].clone();
        assert_eq!((change.at, change.count, early.findings[0].count), (86_411, 4, 4));
        assert_eq!((change.direction, early.next_change()), (Direction::Goes, Some(86_411)));
        let late = restarts(change.at);
        assert_eq!((late.changes.len(), late.findings.len()), (0, 0));
    }
}
