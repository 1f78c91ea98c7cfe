//! The findings that the status and the Report of a cluster policy list. Pure.
//!
//! They are the first of those of all namespaces. Of a namespace all lists are made by one evaluation,
//! and no more is held than they may have.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::mem::take;
use std::sync::Arc;

use policy_core::checks::{CheckId, CheckName};
use policy_core::score::Tally;
use policy_core::severity::Severity;
use policy_core::verdict::{
    ListedFinding, Lists, MAX_EXEMPTED, MAX_LISTED, MAX_REPORTED, ReportedFindings, Verdict,
};

/// The findings that a status lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) worst: Vec<ListedFinding>,
    pub(crate) exempted: Vec<ListedFinding>,
    /// Those that a Report shows, where there is one.
    pub(crate) reported: Option<ReportedFindings>,
}

/// Findings that are listed together: those of a check, or of all custom checks of a severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CheckGroup {
    One(CheckId),
    Custom(Severity),
}

impl CheckGroup {
    /// The group of the findings of a check.
    pub(crate) fn of(check: &CheckName, severity: Severity) -> Self {
        check.registered().map_or(Self::Custom(severity), Self::One)
    }

    pub(crate) fn findings(self, tally: &Tally) -> u64 {
        match self {
            Self::One(check) => tally.findings(check),
            Self::Custom(severity) => tally.custom_findings_of(severity),
        }
    }

    /// Of custom checks the number is that of all severities.
    pub(crate) fn exempted(self, tally: &Tally) -> u64 {
        match self {
            Self::One(check) => tally.exempted(check),
            Self::Custom(_) => tally.custom_exempted(),
        }
    }
}

/// Where findings stand in a list. The order of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place<'a> {
    pub(crate) severity: Reverse<Severity>,
    pub(crate) group: CheckGroup,
    pub(crate) namespace: &'a Arc<str>,
}

impl<'a> Place<'a> {
    fn of(ListedFinding { check, severity, namespace, .. }: &'a ListedFinding) -> Self {
        let group = CheckGroup::of(check, *severity);
        Self { severity: Reverse(*severity), group, namespace }
    }
}

/// The first findings of several namespaces.
struct First {
    most: usize,
    found: Vec<ListedFinding>,
}

impl First {
    fn new(most: usize) -> Self {
        Self { most, found: Vec::new() }
    }

    /// Adds those of a namespace, which are in order.
    fn add(&mut self, part: Vec<ListedFinding>) {
        if part.first().is_some_and(|first| self.takes(&Place::of(first))) {
            self.found.extend(part);
            // Stable: those of a place stay in their order.
            self.found.sort_by(|a, b| Place::of(a).cmp(&Place::of(b)));
            self.found.truncate(self.most);
        }
    }

    /// Whether findings at a place are among the first.
    fn takes(&self, place: &Place<'_>) -> bool {
        let is_full = self.found.len() >= self.most;
        !is_full || self.found.last().is_some_and(|last| *place < Place::of(last))
    }

    /// They are kept for long.
    fn finish(mut self) -> Vec<ListedFinding> {
        self.found.shrink_to_fit();
        self.found
    }
}

/// Findings that count, and those that are accepted.
struct Pair {
    worst: First,
    exempted: First,
}

/// Collects the lists from the verdicts on single namespaces, in any order.
pub(crate) struct FirstFindings {
    status: Pair,
    report: Option<Pair>,
    namespaces: BTreeSet<Arc<str>>,
}

impl FirstFindings {
    pub(crate) fn new(lists: Lists) -> Self {
        let pair =
            |worst, exempted| Pair { worst: First::new(worst), exempted: First::new(exempted) };
        Self {
            status: pair(MAX_LISTED, MAX_EXEMPTED),
            report: (lists == Lists::StatusAndReport).then(|| pair(MAX_REPORTED, MAX_REPORTED)),
            namespaces: BTreeSet::new(),
        }
    }

