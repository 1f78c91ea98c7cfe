//! Deciding on a request.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::Request;
use super::fail_open::FailOpenReason;
use super::requester::Requester;
use super::verdict::{AdmissionVerdict, Decision, InvalidPolicy, MAX_SHOWN, NamedFinding};
use crate::api::{AdmissionMode, ControllerPods};
use crate::capped::Capped;
use crate::checks::{CheckId, Parameters, Subject};
use crate::evaluate::{Evaluation, Finding, evaluate_check};
use crate::facts::{CheckedFacts, ContainerRole, PodFacts};
use crate::policy::{CompiledPolicy, EnabledCheck};
use crate::severity::Severity;
use crate::text::excerpt;
use crate::workload::ObjectKind;

/// A policy of the request's namespace.
#[derive(Clone, Debug)]
pub struct NamedPolicy {
    /// Its name.
    pub name: Arc<str>,
    /// The compiled policy, or why it is invalid.
    pub rules: Result<Arc<CompiledPolicy>, String>,
}

/// The policies of a namespace.
#[derive(Clone, Debug, Default)]
pub struct NamespacePolicies {
    /// Those that are judged, in the order in which they are: see
    /// [`PoliciesByAge`](crate::policy::PoliciesByAge).
    pub judged: Vec<NamedPolicy>,
    /// How many others there are, beyond [`MAX_PER_NAMESPACE`](crate::policy::MAX_PER_NAMESPACE).
    pub excess: usize,
}

impl From<NamedPolicy> for NamespacePolicies {
    fn from(policy: NamedPolicy) -> Self {
        Self { judged: vec![policy], excess: 0 }
    }
}

/// The creation of an object that is known by its facts.
#[derive(Clone, Copy, Debug)]
pub struct Creation<'a> {
    /// The kind of the object.
    pub kind: ObjectKind,
    /// Its namespace.
    pub namespace: &'a str,
    /// The user who creates it; empty for one without rights of its own at admission.
    pub user: &'a str,
    /// The facts, without those of a status.
    pub facts: &'a CheckedFacts,
    /// Whether a `LimitRange` may still set requests and limits, as for an object from a file. The
    /// API server sends a review after that.
    pub is_before_limit_ranges: bool,
}

impl<'a> Creation<'a> {
    /// The creation of an object as it stands, by somebody without rights of its own at admission.
    /// The facts are without those of a status: see [`PodFacts::clear_status`].
    #[must_use]
    pub fn of(facts: &'a PodFacts) -> Self {
        Self {
            kind: facts.kind,
            namespace: &facts.namespace,
            user: "",
            facts: &facts.checked,
            is_before_limit_ranges: false,
        }
    }
}

impl Creation<'_> {
    /// Decides on the creation by the policies of its namespace.
    #[must_use]
    pub fn admit(&self, policies: &NamespacePolicies) -> AdmissionVerdict {
        let requester = Requester::of(self.user, self.kind);
        self.decide(None, requester, policies, &|| true).0
    }

    /// The verdict by the policies that were judged in time, and whether these are all.
    fn decide(
        &self,
        old: Option<&CheckedFacts>,
        requester: Requester,
        policies: &NamespacePolicies,
        is_in_time: &dyn Fn() -> bool,
    ) -> (AdmissionVerdict, bool) {
        let mut findings = Findings::default();
        let mut introduced = IntroducedFindings { new: self.facts, old, known: Vec::new() };
        let mut is_complete = true;
        for NamedPolicy { name: policy, rules } in &policies.judged {
            if !is_in_time() {
                is_complete = false;
                break;
            }
            let rules = match rules {
                Ok(rules) => rules,
                Err(reason) => {
                    findings.invalid_policies.push((policy, reason));
                    continue;
                }
            };
            for (check, enabled) in at_admission(rules) {
                let containers = introduced.of(check, enabled);
                let severity = enabled.severity;
                let may_be_filled_in =
                    may_be_filled_in(check, self.kind, self.is_before_limit_ranges);
                let named = |&container: &Option<usize>| PolicyFinding {
                    policy,
                    rules,
                    severity,
                    container,
                    check,
                    may_be_filled_in,
                };
                let decision = decision(rules, severity, may_be_filled_in, self.kind, requester);
                findings.add(check, decision, containers.iter().map(named));
            }
        }
        let mut verdict = findings.verdict(self.namespace, self.facts);
        verdict.excess_policies = policies.excess;
        (verdict, is_complete)
    }
}

