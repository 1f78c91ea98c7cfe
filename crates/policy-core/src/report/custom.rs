//! Custom checks in a report: which have no result, and for how many objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::CoverageCounter;
use crate::custom::CustomResults;
use crate::facts::PodFacts;
use crate::manifest::ManifestObject;
use crate::text::counted;

/// An object that is evaluated once it is known that nothing else stands for its pods.
#[derive(Debug)]
pub(super) struct ControlledObject {
    pub(super) object: ManifestObject,
    pub(super) custom: CustomResults,
    pub(super) file: Arc<str>,
    pub(super) document: u32,
}

/// The checks without a result, by name: a policy has few.
#[derive(Debug, Default)]
pub(super) struct WithoutResult {
    checks: BTreeMap<Arc<str>, Objects>,
    /// Whether pods were read of which only a part is known, so that no expression could see them.
    pub(super) is_live: bool,
}

#[derive(Debug)]
struct Objects {
    number: u64,
    /// The first of them, by its place and name.
    first: Place,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    file: Arc<str>,
    line: u32,
    object: String,
    reason: Arc<str>,
}

impl WithoutResult {
    pub(super) fn add(&mut self, pod: &PodFacts, results: &CustomResults, at: (&Arc<str>, u32)) {
        for failure in &results.failures {
            let (file, line) = (Arc::clone(at.0), at.1);
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
        self.is_live |= other.is_live;
        for (check, objects) in other.checks {
            self.merge_check(check, objects);
        }
    }

    pub(super) fn note(self, coverage: &mut CoverageCounter) {
        if self.is_live {
            let message =
                "custom checks are judged at admission and in files, not in a cluster yet";
            coverage.note(&"spec.custom".into(), None, message.to_owned());
        }
        for (check, Objects { number, first }) in self.checks {
            let Place { file, line, object, reason } = first;
            let objects = counted(number, "object");
            let message = format!(
                "check custom/{check} has no result for {objects}, such as {object}: {reason}"
            );
            coverage.note(&file, Some(line), message);
        }
    }
}
