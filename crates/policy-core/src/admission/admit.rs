//! Deciding on a request.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::custom::{CustomObjects, Unjudged, has_custom, unjudged};
use super::fail_open::FailOpenReason;
use super::introduced::IntroducedFindings;
use super::owner::{labels_of, workload_of};
use super::policies::{NamedPolicy, NamespacePolicies};
use super::requester::Requester;
use super::verdict::{AdmissionVerdict, Decision, InvalidPolicy, MAX_SHOWN, NamedFinding};
use super::{Operation, Request};
use crate::api::ControllerPods;
use crate::capped::Capped;
use crate::checks::{CheckId, CheckName, Subject};
use crate::custom::CustomInput;
use crate::evaluate::FoundBy;
use crate::facts::{CheckedFacts, PodFacts};
use crate::labels::Labels;
use crate::policy::{
    CompiledPolicy, EnabledCheck, ExemptionId, ExemptionSubject, FindingExemptions, PolicyName,
};
use crate::severity::Severity;
use crate::text::excerpt;
use crate::workload::{ObjectKind, Workload};

/// The creation of an object that is known by its facts.
#[derive(Clone, Copy, Debug)]
pub struct Creation<'a> {
    /// The kind of the object.
    pub kind: ObjectKind,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The workload that it names as its own. That counts where a controller of the cluster creates
    /// it: of anybody else it is only a word.
    pub workload: Option<&'a Workload>,
    /// Its own labels, where it is a workload and no part of another one.
    pub labels: Option<&'a Labels>,
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
            name: &facts.name,
            workload: Some(&facts.workload),
            labels: None,
            user: "",
            facts: &facts.checked,
            is_before_limit_ranges: false,
        }
    }
}

impl Creation<'_> {
    /// Decides on the creation at that time by the policies of its namespace.
    #[must_use]
    pub fn admit(&self, policies: &NamespacePolicies, now: Timestamp) -> AdmissionVerdict {
        self.admit_with(None, policies, now)
    }

    /// The same with the object as custom checks see it. Without it they are not judged.
    #[must_use]
    pub fn admit_with(
        &self,
        object: Option<CustomInput>,
        policies: &NamespacePolicies,
        now: Timestamp,
    ) -> AdmissionVerdict {
        let requester = Requester::of(self.user, self.kind);
        let custom = object.map(CustomObjects::from);
        let objects = Objects { old: None, custom: custom.as_ref() };
        self.decide(objects, requester, policies, Time { now, is_left: &|| true }).0
    }

    /// The object as exemptions know it.
    fn subject(&self, requester: Requester) -> ExemptionSubject<'_> {
        let Self { namespace, kind, name, labels, .. } = *self;
        let workload = self.workload.filter(|_| requester == Requester::Controller);
        ExemptionSubject { namespace, kind, name, workload, labels }
    }

    /// The verdict by the policies that were judged in time, and whether these are all.
    fn decide(
        &self,
        Objects { old, custom }: Objects<'_>,
        requester: Requester,
        policies: &NamespacePolicies,
        time: Time<'_>,
    ) -> (AdmissionVerdict, bool) {
        let subject = self.subject(requester);
        let mut findings = Findings::default();
        let mut introduced = IntroducedFindings::new(self.facts, old);
        let mut is_complete = true;
        for (rank, NamedPolicy { name: policy, rules }) in policies.judged.iter().enumerate() {
            if !(time.is_left)() {
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
            let exemptions = rules.exemptions().and_then(|all| all.matching(&subject));
            let exemption = |check: &FoundBy, container: Option<usize>| {
                let container = container.and_then(|index| self.facts.containers.get(index));
                let name = container.map(|container| &*container.name);
                let FindingExemptions { longest: exemption, ends, .. } =
                    exemptions?.of(&check.name(), name)?;
                (time.now.as_second() < ends).then_some(exemption)
            };
            let finding = |check: FoundBy, severity, container, may_be_filled_in| PolicyFinding {
                policy,
                rank: matches!(policy, PolicyName::Cluster(_)).then_some(Reverse(rank)),
                rules,
                severity,
                container,
                exemption: exemption(&check, container),
                check,
                may_be_filled_in,
            };
            if let Some((custom, checks)) = custom.zip(rules.custom())
                && has_custom(rules)
            {
                let namespace = policies.namespace.as_deref();
                let (results, is_judged) = custom.judge(checks, namespace, time.is_left);
                is_complete = is_judged;
                findings.unjudged.extend(unjudged(checks, &results).map(|of| (policy, of)));
                for violation in results.violations {
                    let severity = violation.severity;
                    let found = finding(FoundBy::Custom(violation), severity, None, false);
                    let decision = match found.exemption {
                        Some(_) => Decision::Exempted,
                        None => decision(rules, severity, false, self.kind, requester),
                    };
                    findings.add(&found.check.name(), decision, std::iter::once(found));
                }
            }
            if !is_complete {
                break;
            }
            for (check, enabled) in at_admission(rules) {
                let containers = introduced.of(check, enabled);
                let severity = enabled.severity;
                let may_be_filled_in =
                    may_be_filled_in(check, self.kind, self.is_before_limit_ranges);
                let named = |&container: &Option<usize>| {
                    finding(FoundBy::Registered(check), severity, container, may_be_filled_in)
                };
                let check = &CheckName::Registered(check);
                let decision = decision(rules, severity, may_be_filled_in, self.kind, requester);
                if exemptions.is_none() {
                    findings.add(check, decision, containers.iter().map(named));
                    continue;
                }
                let (exempted, counted): (Vec<_>, Vec<_>) =
                    containers.iter().map(named).partition(|found| found.exemption.is_some());
                findings.add(check, Decision::Exempted, exempted.into_iter());
                findings.add(check, decision, counted.into_iter());
            }
        }
        let mut verdict = findings.verdict(self.namespace, self.facts);
        verdict.excess_policies = policies.excess;
        (verdict, is_complete)
    }
}

