//! What becomes of an assessment once everything was read.

use super::super::{
    Coverage, DeniedObjects, ExemptedReportFinding, NamespaceSummary, Report, ReportFinding,
    Source, Summary,
};
use super::{Assessment, DenialCounter, MAX_NAMESPACES};
use crate::policy::CompiledPolicy;
use crate::score::Tally;

impl<'a> Assessment<'a> {
    /// The report, sorted. `policy_name` is for people.
    #[must_use]
    pub fn finish(mut self, source: Source, policy_name: String) -> Report {
        self.evaluate_controlled();
        self.list_fewer_namespaces();
        let total = self.total();
        if self.other_namespaces.pods() > 0 {
            let message = format!(
                "more than {MAX_NAMESPACES} namespaces; the pods of the others are only in the summary"
            );
            self.coverage.note(&"and".into(), None, message);
        }
        self.note_rules();
        let Self { policy, namespaces, findings, exempted, mut coverage, images, .. } = self;
        let denied = self.denials.map(DenialCounter::finish);
        if let Some(compared) = images.compared_only() {
            let message = format!("the images of the first {compared} containers were compared");
            coverage.note(&"and".into(), None, message);
        }
        for images in images.differing() {
            coverage.note_workload(images.namespace(), images.workload(), images.message());
        }
        let (findings, findings_cut) = findings.finish();
        let coverage = coverage.finish();
        Report {
            source,
            policy: policy_name,
            summary: Summary::of(&total, policy).unless(coverage.is_unread()),
            namespaces: namespaces
                .into_iter()
                .map(|(namespace, tally)| NamespaceSummary {
                    namespace,
                    summary: Summary::of(&tally, policy),
                })
                .collect(),
            findings,
            exempted: exempted.finish().0,
            coverage,
            findings_cut,
            baseline: None,
            denied,
        }
    }

    /// Notes the exemptions that have ended, or exempt nothing, and the custom checks without a
    /// result.
    fn note_rules(&mut self) {
        let exemptions = self.policy.exemptions();
        let is_judged = self.without_result.is_empty();
        let notes =
            exemptions.map(|all| all.notes(self.used_exemptions, is_judged, self.now.as_second()));
        for note in notes.unwrap_or_default() {
            self.coverage.note(&note.place.as_str().into(), None, note.message());
        }
        std::mem::take(&mut self.without_result).note(&mut self.coverage);
    }

    fn total(&self) -> Tally {
        let mut total = self.other_namespaces;
        self.namespaces.values().for_each(|tally| total.merge(tally));
        total
    }

    /// What other reports are made of.
    pub(in crate::report) fn finish_parts(mut self) -> Assessed<'a> {
        self.evaluate_controlled();
        self.note_rules();
        let tally = self.total();
        let (findings, findings_cut) = self.findings.finish();
        Assessed {
            policy: self.policy,
            tally,
            findings,
            findings_cut,
            exempted: self.exempted.finish().0,
            coverage: self.coverage.finish(),
            denied: self.denials.map(DenialCounter::finish),
        }
    }
}

/// The result of an assessment, all namespaces together.
pub(in crate::report) struct Assessed<'a> {
    pub(in crate::report) policy: &'a CompiledPolicy,
    pub(in crate::report) tally: Tally,
    /// Sorted; empty where they were only counted.
    pub(in crate::report) findings: Vec<ReportFinding>,
    pub(in crate::report) findings_cut: u64,
    /// Sorted; at most 10 000.
    pub(in crate::report) exempted: Vec<ExemptedReportFinding>,
    pub(in crate::report) coverage: Coverage,
    /// What admission would deny; `None` where nobody asked.
    pub(in crate::report) denied: Option<DeniedObjects>,
}
