//! Judging a request.

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::controllers;
use super::line::part;
use super::verdict::{Decision, LeftOut, MOST_TOLD, Told, Verdict};
use super::{Operation, Request};
use crate::api::{AdmissionMode, ControllerPods};
use crate::capped::Capped;
use crate::checks::CheckId;
use crate::evaluate::{Finding, evaluate};
use crate::facts::{CheckedFacts, ContainerRole, all_containers, pod_spec};
use crate::policy::CompiledPolicy;
use crate::severity::Severity;
use crate::view::{ContainerView, SpecView};
use crate::workload::ObjectKind;

/// A policy of the request's namespace.
#[derive(Clone, Debug)]
pub struct NamedPolicy {
    /// Its name.
    pub name: Arc<str>,
    /// What it wants, or why nothing can be judged by it.
    pub rules: Result<Arc<CompiledPolicy>, String>,
}

/// Judges a request by the policies of its namespace, which should be none for a namespace that
/// is left out. Pure, and cannot fail; costs about a microsecond beside reading the request.
#[must_use]
pub fn admit(request: &Request<'_>, policies: &[NamedPolicy]) -> Verdict {
    let (Some(kind), Some(spec)) = (request.judged_kind(), &request.spec) else {
        return Verdict::default();
    };
    let Some(subject) = Subject::of(kind, spec).filter(|_| !policies.is_empty()) else {
        return Verdict::default();
    };
    let before = match (request.operation, &request.old_spec) {
        (Operation::Update, Some(old)) => Subject::of(kind, old),
        _ => None,
    };
    let is_made_from_template =
        request.operation == Operation::Create && controllers::makes(&request.user, kind);
    let mut findings = Findings::default();
    for NamedPolicy { name, rules } in policies {
        let rules = match rules {
            Ok(rules) => rules,
            Err(why) => {
                findings.left_out.extend([(name, why)]);
                continue;
            }
        };
        let decide = Decider::of(rules, kind, is_made_from_template);
        for finding in subject.brought_in(before.as_ref(), rules) {
            let (check, severity, container) = (finding.check, finding.severity, finding.container);
            let found = Found { policy: name, rules, severity, container, check };
            findings.add(found, decide.of_finding(&finding));
        }
    }
    findings.verdict(&request.namespace, &subject)
}

/// The pods that are judged.
struct Subject<'a> {
    facts: CheckedFacts,
    /// In the order of the facts.
    containers: Vec<&'a ContainerView>,
}

/// What makes a finding of an old object the same in the new one.
type Trait<'a> = (CheckId, Option<(ContainerRole, &'a str)>, Cow<'static, str>);

impl<'a> Subject<'a> {
    /// `None` where there are no containers, which no API server takes.
    fn of(kind: ObjectKind, spec: &'a SpecView) -> Option<Self> {
        let facts = CheckedFacts::of_spec(kind, spec)?;
        let spec = pod_spec(kind, spec)?;
        let containers = all_containers(spec).map(|(_, _, container)| &container.value).collect();
        Some(Self { facts, containers })
    }

    /// What can be found at admission. Time plays no part in it.
    fn findings(&self, rules: &CompiledPolicy) -> impl Iterator<Item = Finding> + use<> {
        let evaluation = evaluate(&self.facts, rules, Timestamp::UNIX_EPOCH);
        evaluation.findings.into_iter().filter(|finding| finding.check.meta().at_admission)
    }

    /// Findings but for those that were there before.
    fn brought_in(&self, before: Option<&Subject<'_>>, rules: &CompiledPolicy) -> Vec<Finding> {
        if rules.admission().mode == AdmissionMode::Off {
            return Vec::new();
        }
        let mut found: Vec<Finding> = self.findings(rules).collect();
        if let Some(before) = before.filter(|_| !found.is_empty()) {
            let had: BTreeSet<Trait<'_>> =
                before.findings(rules).map(|finding| before.trait_of(&finding, rules)).collect();
            found.retain(|finding| !had.contains(&self.trait_of(finding, rules)));
        }
        found
    }

