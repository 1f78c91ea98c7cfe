//! Collecting a report: pods in any order, from any number of threads.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::{
    Coverage, CoverageCounter, NamespaceSummary, Report, ReportFinding, SCHEMA_VERSION, Source,
    Summary,
};
use crate::capped::Capped;
use crate::evaluate::evaluate;
use crate::facts::PodFacts;
use crate::manifest::{DocumentContent, InputObjects, ManifestObject};
use crate::namespaces::ExcludedNamespaces;
use crate::policy::CompiledPolicy;
use crate::score::Tally;

/// How many findings a report lists at most; a cluster of 100 000 pods has fewer. All are counted.
const MAX_FINDINGS: usize = 1_000_000;

/// A report that is being collected. What was assessed apart can be merged in any order.
#[derive(Debug)]
pub struct Assessment<'a> {
    policy: &'a CompiledPolicy,
    excluded: &'a ExcludedNamespaces,
    now: Timestamp,
    /// Whether findings are listed, or only counted.
    lists_findings: bool,
    namespaces: BTreeMap<Arc<str>, Tally>,
    findings: Capped<ReportFinding>,
    /// What was read, and what was not.
    pub coverage: CoverageCounter,
    objects: InputObjects,
    /// Objects that another one controls, which may be among those of the input.
    controlled: Vec<ControlledObject>,
}

/// An object that is evaluated once it is known that nothing else stands for its pods.
#[derive(Debug)]
struct ControlledObject {
    object: ManifestObject,
    file: Arc<str>,
    document: u32,
}

/// Where an object stands in the user's files.
#[derive(Clone, Copy, Debug)]
pub struct ManifestLocation<'a> {
    /// The file, as it is shown.
    pub file: &'a Arc<str>,
    /// The position of the document in the file, from 1.
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
            coverage: CoverageCounter::default(),
            objects: InputObjects::default(),
            controlled: Vec::new(),
        }
    }

    /// The same without a list of findings: they are counted and not kept.
    #[must_use]
    pub fn counting_only(mut self) -> Self {
        self.lists_findings = false;
        self
    }

    /// Evaluates a pod or pod template.
    pub fn pod(&mut self, pod: &PodFacts, location: Option<ManifestLocation<'_>>) {
        if !self.coverage.pod(pod, self.excluded) {
            return;
        }
        let evaluation = evaluate(&pod.checked, self.policy, self.now);
        let tally = self.namespaces.entry(Arc::clone(&pod.namespace)).or_default();
        tally.add(&evaluation.tally());
        if evaluation.findings.is_empty() || !self.lists_findings {
            return;
        }
        let name: Arc<str> = (&*pod.name).into();
        self.findings.extend(evaluation.findings.iter().map(|finding| {
            let container_line = |location: ManifestLocation<'_>| {
                let index = finding.container?;
                location.container_lines.get(index).copied()
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
                message: finding.report_message(&pod.checked, self.policy),
                count: finding.count,
                file: location.map(|location| Arc::clone(location.file)),
                document: location.map(|location| location.document),
                line: location.map(|location| container_line(location).unwrap_or(location.line)),
                object_line: location.map(|location| location.line),
            }
        }));
    }

    /// Evaluates what a document of a file holds.
    pub fn document(&mut self, file: &Arc<str>, number: u32, content: &DocumentContent) {
        for object in &content.objects {
            self.objects.add(object);
            if object.controlled.is_some() {
                let (object, file) = (object.clone(), Arc::clone(file));
                self.controlled.push(ControlledObject { object, file, document: number });
            } else {
                self.object(object, file, number);
            }
        }
        self.coverage.other_objects(file, content);
    }

    fn object(&mut self, object: &ManifestObject, file: &Arc<str>, document: u32) {
        let ManifestObject { facts, line, container_lines, .. } = object;
        self.pod(facts, Some(ManifestLocation { file, document, line: *line, container_lines }));
    }

    /// Evaluates the objects whose controller is not among those of the input.
    fn evaluate_controlled(&mut self) {
        for ControlledObject { object, file, document } in std::mem::take(&mut self.controlled) {
            if self.excluded.contains(&object.facts.namespace) || self.objects.counts(&object) {
                self.object(&object, &file, document);
            } else {
                self.coverage.controlled();
            }
        }
    }

    /// Adds what was assessed apart, under the same policy.
    pub fn merge(&mut self, other: Self) {
        for (namespace, tally) in other.namespaces {
            self.namespaces.entry(namespace).or_default().merge(&tally);
        }
        self.findings.merge(other.findings);
        self.coverage.merge(other.coverage);
        self.objects.merge(other.objects);
        self.controlled.extend(other.controlled);
    }

    /// The report, sorted. `policy_name` is for people.
    #[must_use]
    pub fn finish(mut self, source: Source, policy_name: String) -> Report {
        self.evaluate_controlled();
        let Self { policy, namespaces, findings, coverage, .. } = self;
        let (findings, findings_cut) = findings.finish();
        let coverage = coverage.finish();
        Report {
            schema_version: SCHEMA_VERSION,
            source,
            policy: policy_name,
            summary: Summary::of(&total(&namespaces), policy).unless(coverage.is_unread()),
            namespaces: namespaces
                .into_iter()
                .map(|(namespace, tally)| NamespaceSummary {
                    namespace,
                    summary: Summary::of(&tally, policy),
                })
                .collect(),
            findings,
            coverage,
            findings_cut,
        }
    }

    /// What other reports are made of.
    pub(super) fn finish_parts(mut self) -> Assessed<'a> {
        self.evaluate_controlled();
        let (findings, findings_cut) = self.findings.finish();
        Assessed {
            policy: self.policy,
            tally: total(&self.namespaces),
            findings,
            findings_cut,
            coverage: self.coverage.finish(),
        }
    }
}

/// The result of an assessment, all namespaces together.
pub(super) struct Assessed<'a> {
    pub(super) policy: &'a CompiledPolicy,
    pub(super) tally: Tally,
    /// Sorted; empty where they were only counted.
    pub(super) findings: Vec<ReportFinding>,
    pub(super) findings_cut: u64,
    pub(super) coverage: Coverage,
}

fn total(namespaces: &BTreeMap<Arc<str>, Tally>) -> Tally {
    let mut total = Tally::default();
    for tally in namespaces.values() {
        total.merge(tally);
    }
    total
}

/// Orders all findings that differ in anything that a report shows, so that a report is the same
/// bytes whatever the order of the work.
fn sort_key(finding: &ReportFinding) -> impl Ord {
    (
        (&finding.namespace, finding.kind, &finding.name, &finding.file),
        (finding.document, finding.object_line, finding.check, finding.line),
        (&finding.container, finding.count, &finding.message, &finding.workload.name),
    )
}
