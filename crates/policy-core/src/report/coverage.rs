//! What a report covers: the objects that were read, those that were skipped, and what could not be
//! read.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::capped::Capped;
use crate::facts::{Lifecycle, PodFacts};
use crate::manifest::DocumentContent;
use crate::namespaces::ExcludedNamespaces;
use crate::workload::Workload;

/// How many failures, and how many notes, a report names at most; the others are counted.
const MAX_NAMED: usize = 10_000;

/// The source of what is counted and not named.
pub(super) const REST: &str = "and";

/// A part of a cluster that may not be readable. Its text is the source of a [`NotRead`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterPart<'a> {
    /// All of it.
    Whole,
    /// One namespace.
    Namespace(&'a str),
    /// All namespaces but this one.
    NamespacesOtherThan(&'a str),
}

impl fmt::Display for ClusterPart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("cluster"),
            Self::Namespace(name) => write!(f, "namespace {name}"),
            Self::NamespacesOtherThan(name) => write!(f, "namespaces other than {name}"),
        }
    }
}

impl<'a> ClusterPart<'a> {
    /// The part of that text.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        let other = || text.strip_prefix("namespaces other than ").map(Self::NamespacesOtherThan);
        match text {
            "cluster" => Some(Self::Whole),
            _ => text.strip_prefix("namespace ").map(Self::Namespace).or_else(other),
        }
    }
}

/// What was read, and what was not.
#[derive(Serialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// The number of pods and pod templates that were evaluated.
    pub evaluated: u64,
    /// The number of objects that were left out: other kinds, system namespaces, pods and Jobs that
    /// ended, and what another object of the input controls.
    pub skipped: u64,
    /// What could not be read.
    pub failed: Vec<NotRead>,
    /// What was read or skipped otherwise than its author may expect, and what to know about a
    /// workload beside its findings; left out where empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub notes: Vec<CoverageNote>,
    /// The objects of other kinds among `skipped`.
    #[serde(skip)]
    pub other_kinds: u64,
    /// The objects of excluded namespaces among `skipped`.
    #[serde(skip)]
    pub excluded_namespaces: u64,
    /// The pods and Jobs that ended among `skipped`.
    #[serde(skip)]
    pub ended: u64,
    /// The objects among `skipped` whose pods are counted by another object of the input.
    #[serde(skip)]
    pub controlled: u64,
}

impl Coverage {
    /// The number of objects that were read, with those that are skipped.
    #[must_use]
    pub fn objects_read(&self) -> u64 {
        self.evaluated + self.skipped
    }

    /// Whether nothing was evaluated because something could not be read. A score of such a report
    /// would be the score of no pods, 100, which says nothing about the pods that there are.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.evaluated == 0 && !self.failed.is_empty()
    }
}

/// What was read or skipped otherwise than its author may expect, such as a repeated key; and what
/// to know about a workload, such as a rollout that is stuck, or replicas that run different images.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CoverageNote {
    #[serde(skip)]
    file: Arc<str>,
    #[serde(skip)]
    line: Option<u32>,
    /// The file or folder, with the line where one is known; or the namespace and the workload.
    pub source: String,
    /// What to know about it.
    pub message: String,
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
    /// The file, and its line where one is known.
    #[must_use]
    pub fn place(&self) -> (&str, Option<u32>) {
        (&self.file, self.line)
    }

    /// Something of a file.
    #[must_use]
    pub fn new(file: &Arc<str>, line: Option<u32>, reason: String) -> Self {
        Self { file: Arc::clone(file), line, source: source(file, line), reason }
    }
}

fn source(file: &str, line: Option<u32>) -> String {
    line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}"))
}

/// Counts the coverage while objects are read. What was counted apart can be merged in any order.
#[derive(Debug)]
pub struct CoverageCounter {
    /// The numbers except `skipped`.
    counted: Coverage,
    failed: Capped<NotRead>,
    notes: Capped<CoverageNote>,
}

impl Default for CoverageCounter {
    fn default() -> Self {
        Self {
            counted: Coverage::default(),
            failed: Capped::new(MAX_NAMED, NotRead::cmp),
            notes: Capped::new(MAX_NAMED, CoverageNote::cmp),
        }
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
        self.counted.other_kinds += content.skipped_objects();
        self.notes.cut_more(content.cut.notes);
        self.failed.cut_more(content.cut.failures + content.cut.no_manifests);
        for skipped in content.skipped.iter().filter(|skipped| skipped.looks_like_a_workload) {
            let message = format!("skipped {}, though it is named like a workload", skipped.kind);
            self.note(file, Some(skipped.line), message);
        }
        for note in &content.notes {
            self.note(file, Some(note.line), note.message.clone());
        }
        for failure in &content.failures {
            self.not_read(file, Some(failure.line), failure.reason.clone());
        }
    }

    /// Records something that could not be read, with the line where one is known.
    pub fn not_read(&mut self, file: &Arc<str>, line: Option<u32>, reason: String) {
        self.failed.extend([NotRead::new(file, line, reason)]);
    }

    /// Records something to know about the input, with the line where one is known.
    pub fn note(&mut self, file: &Arc<str>, line: Option<u32>, message: String) {
        let (file, source) = (Arc::clone(file), source(file, line));
        self.notes.extend([CoverageNote { file, line, source, message }]);
    }

    /// Records something to know about a workload beside its findings.
    pub(super) fn note_workload(&mut self, namespace: &str, workload: &Workload, message: String) {
        let Workload { kind, name, .. } = workload;
        self.note(&format!("{namespace} {kind}/{name}").into(), None, message);
    }

    /// Counts an object whose pods are counted with the object that controls it.
    pub fn controlled(&mut self) {
        self.counted.controlled += 1;
    }

    /// Counts files that are skipped without being read.
    pub fn skip(&mut self, files: u64) {
        self.counted.other_kinds += files;
    }

    /// The number of objects that were read so far, with those that are skipped.
    #[must_use]
    pub fn objects_read(&self) -> u64 {
        self.counted.evaluated + self.skipped()
    }

    fn skipped(&self) -> u64 {
        let Coverage { other_kinds, excluded_namespaces, ended, controlled, .. } = self.counted;
        other_kinds + excluded_namespaces + ended + controlled
    }

    /// Whether everything could be read so far.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }

    /// Adds what was counted apart.
    pub fn merge(&mut self, other: Self) {
        let Self { counted, failed, notes } = other;
        self.failed.merge(failed);
        self.notes.merge(notes);
        self.counted.evaluated += counted.evaluated;
        self.counted.other_kinds += counted.other_kinds;
        self.counted.excluded_namespaces += counted.excluded_namespaces;
        self.counted.ended += counted.ended;
        self.counted.controlled += counted.controlled;
    }

    /// The coverage, sorted.
    #[must_use]
    pub fn finish(self) -> Coverage {
        let skipped = self.skipped();
        let (mut failed, failed_cut) = self.failed.finish();
        if failed_cut > 0 {
            let reason = format!("{failed_cut} more could not be read");
            failed.push(NotRead::new(&REST.into(), None, reason));
        }
        let (mut notes, notes_cut) = self.notes.finish();
        if notes_cut > 0 {
            let (file, message) = (Arc::from("and"), format!("{notes_cut} more notes"));
            notes.push(CoverageNote { source: source(&file, None), file, line: None, message });
        }
        Coverage { skipped, failed, notes, ..self.counted }
    }
}
