//! Custom checks in a report: which have no result, and for how many objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::CoverageCounter;
use crate::api::MAX_CUSTOM;
use crate::checks::CheckName;
use crate::custom::{CustomChecks, CustomResults};
use crate::facts::PodFacts;
use crate::manifest::ManifestObject;
use crate::text::counted;

/// An object that is evaluated once it is known that nothing else stands for its pods.
#[derive(Debug)]
pub(super) struct ControlledObject {
    pub(super) object: ManifestObject,
    pub(super) custom: CustomResults,
    /// The checks by which admission would deny it, where that is judged.
    pub(super) denied_by: BTreeSet<CheckName>,
    pub(super) file: Arc<str>,
    pub(super) document: u32,
}

/// The checks without a result, by name: a policy has few.
#[derive(Debug, Default)]
pub(super) struct WithoutResult {
    checks: BTreeMap<Arc<str>, Objects>,
}

#[derive(Debug)]
struct Objects {
    number: u64,
    /// The first of them, by its place and name.
    first: Place,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// The file, or the namespace of a cluster.
    file: Arc<str>,
    line: Option<u32>,
    object: String,
    reason: Arc<str>,
}

/// How the custom checks of a policy went, each by its position among those that can be evaluated.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CustomOutcomes {
    /// Those that found nothing in some pod.
    passed: u16,
    /// Those that found something in one, or had no result.
    others: u16,
}

impl CustomOutcomes {
    /// Adds what the checks say of a pod.
    pub(super) fn add(&mut self, checks: &CustomChecks, results: &CustomResults) {
        const { assert!(MAX_CUSTOM <= 16) };
        let CustomResults { violations, failures } = results;
        for (index, check) in checks.checks().enumerate() {
            let name = check.name();
            let is_other = violations.iter().any(|found| found.name == *name)
                || failures.iter().any(|failure| failure.name == *name);
            *(if is_other { &mut self.others } else { &mut self.passed }) |= 1 << index;
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.passed |= other.passed;
        self.others |= other.others;
    }

    /// Whether that check found nothing in any pod, of which there is one.
    pub(super) fn has_passed(self, index: usize) -> bool {
        self.passed & !self.others & 1 << index != 0
    }
}

impl WithoutResult {
    pub(super) fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// Adds those of an object of a file.
    pub(super) fn add(&mut self, pod: &PodFacts, results: &CustomResults, at: (&Arc<str>, u32)) {
        self.add_at(pod, results, || (Arc::clone(at.0), Some(at.1)));
    }

    /// Adds those of a pod of a cluster.
    pub(super) fn add_live(&mut self, pod: &PodFacts, results: &CustomResults) {
        self.add_at(pod, results, || (format!("namespace {}", pod.namespace).into(), None));
    }

    fn add_at(
        &mut self,
        pod: &PodFacts,
        results: &CustomResults,
        at: impl Fn() -> (Arc<str>, Option<u32>),
    ) {
        for failure in &results.failures {
            let (file, line) = at();
            let object = format!("{}/{}", pod.kind, pod.name);
            let first = Place { file, line, object, reason: Arc::clone(&failure.reason) };
            self.merge_check(Arc::clone(&failure.name), Objects { number: 1, first });
        }
    }

    fn merge_check(&mut self, check: Arc<str>, other: Objects) {
        match self.checks.get_mut(&check) {
            None => {
                self.checks.insert(check, other);
            }
            Some(known) => {
                known.number += other.number;
                if other.first < known.first {
                    known.first = other.first;
                }
            }
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (check, objects) in other.checks {
            self.merge_check(check, objects);
        }
    }

    pub(super) fn note(self, coverage: &mut CoverageCounter) {
        for (check, Objects { number, first }) in self.checks {
            let Place { file, line, object, reason } = first;
            let objects = counted(number, "object");
            let message = format!(
                "check custom/{check} has no result for {objects}, such as {object}: {reason}"
            );
            coverage.note(&file, line, message);
        }
    }
}
