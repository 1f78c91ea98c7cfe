//! Collecting a report: pods in any order, from any number of threads.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::{
    Coverage, LookAlike, NamespaceSummary, NotRead, Report, ReportFinding, SCHEMA_VERSION, Source,
    Summary,
};
use crate::capped::Capped;
use crate::evaluate::evaluate;
use crate::facts::{Lifecycle, PodFacts};
use crate::manifest::DocumentContent;
use crate::namespaces::ExcludedNamespaces;
use crate::policy::CompiledPolicy;
use crate::score::Tally;

/// Most findings that a report lists; a cluster of 100 000 pods has fewer. All are counted.
const MAX_FINDINGS: usize = 1_000_000;
/// Most failures that a report names; the rest is counted.
const MAX_FAILED: usize = 10_000;

/// A report under way. What was assessed apart can be merged in any order.
#[derive(Debug)]
pub struct Assessment<'a> {
    policy: &'a CompiledPolicy,
    excluded: &'a ExcludedNamespaces,
    now: Timestamp,
    /// Whether findings are listed, or only counted.
    lists_findings: bool,
    namespaces: BTreeMap<Arc<str>, Tally>,
    findings: Capped<ReportFinding>,
    failed: Capped<NotRead>,
    /// All of it but what failed.
    coverage: Coverage,
}

/// Where in the user's files an object was written.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The file as people are to see it.
    pub file: &'a Arc<str>,
    /// The place of the document in the file, from 1.
    pub document: u32,
    /// The line of the object.
    pub line: u32,
    /// The line of each of its containers.
    pub container_lines: &'a [u32],
}

impl<'a> Assessment<'a> {
    /// An empty report.
    #[must_use]
    pub fn new(
        policy: &'a CompiledPolicy,
        excluded: &'a ExcludedNamespaces,
        now: Timestamp,
    ) -> Self {
        Self {
            policy,
            excluded,
            now,
            lists_findings: true,
            namespaces: BTreeMap::new(),
            findings: Capped::new(MAX_FINDINGS, |a, b| sort_key(a).cmp(&sort_key(b))),
            failed: Capped::new(MAX_FAILED, NotRead::cmp),
            coverage: Coverage::default(),
        }
    }

    /// The same, for who needs no list of findings: they are counted and not kept.
    #[must_use]
    pub fn counting_only(mut self) -> Self {
        self.lists_findings = false;
        self
    }