/// What a decision compares the object with, and its objects as custom checks see them.
#[derive(Clone, Copy)]
struct Objects<'a> {
    old: Option<&'a CheckedFacts>,
    custom: Option<&'a CustomObjects>,
}

/// The time of a decision, and whether there is time left for it.
#[derive(Clone, Copy)]
struct Time<'a> {
    now: Timestamp,
    is_left: &'a dyn Fn() -> bool,
}

/// Decides on a request at that time by the policies of its namespace. Pass none for an excluded
/// namespace.
///
/// Pure; takes about a microsecond beside decoding the request. `is_in_time` is asked before each
/// policy and each custom check. The first one costs about as much as all others: a check is evaluated once, and its
/// findings count for every policy that enables it.
///
/// # Errors
/// [`FailOpenReason::Deadline`] where the time is over before a policy has denied the request.
pub fn admit(
    request: Request<'_>,
    policies: &NamespacePolicies,
    now: Timestamp,
    is_in_time: impl Fn() -> bool,
) -> Result<AdmissionVerdict, FailOpenReason> {
    let judged_kind = request.judged_kind();
    let Request { operation, namespace, name, user, spec, old_spec, metadata, body, .. } = request;
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
    let is_believed = requester == Requester::Controller;
    let has_exemptions = |rules: &CompiledPolicy| rules.exemptions().is_some();
    let workload = metadata.filter(|_| is_believed && policies.any(has_exemptions));
    let workload = workload.and_then(|metadata| workload_of(kind, &name, metadata));
    let has_labels = kind != ObjectKind::Pod && policies.any(CompiledPolicy::has_selectors);
    let labels = metadata.filter(|_| has_labels);
    let labels = labels.and_then(|metadata| labels_of(kind, &name, metadata));
    let object = Creation {
        kind,
        namespace: &namespace,
        name: &name,
        workload: workload.as_ref(),
        labels: labels.as_ref(),
        user: &user,
        facts: &facts,
        is_before_limit_ranges: false,
    };
    let time = Time { now, is_left: &is_in_time };
    let custom = policies.any(has_custom).then(|| {
        let is_update = operation == Operation::Update;
        CustomObjects::read(kind, body, is_update)
    });
    let objects = Objects { old: old.as_ref(), custom: custom.as_ref() };
    let (verdict, is_complete) = object.decide(objects, requester, policies, time);
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
        _ if rules.denies(severity) && !may_be_filled_in => Decision::Denied,
        _ => Decision::Warned,
    }
}

