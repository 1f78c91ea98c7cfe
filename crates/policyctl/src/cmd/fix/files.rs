//! Plans the edits of files, on all cores.

use policy_core::Timestamp;
use policy_core::evaluate::{Finding, evaluate_with};
use policy_core::manifest::{
    Document, DocumentContent, FixedDocument, FixedWorkload, Fixing, Insertion, ManifestObject,
    Obstacle, documents, is_utf16, utf8,
};
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::CompiledPolicy;
use policy_core::remediation::Fields;
use policy_core::report::CoverageCounter;
use policy_core::text::container_or_volume;
use rayon::prelude::*;

use super::survey::Survey;
use super::values::Values;
use crate::cmd::analyze::files::{LargeDocuments, SMALLEST_BATCH};
use crate::input::Input;

/// What all files are edited by.
pub(super) struct Fixer<'a> {
    pub(super) policy: &'a CompiledPolicy,
    pub(super) fixing: Fixing<'a>,
    pub(super) survey: &'a Survey,
    /// Of the chart that rendered the files, which are not edited then.
    pub(super) values: Option<Values>,
    pub(super) excluded: &'a ExcludedNamespaces,
    pub(super) max_file_size: u64,
    pub(super) now: Timestamp,
    pub(super) large: LargeDocuments,
}

/// What becomes of a file.
pub(super) struct FixedFile<'a> {
    pub(super) input: &'a Input,
    pub(super) bytes: Vec<u8>,
    /// Sorted by their places in the bytes.
    pub(super) insertions: Vec<Insertion>,
    pub(super) workloads: Vec<FixedWorkload>,
    pub(super) hints: Vec<Hint>,
    pub(super) coverage: CoverageCounter,
}

/// A finding that nothing can be filled in for.
pub(super) struct Hint {
    pub(super) line: u32,
    /// Such as `Deployment shop/web, container web`.
    pub(super) subject: String,
    pub(super) text: String,
}

/// What was read of a document, and what becomes of it.
type FixedPart = (DocumentContent, FixedDocument, Vec<Hint>);

impl Fixer<'_> {
    /// Plans the edits of a file, of its documents in parallel as well.
    pub(super) fn file<'a>(&self, input: &'a Input) -> FixedFile<'a> {
        let mut file = FixedFile {
            input,
            bytes: Vec::new(),
            insertions: Vec::new(),
            workloads: Vec::new(),
            hints: Vec::new(),
            coverage: CoverageCounter::default(),
        };
        let not_read = |file: &mut FixedFile<'_>, reason: String| {
            file.coverage.not_read(&input.name, None, reason);
        };
        let bytes = match self.survey.read(input, self.max_file_size) {
            Ok(bytes) => bytes,
            Err(error) => {
                not_read(&mut file, error.to_string());
                return file;
            }
        };
        // Places in another encoding would not be those of the file.
        let is_text = !is_utf16(&bytes) && std::str::from_utf8(&bytes).is_ok();
        let bytes = utf8(bytes);
        let documents = documents(&bytes);
        if documents.is_empty() && input.is_explicit {
            not_read(&mut file, "holds no document".to_owned());
        }
        let parts = documents.par_iter().with_min_len(SMALLEST_BATCH).map(|document| {
            self.large.limit(document, || self.document(document, input.is_explicit, is_text))
        });
        let parts: Vec<FixedPart> = parts.collect();
        for (document, (content, fixed, hints)) in documents.iter().zip(parts) {
            for object in &content.objects {
                file.coverage.pod(&object.facts, self.excluded);
            }
            file.coverage.other_objects(&input.name, &content);
            let insertions = fixed.insertions.into_iter();
            file.insertions.extend(
                insertions
                    .map(|Insertion { at, text }| Insertion { at: at + document.start, text }),
            );
            file.workloads.extend(fixed.workloads);
            file.hints.extend(hints);
        }
        file.bytes = bytes;
        file
    }

    fn document(&self, document: &Document<'_>, is_explicit: bool, is_text: bool) -> FixedPart {
        let content = document.read_of_file(self.fixing.namespace, is_explicit);
        let mut hints = Vec::new();
        let mut lacking: Vec<&ManifestObject> = Vec::new();
        for object in &content.objects {
            if self.excluded.contains(&object.facts.namespace) {
                continue;
            }
            let labels = object.labels.as_ref();
            let found = evaluate_with(&object.facts, self.policy, None, labels, self.now);
            let (patchable, others): (Vec<_>, Vec<_>) =
                found.findings.iter().partition(|finding| finding.is_patchable());
            if !patchable.is_empty() {
                lacking.push(object);
            }
            hints.extend(others.into_iter().map(|finding| self.hint(object, finding)));
        }
        let mut fixed = match lacking.as_slice() {
            [] => FixedDocument::default(),
            lacking if is_text => document.fix(lacking, &self.fixing),
            lacking => FixedDocument::left(lacking, &Obstacle::Encoding),
        };
        if let Some(values) = &self.values {
            for workload in &mut fixed.workloads {
                hints.extend(values.hints(document.bytes, workload));
                workload.fields = Fields::default();
            }
        }
        (content, fixed, hints)
    }

    fn hint(&self, object: &ManifestObject, finding: &Finding) -> Hint {
        let facts = &object.facts;
        let mut subject = format!("{} {}/{}", facts.kind, facts.namespace, facts.name);
        if let Some(container) = finding.container(&facts.checked) {
            let (what, name) = container_or_volume(&container.name);
            subject = format!("{subject}, {what} {name}");
        }
        let message = finding.report_message(&facts.checked, self.policy);
        let check = finding.check.registered();
        let remedy = check.map_or("", |check| check.meta().remedy);
        let lines = &object.container_lines;
        let line = finding.container.and_then(|index| lines.get(index)).copied();
        Hint { line: line.unwrap_or(object.line), subject, text: format!("{message}; {remedy}") }
    }
}