    fn trait_of(&self, finding: &Finding, rules: &CompiledPolicy) -> Trait<'_> {
        let container = finding.container(&self.facts);
        let container = container.map(|container| (container.role, &*container.name));
        (finding.check, container, self.text(finding.check, finding.container, rules))
    }

    fn text(
        &self,
        check: CheckId,
        container: Option<usize>,
        rules: &CompiledPolicy,
    ) -> Cow<'static, str> {
        let facts = container.and_then(|index| self.facts.containers.get(index));
        let view = container.and_then(|index| self.containers.get(index).copied());
        check.check().admission_message(facts, view, rules.limit(check))
    }
}

/// What becomes of the findings of a policy.
struct Decider<'a> {
    rules: &'a CompiledPolicy,
    is_template: bool,
    is_let_in: bool,
}

impl<'a> Decider<'a> {
    fn of(rules: &'a CompiledPolicy, kind: ObjectKind, is_made_from_template: bool) -> Self {
        let is_template = kind != ObjectKind::Pod;
        // A ReplicaSet or Job was judged as a Deployment or CronJob; only of its pods a policy may
        // want more.
        let wants_more = !is_template && rules.admission().controller_pods == ControllerPods::Deny;
        Self { rules, is_template, is_let_in: is_made_from_template && !wants_more }
    }

    fn of_finding(&self, finding: &Finding) -> Decision {
        let admission = self.rules.admission();
        let may_still_come = self.is_template && finding.check.meta().is_filled_in_later;
        if self.is_let_in {
            Decision::LetIn
        } else if admission.mode == AdmissionMode::Deny
            && finding.severity >= admission.deny_severity
            && !may_still_come
        {
            Decision::Denied
        } else {
            Decision::Warned
        }
    }
}

/// A finding, its words not made yet.
struct Found<'a> {
    policy: &'a Arc<str>,
    rules: &'a CompiledPolicy,
    severity: Severity,
    container: Option<usize>,
    check: CheckId,
}

/// The order in which findings are told.
fn order(a: &Found<'_>, b: &Found<'_>) -> Ordering {
    fn key<'a>(found: &Found<'a>) -> impl Ord + use<'a> {
        (Reverse(found.severity), found.policy, found.container, found.check)
    }
    key(a).cmp(&key(b))
}

/// Findings as they come; of very many the first are kept and the rest is counted.
struct Findings<'a> {
    counts: BTreeMap<(CheckId, Decision), usize>,
    kept: [Capped<Found<'a>>; 3],
    left_out: Capped<(&'a Arc<str>, &'a String)>,
}

impl Default for Findings<'_> {
    fn default() -> Self {
        Self {
            counts: BTreeMap::new(),
            kept: Decision::ALL.map(|_| Capped::new(MOST_TOLD, order)),
            left_out: Capped::new(MOST_TOLD, Ord::cmp),
        }
    }
}

impl<'a> Findings<'a> {
    fn add(&mut self, found: Found<'a>, decision: Decision) {
        *self.counts.entry((found.check, decision)).or_default() += 1;
        self.kept[decision as usize].extend([found]);
    }

    fn verdict(self, namespace: &str, subject: &Subject<'_>) -> Verdict {
        let told = |found: Found<'_>| Told {
            policy: Arc::clone(found.policy),
            severity: found.severity,
            check: found.check,
            container: found
                .container
                .and_then(|index| subject.facts.containers.get(index))
                .map(|container| Arc::clone(&container.name)),
            text: part(&subject.text(found.check, found.container, found.rules)),
        };
        let (left_out, more) = self.left_out.finish();
        let left_out_count = left_out.len() + usize::try_from(more).unwrap_or(usize::MAX);
        Verdict {
            namespace: namespace.to_owned(),
            counts: self.counts,
            told: self.kept.map(|kept| kept.finish().0.into_iter().map(told).collect()),
            left_out: left_out
                .into_iter()
                .map(|(policy, why)| LeftOut { policy: Arc::clone(policy), why: part(why) })
                .collect(),
            left_out_count,
        }
    }
}
