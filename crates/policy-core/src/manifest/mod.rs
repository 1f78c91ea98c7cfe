//! Reads users' manifests: from bytes to facts with line numbers. What is not read is counted or
//! reported, and does not affect the other objects of the file.

mod claim;
mod decode;
mod encoding;
mod expansion;
mod fix;
mod json;
mod keys;
mod kustomize;
mod large;
mod lines;
mod object_type;
mod ownership;
mod parse;
mod policy_file;
mod reader;
mod repair;
mod split;
mod surroundings;
mod test_file;

use std::fmt;

pub use encoding::{is_utf16, utf8};
pub use fix::{FixedDocument, FixedWorkload, Fixing, Insertion, Left, Obstacle, Why, inserted};
pub use kustomize::{KUSTOMIZATION_FILES, kustomize_patches};
pub use ownership::{Controlled, InputObjects};
pub use policy_file::{DecodedPolicy, PolicyFile, read_policy};
pub use split::{Document, documents};
pub use surroundings::{InputSurroundings, SurroundingObject, UnreadSurroundings, may_surround};
pub use test_file::{ExpectedFinding, ExpectedVerdict, ObjectName, PolicyChoice, PolicyTest};

use crate::custom::CustomInput;
use crate::facts::PodFacts;
use crate::labels::Labels;
use crate::view::ObjectView;
use reader::{Reader, Wanted};

/// What a document holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DocumentContent {
    /// The pods and workloads.
    pub objects: Vec<ManifestObject>,
    /// Objects of other kinds, each with its line and kind.
    pub skipped: Vec<SkippedObject>,
    /// What could not be read.
    pub failures: Vec<Failure>,
    /// Where the reading may differ from what the author expects.
    pub notes: Vec<Note>,
    /// What is counted and not listed.
    pub cut: CutContent,
}

/// How much of a document is counted and not listed. A List can hold millions of small objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutContent {
    /// Objects of other kinds.
    pub skipped: u64,
    /// Failures of texts that have the form of an object.
    pub failures: u64,
    /// Failures of other texts.
    pub no_manifests: u64,
    /// Remarks.
    pub notes: u64,
}

/// How many skipped objects, failures and notes of a document are listed at most.
const MAX_LISTED: usize = 10_000;

impl DocumentContent {
    /// Counts what is no manifest as skipped, for files that were found in a folder: not every
    /// YAML file is a manifest.
    pub fn skip_what_is_no_manifest(&mut self) {
        let listed = self.failures.len();
        self.failures.retain(|failure| failure.is_manifest);
        let no_manifests = (listed - self.failures.len()) as u64;
        self.cut.skipped += no_manifests + std::mem::take(&mut self.cut.no_manifests);
    }

    /// The number of objects of other kinds, with those that are not listed.
    #[must_use]
    pub fn skipped_objects(&self) -> u64 {
        self.skipped.len() as u64 + self.cut.skipped
    }

    fn skip(&mut self, object: SkippedObject) {
        push(&mut self.skipped, object, &mut self.cut.skipped);
    }

    fn fail(&mut self, failure: Failure) {
        let Self { cut: CutContent { failures, no_manifests, .. }, .. } = self;
        let cut = if failure.is_manifest { failures } else { no_manifests };
        push(&mut self.failures, failure, cut);
    }

    fn note(&mut self, note: Note) {
        push(&mut self.notes, note, &mut self.cut.notes);
    }
}

fn push<T>(list: &mut Vec<T>, member: T, cut: &mut u64) {
    if list.len() < MAX_LISTED {
        list.push(member);
    } else {
        *cut += 1;
    }
}

/// A pod or workload of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct ManifestObject {
    /// Its facts.
    pub facts: PodFacts,
    /// The line of the file on which its document (in a List: the object) starts.
    pub line: u32,
    /// The line of each container, in the order of the facts.
    pub container_lines: Vec<u32>,
    /// The object as custom checks see it; `None` where nobody asked for it.
    pub custom: Option<Box<CustomInput>>,
    /// Its own labels, where it is a workload and no part of another one; `None` of a pod.
    pub labels: Option<Labels>,
    /// What controls it; `None` where nothing does.
    pub controlled: Option<Box<Controlled>>,
}

/// An object that is not evaluated, since it makes no pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedObject {
    /// The line of the file on which it starts.
    pub line: u32,
    /// `apiVersion` and kind, as far as it has them.
    pub kind: String,
    /// Whether its kind is that of a workload except for the group or the letter case.
    pub looks_like_a_workload: bool,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The line of the file.
    pub line: u32,
    /// What is wrong, to be printed after the position.
    pub reason: String,
    /// Whether the text has the form of a Kubernetes object at all.
    pub is_manifest: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.reason)
    }
}

/// A remark about something that may be read differently than its author expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The line of the file.
    pub line: u32,
    /// The remark.
    pub message: String,
}

impl Document<'_> {
    /// Reads the document. Objects without a namespace belong to `namespace`. What cannot
    /// be read is in the failures. Time and memory are bounded by the document's size.
    #[must_use]
    pub fn read(&self, namespace: &str) -> DocumentContent {
        let mut objects = Vec::new();
        let content = self.read_each(namespace, &mut |object, _| objects.push(object));
        DocumentContent { objects, ..content }
    }

    /// Reads a document of a file. `is_explicit`: whether the user named the file; of others, what
    /// is no manifest counts as skipped.
    #[must_use]
    pub fn read_of_file(&self, namespace: &str, is_explicit: bool) -> DocumentContent {
        let mut content = self.read(namespace);
        if !is_explicit {
            content.skip_what_is_no_manifest();
        }
        content
    }

    /// Like [`Self::read`], but passes each pod and workload to `take` with its view, for callers
    /// that need more than facts. The result has no objects.
    pub fn read_each(
        &self,
        namespace: &str,
        take: &mut dyn FnMut(ManifestObject, &ObjectView),
    ) -> DocumentContent {
        Reader::new(namespace, Wanted::Workloads(take)).read(self)
    }
}

#[cfg(test)]
mod tests;