/// Decides on a request by the policies of its namespace. Pass none for an excluded namespace.
///
/// Pure; takes about a microsecond beside decoding the request. `is_in_time` is asked before each
/// policy. The first one costs about as much as all others: a check is evaluated once, and its
/// findings count for every policy that enables it.
///
/// # Errors
/// [`FailOpenReason::Deadline`] where the time is over before a policy has denied the request.
pub fn admit(
    request: Request<'_>,
    policies: &NamespacePolicies,
    is_in_time: impl Fn() -> bool,
) -> Result<AdmissionVerdict, FailOpenReason> {
    let judged_kind = request.judged_kind();
    let Request { operation, namespace, user, spec, old_spec, .. } = request;
    let (Some(kind), Some(spec)) = (judged_kind, spec.filter(|_| !policies.judged.is_empty()))
    else {
        return Ok(AdmissionVerdict::default());
    };
    // Each view is dropped as soon as its facts are there: of a large object both are large.
    let facts = CheckedFacts::of_spec(kind, &spec);
    drop(spec);
    let Some(facts) = facts else { return Ok(AdmissionVerdict::default()) };
    let old = old_spec.and_then(|spec| CheckedFacts::of_spec(kind, &spec));
    let requester = Requester::of_request(operation, &user, kind);
    let (namespace, user) = (&*namespace, &*user);
    let object = Creation { kind, namespace, user, facts: &facts, is_before_limit_ranges: false };
    let (verdict, is_complete) = object.decide(old.as_ref(), requester, policies, &is_in_time);
    if is_complete || !verdict.is_allowed() { Ok(verdict) } else { Err(FailOpenReason::Deadline) }
}

/// The checks of a policy that run at admission. These do not depend on time.
pub(super) fn at_admission(
    rules: &CompiledPolicy,
) -> impl Iterator<Item = (CheckId, EnabledCheck)> {
    let is_disabled = rules.admission().mode.is_disabled();
    rules.enabled().filter(move |(check, _)| !is_disabled && check.meta().at_admission)
}

/// Whether a `LimitRange` may still fill in what a check finds missing: that of a template, because
/// a template is not subject to it and its pods are.
pub(super) fn may_be_filled_in(
    check: CheckId,
    kind: ObjectKind,
    is_before_limit_ranges: bool,
) -> bool {
    check.meta().is_filled_in_later && (kind != ObjectKind::Pod || is_before_limit_ranges)
}

/// The consequence of a finding.
pub(super) fn decision(
    rules: &CompiledPolicy,
    severity: Severity,
    may_be_filled_in: bool,
    kind: ObjectKind,
    requester: Requester,
) -> Decision {
    let denies_pods_of_controllers =
        kind == ObjectKind::Pod && rules.admission().controller_pods == ControllerPods::Deny;
    match requester {
        Requester::Node | Requester::Operator => Decision::Recorded,
        Requester::Controller if !denies_pods_of_controllers => Decision::Recorded,
        _ if is_severe(rules, severity) && !may_be_filled_in => Decision::Denied,
        _ => Decision::Warned,
    }
}

/// Whether the policy denies findings of that severity.
fn is_severe(rules: &CompiledPolicy, severity: Severity) -> bool {
    let admission = rules.admission();
    admission.mode == AdmissionMode::Deny && severity >= admission.deny_severity
}

/// What makes a finding of the old object the same one in the new object: its container, and one of
/// the fields that it is about.
type FindingKey<'a> = (Option<(ContainerRole, &'a str)>, &'a str);

fn keys<'a>(finding: &Finding, facts: &'a CheckedFacts) -> Vec<FindingKey<'a>> {
    let Some(container) = finding.container(facts) else {
        return vec![(None, "")];
    };
    let fields = finding.check.check().found_fields(container);
    let key = |field| (Some((container.role, &*container.name)), field);
    fields.into_iter().map(key).collect()
}

/// The findings of the new object that the old one did not have. Each check is evaluated once,
/// whatever the number of policies that enable it.
struct IntroducedFindings<'a> {
    new: &'a CheckedFacts,
    old: Option<&'a CheckedFacts>,
    /// The containers that have a finding, by check and parameters.
    known: Vec<(CheckId, Parameters, Vec<Option<usize>>)>,
}

