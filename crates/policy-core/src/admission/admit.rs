//! Deciding on a request.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::requester::Requester;
use super::verdict::{AdmissionVerdict, Decision, InvalidPolicy, MAX_KEPT, NamedFinding};
use super::{Operation, Request};
use crate::api::{AdmissionMode, ControllerPods};
use crate::capped::Capped;
use crate::checks::CheckId;
use crate::evaluate::{Finding, evaluate};
use crate::facts::{CheckedFacts, ContainerRole};
use crate::policy::CompiledPolicy;
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

impl Creation<'_> {
    /// Decides on the creation by the policies of its namespace.
    #[must_use]
    pub fn admit(&self, policies: &[NamedPolicy]) -> AdmissionVerdict {
        self.decide(None, Requester::of(self.user, self.kind), policies)
    }

    fn decide(
        &self,
        old: Option<&CheckedFacts>,
        requester: Requester,
        policies: &[NamedPolicy],
    ) -> AdmissionVerdict {
        let mut findings = Findings::default();
        // A template is not subject to a LimitRange, its pods are.
        let is_before_limit_ranges = self.kind != ObjectKind::Pod || self.is_before_limit_ranges;
        for NamedPolicy { name: policy, rules } in policies {
            let rules = match rules {
                Ok(rules) => rules,
                Err(reason) => {
                    findings.invalid_policies.extend([(policy, reason)]);
                    continue;
                }
            };
            for Finding { check, severity, container, .. } in introduced(self.facts, old, rules) {
                let may_be_filled_in = is_before_limit_ranges && check.meta().is_filled_in_later;
                let found =
                    PolicyFinding { policy, rules, severity, container, check, may_be_filled_in };
                findings.add(found, found.decision(self.kind, requester));
            }
        }
        findings.verdict(self.namespace, self.facts)
    }
}

/// Decides on a request by the policies of its namespace. Pass none for an excluded namespace.
/// Pure, and cannot fail; takes about a microsecond beside decoding the request.
#[must_use]
pub fn admit(request: &Request<'_>, policies: &[NamedPolicy]) -> AdmissionVerdict {
    let (Some(kind), Some(spec)) = (request.judged_kind(), &request.spec) else {
        return AdmissionVerdict::default();
    };
    let facts = Some(spec).filter(|_| !policies.is_empty());
    let Some(facts) = facts.and_then(|spec| CheckedFacts::of_spec(kind, spec)) else {
        return AdmissionVerdict::default();
    };
    let (namespace, user) = (&*request.namespace, &*request.user);
    let object = Creation { kind, namespace, user, facts: &facts, is_before_limit_ranges: false };
    if request.operation == Operation::Create {
        return object.admit(policies);
    }
    let old = request.old_spec.as_ref().and_then(|spec| CheckedFacts::of_spec(kind, spec));
    object.decide(old.as_ref(), Requester::Other, policies)
}

/// The findings of the checks that run at admission. These do not depend on time.
fn at_admission(facts: &CheckedFacts, rules: &CompiledPolicy) -> impl Iterator<Item = Finding> {
    let evaluation = evaluate(facts, rules, Timestamp::UNIX_EPOCH);
    evaluation.findings.into_iter().filter(|finding| finding.check.meta().at_admission)
}

/// What makes a finding of the old object the same one in the new object: its check, its
/// container, and one of the fields that it is about.
type FindingKey<'a> = (CheckId, Option<(ContainerRole, &'a str)>, &'a str);

fn keys<'a>(finding: &Finding, facts: &'a CheckedFacts) -> Vec<FindingKey<'a>> {
    let Some(container) = finding.container(facts) else {
        return vec![(finding.check, None, "")];
    };
    let fields = finding.check.check().found_fields(container);
    let key = |field| (finding.check, Some((container.role, &*container.name)), field);
    fields.into_iter().map(key).collect()
}

/// The findings of the new object that the old one did not have.
fn introduced(
    new: &CheckedFacts,
    old: Option<&CheckedFacts>,
    rules: &CompiledPolicy,
) -> Vec<Finding> {
    if rules.admission().mode.is_disabled() {
        return Vec::new();
    }
    let mut found: Vec<Finding> = at_admission(new, rules).collect();
    if let Some(old) = old.filter(|_| !found.is_empty()) {
        let old: BTreeSet<FindingKey<'_>> =
            at_admission(old, rules).flat_map(|finding| keys(&finding, old)).collect();
        found.retain(|finding| keys(finding, new).iter().any(|key| !old.contains(key)));
    }
    found
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
    fn decision(&self, kind: ObjectKind, requester: Requester) -> Decision {
        let denies_pods_of_controllers = kind == ObjectKind::Pod
            && self.rules.admission().controller_pods == ControllerPods::Deny;
        match requester {
            Requester::Node => Decision::Recorded,
            Requester::Controller if !denies_pods_of_controllers => Decision::Recorded,
            _ if self.is_severe() && !self.may_be_filled_in => Decision::Denied,
            _ => Decision::Warned,
        }
    }

    /// Whether the policy denies findings of that severity.
    fn is_severe(&self) -> bool {
        let admission = self.rules.admission();
        admission.mode == AdmissionMode::Deny && self.severity >= admission.deny_severity
    }

    /// The order in which an answer lists findings.
    fn order(&self, other: &Self) -> Ordering {
        fn key<'a>(found: &PolicyFinding<'a>) -> impl Ord + use<'a> {
            (Reverse(found.severity), found.policy, found.container, found.check)
        }
        key(self).cmp(&key(other))
    }

    fn named(self, facts: &CheckedFacts) -> NamedFinding {
        let container = self.container.and_then(|index| facts.containers.get(index));
        let text = self.check.check().admission_message(container, self.rules.limit(self.check));
        NamedFinding {
            policy: Arc::clone(self.policy),
            severity: self.severity,
            check: self.check,
            container: container.map(|container| Arc::clone(&container.name)),
            text: if self.may_be_filled_in && self.is_severe() {
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
            kept: Decision::ALL.map(|_| Capped::new(MAX_KEPT, PolicyFinding::order)),
            invalid_policies: Capped::new(MAX_KEPT, Ord::cmp),
        }
    }
}

impl<'a> Findings<'a> {
    fn add(&mut self, found: PolicyFinding<'a>, decision: Decision) {
        *self.counts.entry((found.check, decision)).or_default() += 1;
        self.kept[decision as usize].extend([found]);
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
        }
    }
}
