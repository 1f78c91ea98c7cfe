//! The findings that a change brings in.

use std::collections::HashSet;

use k8s_openapi::jiff::Timestamp;

use crate::checks::{CheckId, Parameters};
use crate::evaluate::{Evaluation, Finding, evaluate_check};
use crate::facts::{CheckedFacts, ContainerRole};
use crate::policy::EnabledCheck;

/// What makes a finding of the old object the same one in the new object: its container, and one of
/// the fields that it is about.
type FindingKey<'a> = (Option<(ContainerRole, &'a str)>, &'a str);

fn keys<'a>(finding: &Finding, facts: &'a CheckedFacts) -> Vec<FindingKey<'a>> {
    let Some(container) = finding.container(facts) else {
        return vec![(None, "")];
    };
    let Some(check) = finding.check.registered() else {
        return vec![(None, "")];
    };
    let fields = check.check().found_fields(container);
    let key = |field| (Some((container.role, &*container.name)), field);
    fields.into_iter().map(key).collect()
}

/// The findings of the new object that the old one did not have. Each check is evaluated once,
/// whatever the number of policies that enable it.
pub(super) struct IntroducedFindings<'a> {
    new: &'a CheckedFacts,
    old: Option<&'a CheckedFacts>,
    /// The containers that have a finding, by check and parameters.
    known: Vec<(CheckId, Parameters, Vec<Option<usize>>)>,
}

impl<'a> IntroducedFindings<'a> {
    pub(super) fn new(new: &'a CheckedFacts, old: Option<&'a CheckedFacts>) -> Self {
        Self { new, old, known: Vec::new() }
    }

    /// The containers that have a finding of the check.
    pub(super) fn of(&mut self, check: CheckId, enabled: EnabledCheck) -> &[Option<usize>] {
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
            evaluate_check(facts, check, enabled, None, Timestamp::UNIX_EPOCH, &mut evaluation);
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
