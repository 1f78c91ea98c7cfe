//! What a report covers: the objects that were read, those that were skipped, and what could not be
//! read.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::capped::Capped;
use crate::facts::{Lifecycle, PodFacts};
use crate::manifest::DocumentContent;
use crate::namespaces::ExcludedNamespaces;

/// How many failures a report names at most; the others are counted.
const MAX_FAILED: usize = 10_000;

/// What was read, and what was not.
#[derive(Serialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// The number of pods and pod templates that were evaluated.
    pub evaluated: u64,
    /// The number of objects that were left out: other kinds, system namespaces, pods that ended.
    pub skipped: u64,
    /// What could not be read.
    pub failed: Vec<NotRead>,
    /// The objects of other kinds among `skipped`.
    #[serde(skip)]
    pub other_kinds: u64,
    /// The objects of excluded namespaces among `skipped`.
    #[serde(skip)]
    pub excluded_namespaces: u64,
    /// The pods that ended among `skipped`.
    #[serde(skip)]
    pub ended: u64,
    /// Objects of other kinds that are named like a workload.
    #[serde(skip)]
    pub look_alikes: Vec<LookAlike>,
}

impl Coverage {
    /// Whether nothing was evaluated because something could not be read. A score of such a report
    /// would be the score of no pods, 100, which says nothing about the pods that there are.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.evaluated == 0 && !self.failed.is_empty()
    }
}

/// An object of another kind that is named like a workload: a misspelt group, perhaps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LookAlike {
    /// The file.
    pub file: Arc<str>,
    /// The line of the object.
    pub line: u32,
    /// Its `apiVersion` and kind.
    pub kind: String,
}

/// Something that could not be read.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotRead {
    #[serde(skip)]
    file: Arc<str>,
    #[serde(skip)]
    line: Option<u32>,
    /// The file, with the line where one is known.
    pub source: String,
    /// Why.
    pub reason: String,
}

impl NotRead {
    pub(super) fn new(file: &Arc<str>, line: Option<u32>, reason: String) -> Self {
        let source = line.map_or_else(|| file.to_string(), |line| format!("{file}:{line}"));
        Self { file: Arc::clone(file), line, source, reason }
    }
}

/// Counts the coverage while objects are read. What was counted apart can be merged in any order.
#[derive(Debug)]
pub struct CoverageCounter {
    /// Everything except `skipped` and `failed`.
    counted: Coverage,
    failed: Capped<NotRead>,
}

impl Default for CoverageCounter {
    fn default() -> Self {
        Self { counted: Coverage::default(), failed: Capped::new(MAX_FAILED, NotRead::cmp) }
    }
}

impl CoverageCounter {
    /// Counts a pod or pod template. Returns whether it is to be evaluated.
    pub fn pod(&mut self, pod: &PodFacts, excluded: &ExcludedNamespaces) -> bool {
        let is_excluded = excluded.contains(&pod.namespace);
        let counter = match pod.checked.lifecycle {
            _ if is_excluded => &mut self.counted.excluded_namespaces,
            Lifecycle::Ended => &mut self.counted.ended,
            _ => &mut self.counted.evaluated,
        };
        *counter += 1;
        !is_excluded && pod.checked.lifecycle != Lifecycle::Ended
    }

    /// Counts what a document holds except its pods and pod templates.
    pub fn other_objects(&mut self, file: &Arc<str>, content: &DocumentContent) {
        self.counted.other_kinds += content.skipped.len() as u64;
        for skipped in content.skipped.iter().filter(|skipped| skipped.looks_like_a_workload) {
            let (file, kind) = (Arc::clone(file), skipped.kind.clone());
            self.counted.look_alikes.push(LookAlike { file, line: skipped.line, kind });
        }
        for failure in &content.failures {
            self.not_read(file, Some(failure.line), failure.reason.clone());
        }
    }

    /// Records something that could not be read, with the line where one is known.
    pub fn not_read(&mut self, file: &Arc<str>, line: Option<u32>, reason: String) {
        self.failed.extend([NotRead::new(file, line, reason)]);
    }

    /// The number of objects that were read so far, with those that are skipped.
    #[must_use]
    pub fn objects_read(&self) -> u64 {
        let Coverage { evaluated, other_kinds, excluded_namespaces, ended, .. } = self.counted;
        evaluated + other_kinds + excluded_namespaces + ended
    }

    /// Whether everything could be read so far.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }

    /// Adds what was counted apart.
    pub fn merge(&mut self, other: Self) {
        let Self { counted, failed } = other;
        self.failed.merge(failed);
        self.counted.look_alikes.extend(counted.look_alikes);
        self.counted.evaluated += counted.evaluated;
        self.counted.other_kinds += counted.other_kinds;
        self.counted.excluded_namespaces += counted.excluded_namespaces;
        self.counted.ended += counted.ended;
    }

    /// The coverage, sorted.
    #[must_use]
    pub fn finish(self) -> Coverage {
        let Self { counted: mut coverage, failed } = self;
        let (mut failed, failed_cut) = failed.finish();
        if failed_cut > 0 {
            let reason = format!("{failed_cut} more could not be read");
            failed.push(NotRead::new(&"and".into(), None, reason));
        }
        coverage.look_alikes.sort();
        coverage.failed = failed;
        coverage.skipped = coverage.other_kinds + coverage.excluded_namespaces + coverage.ended;
        coverage
    }
}
