//! What becomes of an assessment once everything was read.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::custom::CustomOutcomes;
use super::super::{
    Coverage, DeniedObjects, ExemptedReportFinding, NamespaceSummary, Report, ReportFinding,
    Source, Summary,
};
use super::{Assessment, DenialCounter, MAX_NAMESPACES};
use crate::checks::{CheckId, CheckName};
use crate::custom::{CustomCheck, CustomChecks};
use crate::policy::{CompiledExemption, CompiledPolicy};
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
        self.note_rules(source.is_of_files());
        let not_judged = self.note_not_judged(source.is_of_files());
        let passed_custom = self.passed_custom();
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
            summary: Summary::of(&total, policy).without(&not_judged).unless(coverage.is_unread()),
            namespaces: namespaces
                .into_iter()
                .map(|(namespace, tally)| NamespaceSummary {
                    namespace,
                    summary: Summary::of(&tally, policy).without(&not_judged),
                })
                .collect(),
            findings,
            exempted: exempted.finish().0,
            coverage,
            findings_cut,
            baseline: None,
            denied,
            passed_custom,
        }
    }

    /// The enabled checks that cannot be judged where the objects come from, each of which is noted.
    fn note_not_judged(&mut self, is_of_files: bool) -> Vec<CheckId> {
        let enabled = self.policy.enabled().map(|(check, _)| check);
        let not_judged: Vec<_> =
            enabled.filter(|check| is_of_files && check.meta().needs_budgets).collect();
        for check in &not_judged {
            let message = "tests nothing here: files do not say which evictions a cluster allows";
            self.coverage.note(&format!("check {check}").into(), None, message.to_owned());
        }
        not_judged
    }

    fn passed_custom(&self) -> BTreeMap<Arc<str>, Vec<CheckName>> {
        let checks = || self.policy.custom().into_iter().flat_map(CustomChecks::checks);
        let of_namespace = |(namespace, outcomes): (&Arc<str>, &CustomOutcomes)| {
            let passed = checks().enumerate().filter(|(index, _)| outcomes.has_passed(*index));
            let name = |(_, check): (_, &CustomCheck)| CheckName::Custom(Arc::clone(check.name()));
            (Arc::clone(namespace), passed.map(name).collect())
        };
        self.custom_outcomes.iter().map(of_namespace).collect()
    }

    /// Notes the exemptions that have ended, or exempt nothing as far as that is known, and the custom
    /// checks without a result.
    fn note_rules(&mut self, is_of_files: bool) {
        let is_whole = self.coverage.is_complete();
        let has_results = self.without_result.is_empty();
        let is_judged = |exemption: &CompiledExemption| {
            is_whole
                && (has_results || !exemption.has_custom())
                && !(is_of_files && exemption.is_of_what_runs())
        };
        let exemptions = self.policy.exemptions();
        let notes =
            exemptions.map(|all| all.notes(self.exemption_use, is_judged, self.now.as_second()));
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
    pub(in crate::report) fn finish_parts(mut self, is_of_files: bool) -> Assessed<'a> {
        self.evaluate_controlled();
        self.note_rules(is_of_files);
        let not_judged = self.note_not_judged(is_of_files);
        let tally = self.total();
        let (findings, findings_cut) = self.findings.finish();
        Assessed {
            policy: self.policy,
            not_judged,
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
    /// The enabled checks that cannot be judged where the objects come from.
    pub(in crate::report) not_judged: Vec<CheckId>,
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