impl IntroducedFindings<'_> {
    /// The containers that have a finding of the check.
    fn of(&mut self, check: CheckId, enabled: EnabledCheck) -> &[Option<usize>] {
        let key = (check, enabled.parameters);
        let known = self.known.iter().position(|&(check, set, _)| (check, set) == key);
        let index = known.unwrap_or_else(|| {
            self.known.push((check, enabled.parameters, self.evaluate(check, enabled)));
            self.known.len() - 1
        });
        &self.known[index].2
    }

    fn evaluate(&self, check: CheckId, enabled: EnabledCheck) -> Vec<Option<usize>> {
        let findings = |facts: &CheckedFacts| {
            let mut evaluation = Evaluation::default();
            evaluate_check(facts, check, enabled, Timestamp::UNIX_EPOCH, &mut evaluation);
            evaluation.findings
        };
        let mut found = findings(self.new);
        if let Some(old) = self.old.filter(|_| !found.is_empty()) {
            let known: HashSet<FindingKey<'_>> =
                findings(old).iter().flat_map(|finding| keys(finding, old)).collect();
            found.retain(|finding| keys(finding, self.new).iter().any(|key| !known.contains(key)));
        }
        found.iter().map(|finding| finding.container).collect()
    }
}

/// A finding of one policy, without its text.
#[derive(Clone, Copy)]
struct PolicyFinding<'a> {
    policy: &'a Arc<str>,
    rules: &'a CompiledPolicy,
    severity: Severity,
    container: Option<usize>,
    check: CheckId,
    may_be_filled_in: bool,
}

impl PolicyFinding<'_> {
    /// The order in which an answer lists findings.
    fn order(&self, other: &Self) -> Ordering {
        fn key<'a>(found: &PolicyFinding<'a>) -> impl Ord + use<'a> {
            (Reverse(found.severity), found.policy, found.container, found.check)
        }
        key(self).cmp(&key(other))
    }

    fn named(self, facts: &CheckedFacts) -> NamedFinding {
        let container = self.container.and_then(|index| facts.containers.get(index));
        let subject = Subject { pod: facts, container };
        let text = self.check.check().admission_message(subject, self.rules.parameters(self.check));
        NamedFinding {
            policy: Arc::clone(self.policy),
            severity: self.severity,
            check: self.check,
            container: container.map(|container| Arc::clone(&container.name)),
            text: if self.may_be_filled_in && is_severe(self.rules, self.severity) {
                format!("may be filled in by a LimitRange: {text}").into()
            } else {
                text
            },
        }
    }
}

/// Collects findings. Of very many, the first are kept and the rest is counted.
struct Findings<'a> {
    counts: BTreeMap<(CheckId, Decision), usize>,
    kept: [Capped<PolicyFinding<'a>>; 3],
    invalid_policies: Capped<(&'a Arc<str>, &'a String)>,
}

impl Default for Findings<'_> {
    fn default() -> Self {
        Self {
            counts: BTreeMap::new(),
            kept: Decision::ALL.map(|decision| Capped::new(decision.shown(), PolicyFinding::order)),
            invalid_policies: Capped::new(MAX_SHOWN, Ord::cmp),
        }
    }
}

impl<'a> Findings<'a> {
    /// Adds the findings of one check and policy, in the order of their containers.
    fn add(
        &mut self,
        check: CheckId,
        decision: Decision,
        found: impl ExactSizeIterator<Item = PolicyFinding<'a>>,
    ) {
        if found.len() > 0 {
            *self.counts.entry((check, decision)).or_default() += found.len();
            self.kept[decision as usize].extend(found.take(decision.shown()));
        }
    }

    fn verdict(self, namespace: &str, facts: &CheckedFacts) -> AdmissionVerdict {
        let (invalid, more) = self.invalid_policies.finish();
        let invalid_policy_count = invalid.len() + usize::try_from(more).unwrap_or(usize::MAX);
        let named = |kept: Capped<PolicyFinding<'_>>| {
            kept.finish().0.into_iter().map(|found| found.named(facts)).collect()
        };
        AdmissionVerdict {
            namespace: namespace.to_owned(),
            counts: self.counts,
            findings: self.kept.map(named),
            invalid_policies: invalid
                .into_iter()
                .map(|(policy, reason)| InvalidPolicy {
                    policy: Arc::clone(policy),
                    reason: excerpt(reason).into_owned(),
                })
                .collect(),
            invalid_policy_count,
            excess_policies: 0,
        }
    }
}