/// A finding of one policy, without its text.
struct PolicyFinding<'a> {
    policy: &'a PolicyName,
    /// Of a cluster policy, by its priority; the greatest is listed first.
    rank: Option<Reverse<usize>>,
    rules: &'a CompiledPolicy,
    severity: Severity,
    container: Option<usize>,
    check: FoundBy,
    may_be_filled_in: bool,
    exemption: Option<ExemptionId>,
}

impl PolicyFinding<'_> {
    /// The order in which an answer lists findings.
    fn order(&self, other: &Self) -> Ordering {
        fn key<'a>(found: &'a PolicyFinding<'_>) -> impl Ord + use<'a> {
            let policy = (Reverse(found.rank), found.policy);
            (Reverse(found.severity), policy, found.container, &found.check)
        }
        key(self).cmp(&key(other))
    }

    fn named(self, facts: &CheckedFacts) -> NamedFinding {
        let subject = Subject::of(facts, self.container);
        let text = match &self.check {
            FoundBy::Registered(check) => {
                check.check().admission_message(subject, self.rules.parameters(*check))
            }
            FoundBy::Custom(violation) => violation.message.to_string().into(),
        };
        let exemption = self.exemption.and_then(|id| self.rules.exemptions()?.get(id));
        NamedFinding {
            exempted_for: exemption.map(|exemption| Arc::clone(exemption.reason())),
            policy: self.policy.clone(),
            severity: self.severity,
            check: self.check.name(),
            container: subject.container.map(|container| Arc::clone(&container.name)),
            text: if self.may_be_filled_in && self.rules.denies(self.severity) {
                format!("may be filled in by a LimitRange: {text}").into()
            } else {
                text
            },
        }
    }
}

/// Collects findings. Of very many, the first are kept and the rest is counted.
struct Findings<'a> {
    counts: BTreeMap<(CheckName, Decision), usize>,
    kept: [Capped<PolicyFinding<'a>>; Decision::ALL.len()],
    invalid_policies: Capped<(&'a PolicyName, &'a String)>,
    unjudged: Capped<(&'a PolicyName, Unjudged)>,
}

impl Default for Findings<'_> {
    fn default() -> Self {
        Self {
            counts: BTreeMap::new(),
            kept: Decision::ALL.map(|decision| Capped::new(decision.shown(), PolicyFinding::order)),
            invalid_policies: Capped::new(MAX_SHOWN, Ord::cmp),
            unjudged: Capped::new(MAX_SHOWN, Ord::cmp),
        }
    }
}

impl<'a> Findings<'a> {
    /// Adds the findings of one check and policy, in the order of their containers.
    fn add(
        &mut self,
        check: &CheckName,
        decision: Decision,
        found: impl ExactSizeIterator<Item = PolicyFinding<'a>>,
    ) {
        if found.len() > 0 {
            *self.counts.entry((check.clone(), decision)).or_default() += found.len();
            self.kept[decision as usize].extend(found.take(decision.shown()));
        }
    }

    fn verdict(self, namespace: &str, facts: &CheckedFacts) -> AdmissionVerdict {
        let (invalid, more) = self.invalid_policies.finish();
        let (unjudged, more_unjudged) = self.unjudged.finish();
        let unjudged_count = unjudged.len() + usize::try_from(more_unjudged).unwrap_or(usize::MAX);
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
                    policy: policy.clone(),
                    reason: excerpt(reason).into_owned(),
                })
                .collect(),
            invalid_policy_count,
            unjudged: unjudged.into_iter().map(|(policy, of)| (policy.clone(), of)).collect(),
            unjudged_count,
            excess_policies: 0,
        }
    }
}