    /// Judges a pod or pod template.
    pub fn pod(&mut self, pod: &PodFacts, place: Option<Place<'_>>) {
        if self.excluded.contains(&pod.namespace) {
            self.coverage.excluded_namespaces += 1;
            return;
        }
        if pod.checked.lifecycle == Lifecycle::Ended {
            self.coverage.ended += 1;
            return;
        }
        self.coverage.evaluated += 1;
        let evaluation = evaluate(&pod.checked, self.policy, self.now);
        let tally = self.namespaces.entry(Arc::clone(&pod.namespace)).or_default();
        tally.add(&evaluation.tally());
        if evaluation.findings.is_empty() || !self.lists_findings {
            return;
        }
        let name: Arc<str> = (&*pod.name).into();
        self.findings.extend(evaluation.findings.iter().map(|finding| {
            let container_line = |place: Place<'_>| {
                let index = finding.container?;
                place.container_lines.get(index).copied()
            };
            ReportFinding {
                check: finding.check,
                severity: finding.severity,
                namespace: Arc::clone(&pod.namespace),
                kind: pod.kind.as_str(),
                name: Arc::clone(&name),
                workload: pod.workload.clone(),
                container: finding
                    .container(&pod.checked)
                    .map(|container| (&*container.name).into()),
                message: finding.message(&pod.checked, self.policy),
                count: finding.count,
                file: place.map(|place| Arc::clone(place.file)),
                document: place.map(|place| place.document),
                line: place.map(|place| container_line(place).unwrap_or(place.line)),
                object_line: place.map(|place| place.line),
            }
        }));
    }

    /// How many objects were looked at so far, those that are not judged included.
    #[must_use]
    pub fn read(&self) -> u64 {
        let Coverage { evaluated, other_kinds, excluded_namespaces, ended, .. } = self.coverage;
        evaluated + other_kinds + excluded_namespaces + ended
    }

    /// Whether so far nothing is missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }

    /// Takes in what a document of a file holds.
    pub fn document(&mut self, file: &Arc<str>, number: u32, content: &DocumentContent) {
        for object in &content.objects {
            let place = Place {
                file,
                document: number,
                line: object.line,
                container_lines: &object.container_lines,
            };
            self.pod(&object.facts, Some(place));
        }
        self.coverage.other_kinds += content.skipped.len() as u64;
        for skipped in content.skipped.iter().filter(|skipped| skipped.looks_like_a_workload) {
            let (file, kind) = (Arc::clone(file), skipped.kind.clone());
            self.coverage.look_alikes.push(LookAlike { file, line: skipped.line, kind });
        }
        for failure in &content.failures {
            self.not_read(file, Some(failure.line), failure.reason.clone());
        }
    }

    /// Tells of something that could not be read, with the line where one is known.
    pub fn not_read(&mut self, file: &Arc<str>, line: Option<u32>, reason: String) {
        self.failed.extend([NotRead::new(file, line, reason)]);
    }

    /// Takes in what was assessed apart, under the same policy.
    pub fn merge(&mut self, other: Self) {
        for (namespace, tally) in other.namespaces {
            self.namespaces.entry(namespace).or_default().merge(&tally);
        }
        self.findings.merge(other.findings);
        self.failed.merge(other.failed);
        self.coverage.look_alikes.extend(other.coverage.look_alikes);
        self.coverage.evaluated += other.coverage.evaluated;
        self.coverage.other_kinds += other.coverage.other_kinds;
        self.coverage.excluded_namespaces += other.coverage.excluded_namespaces;
        self.coverage.ended += other.coverage.ended;
    }

    /// The report, sorted.
    #[must_use]
    pub fn finish(self, source: Source) -> Report {
        let Self { policy, namespaces, findings, failed, coverage, .. } = self;
        let (findings, findings_cut) = findings.finish();
        let total = total(&namespaces);
        Report {
            schema_version: SCHEMA_VERSION,
            source,
            summary: Summary::of(&total, policy),
            namespaces: namespaces
                .into_iter()
                .map(|(namespace, tally)| NamespaceSummary {
                    namespace,
                    summary: Summary::of(&tally, policy),
                })
                .collect(),
            findings,
            coverage: finished(coverage, failed),
            findings_cut,
        }
    }

    /// What other reports are made of.
    pub(super) fn finish_parts(self) -> Parts<'a> {
        let (findings, findings_cut) = self.findings.finish();
        Parts {
            policy: self.policy,
            tally: total(&self.namespaces),
            findings,
            findings_cut,
            coverage: finished(self.coverage, self.failed),
        }
    }
}

/// What was assessed, all namespaces together.
pub(super) struct Parts<'a> {
    pub(super) policy: &'a CompiledPolicy,
    pub(super) tally: Tally,
    /// Sorted; empty where they were only counted.
    pub(super) findings: Vec<ReportFinding>,
    pub(super) findings_cut: u64,
    pub(super) coverage: Coverage,
}

/// The coverage with what failed and its sum.
fn finished(mut coverage: Coverage, failed: Capped<NotRead>) -> Coverage {
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

fn total(namespaces: &BTreeMap<Arc<str>, Tally>) -> Tally {
    let mut total = Tally::default();
    for tally in namespaces.values() {
        total.merge(tally);
    }
    total
}

impl NotRead {
    pub(super) fn new(file: &Arc<str>, line: Option<u32>, reason: String) -> Self {
        let source = line.map_or_else(|| file.to_string(), |line| format!("{file}:{line}"));
        Self { file: Arc::clone(file), line, source, reason }
    }
}

/// Total up to findings that cannot be told apart at all.
fn sort_key(finding: &ReportFinding) -> impl Ord {
    (
        (&finding.namespace, finding.kind, &finding.name, &finding.file),
        (finding.document, finding.object_line, finding.check, finding.line),
        (&finding.container, finding.count, &finding.message, &finding.workload.name),
    )
}