    /// Takes the lists of the verdict on a namespace.
    pub(crate) fn add(&mut self, namespace: &Arc<str>, verdict: &mut Verdict) {
        self.namespaces.insert(Arc::clone(namespace));
        self.status.worst.add(take(&mut verdict.worst));
        self.status.exempted.add(take(&mut verdict.exempted));
        if let (Some(report), Some(found)) = (&mut self.report, verdict.reported.take()) {
            report.worst.add(found.worst);
            report.exempted.add(found.exempted);
        }
    }

    /// Whether the lists of a namespace were added.
    pub(crate) fn has(&self, namespace: &str) -> bool {
        self.namespaces.contains(namespace)
    }

    /// Whether findings at a place, or after it, may be listed.
    pub(crate) fn takes(&self, place: &Place<'_>) -> bool {
        self.pairs().any(|pair| pair.worst.takes(place))
    }

    /// The same of those that are accepted.
    pub(crate) fn takes_exempted(&self, place: &Place<'_>) -> bool {
        self.pairs().any(|pair| pair.exempted.takes(place))
    }

    fn pairs(&self) -> impl Iterator<Item = &Pair> {
        [&self.status].into_iter().chain(&self.report)
    }

    pub(crate) fn finish(self) -> Listed {
        let Self { status, report, .. } = self;
        Listed {
            worst: status.worst.finish(),
            exempted: status.exempted.finish(),
            reported: report.map(|report| ReportedFindings {
                worst: report.worst.finish(),
                exempted: report.exempted.finish(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use policy_core::workload::{ObjectKind, Workload};
    use proptest::prelude::*;

    use super::*;

    const CHECKS: [&str; 4] = ["latest-tag", "custom/b", "pending", "custom/a"];

    /// The number distinguishes findings of one place.
    fn finding(namespace: u8, check: usize, severity: bool, number: usize) -> ListedFinding {
        let check: CheckName = CHECKS[check].parse().unwrap();
        // Those of a registered check have one severity.
        let is_high = severity && check.registered().is_none();
        ListedFinding {
            check,
            severity: if is_high { Severity::High } else { Severity::Medium },
            namespace: format!("n{namespace}").into(),
            workload: Workload::of_kind(ObjectKind::Deployment, &format!("web-{number}")),
            container: None,
            message: "found".into(),
            pods: 1,
            first_pod: "web".into(),
            exempted_for: None,
            exempted_until: None,
        }
    }

    proptest! {
        /// Whatever was added before: what is dropped, and where it looks no more, is what is cut from
        /// a list of everything.
        #[test]
        fn they_are_the_first_of_all(
            findings in prop::collection::vec((0_u8..6, 0..CHECKS.len(), any::<bool>()), 0..40),
            before in prop::collection::btree_set(0_u8..6, 0..6),
            most in 1_usize..12,
        ) {
            let findings = findings.into_iter().enumerate();
            let mut all: Vec<_> = findings
                .map(|(number, (namespace, check, severity))| {
                    finding(namespace, check, severity, number)
                })
                .collect();
            all.sort_by(|a, b| Place::of(a).cmp(&Place::of(b)));
            let of = |namespace: &Arc<str>| {
                let found = all.iter().filter(|found| found.namespace == *namespace);
                found.take(most).cloned().collect::<Vec<_>>()
            };
            let mut first = First::new(most);
            let mut added: BTreeSet<Arc<str>> =
                before.into_iter().map(|namespace| format!("n{namespace}").into()).collect();
            for namespace in &added {
                first.add(of(namespace));
            }
            for place in all.iter().map(Place::of) {
                if !first.takes(&place) {
                    break;
                }
                if added.insert(Arc::clone(place.namespace)) {
                    first.add(of(place.namespace));
                }
            }
            all.truncate(most);
            prop_assert_eq!(first.finish(), all);
        }
    }
}
