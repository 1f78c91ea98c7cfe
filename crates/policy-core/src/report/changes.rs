//! What changed from one report to another: findings that are new, fixed and unchanged.

mod stored;
#[cfg(test)]
mod tests;
mod unread;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    NamespaceSummary, NotRead, Report, ReportFinding, SCHEMA_VERSION, Source, Summary, is_zero,
};
use crate::api::ViolationsBySeverity;
use crate::severity::Severity;

pub use stored::StoredReport;
use unread::Unread;

/// Why a text is no report, or two reports cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum NotComparable {
    /// It is no report of `policyctl analyze`.
    #[error("it is no JSON report of `policyctl analyze`: {0}")]
    NoReport(serde_json::Error),
    /// Another version of the format.
    #[error("its schemaVersion is `{0}`; this policyctl knows {SCHEMA_VERSION}")]
    Version(String),
    /// One is of files, the other of a cluster.
    #[error(
        "one report is of files and the other of a cluster, whose findings are of other objects"
    )]
    OtherSource,
}

/// What changed from one report to another.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "policyctl report")]
pub struct Changes {
    /// The version of this format.
    #[schemars(extend("const" = SCHEMA_VERSION))]
    pub schema_version: &'static str,
    /// The score before; `null` where there was none.
    pub score_before: Option<u8>,
    /// The score after.
    pub score_after: Option<u8>,
    /// The policy that judged, where both were judged by the same; else both, the earlier first.
    pub policies: Vec<String>,
    /// How many findings are in both.
    pub unchanged: u64,
    /// The findings that only the later report has.
    pub new: Vec<ChangedFinding>,
    /// How many of these are in places that the earlier report could not read; left out where it is
    /// none.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(default)]
    pub newly_read: u64,
    /// The findings that only the earlier report has, and that the later one would have.
    pub fixed: Vec<ChangedFinding>,
    /// The findings of the earlier report that are exempted in the later one; left out where there are
    /// none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub exempted: Vec<ChangedFinding>,
    /// The findings that only the earlier report has, in places that the later one could not read, or
    /// in namespaces that it is not about; left out where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub not_read: Vec<ChangedFinding>,
    /// What the later report could not read; left out where it could read everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub failed: Vec<NotRead>,
    /// How many findings of the two reports are counted but not listed in them, so that they are
    /// not compared.
    pub not_compared: u64,
}

/// What an earlier report knows of the findings of a later one.
#[derive(Serialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BaselineCounts {
    /// How many findings the earlier report does not have; those of a workload's pods are one.
    pub new: u64,
    /// How many findings both have.
    pub unchanged: u64,
    /// How many findings only the earlier report has, and this one would have.
    pub fixed: u64,
    /// How many findings of the earlier report are exempted in this one; left out where it is none.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(default)]
    pub exempted: u64,
    /// How many findings only the earlier report has, in places that could not be read for this one;
    /// left out where it is none.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(default)]
    pub not_read: u64,
    /// How many findings of the two reports are counted but not listed in them, so that they are
    /// not compared.
    pub not_compared: u64,
}

/// A finding that one of two reports has.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct ChangedFinding {
    /// The id of the check.
    pub check: String,
    /// How severe it is under the policy of its report.
    pub severity: Severity,
    /// The namespace.
    pub namespace: String,
    /// The kind of the object, or of the workload of a cluster's pods.
    pub kind: String,
    /// The name of the same.
    pub name: String,
    /// The container; `null` where the finding is about the pod.
    pub container: Option<String>,
    /// What was found.
    pub message: String,
    /// The file; `null` where the pods came from a cluster.
    pub file: Option<String>,
    /// The line; `null` where the pods came from a cluster.
    pub line: Option<u32>,
}

/// What a finding is known by: neither its line, its file or its message, which change without its
/// being another one.
type Key<'a> = (&'a str, &'a str, &'a str, &'a str, Option<&'a str>);

impl ChangedFinding {
    fn key(&self) -> Key<'_> {
        let Self { check, namespace, kind, name, container, .. } = self;
        (namespace, kind, name, check, container.as_deref())
    }

    /// The same with its file, where that has to be the same too.
    fn place(&self, needs_file: bool) -> (Key<'_>, Option<&str>) {
        (self.key(), self.file.as_deref().filter(|_| needs_file))
    }
}

impl Report {
    /// What changed since an earlier report. It is counted in this one.
    ///
    /// # Errors
    /// One is of files, the other of a cluster.
    pub fn compare(&mut self, earlier: StoredReport) -> Result<Changes, NotComparable> {
        let changes = Changes::between(earlier, (&*self).into())?;
        self.baseline = Some(BaselineCounts {
            new: changes.new.len() as u64,
            unchanged: changes.unchanged,
            fixed: changes.fixed.len() as u64,
            exempted: changes.exempted.len() as u64,
            not_read: changes.not_read.len() as u64,
            not_compared: changes.not_compared,
        });
        Ok(changes)
    }

    /// The same with the new findings alone, and their numbers; score and pods are those of all.
    #[must_use]
    pub fn with_new_alone(&self, changes: &Changes) -> Self {
        let mut report = self.clone();
        let is_of_files = matches!(self.source, Source::Files { .. });
        let new: BTreeSet<_> =
            changes.new.iter().map(|new| (new.key(), new.file.as_deref(), new.line)).collect();
        report.findings.retain(|ReportFinding { check, object, container, line, .. }| {
            let check = check.as_str();
            let (kind, name) = if is_of_files {
                (object.kind, &*object.name)
            } else {
                (&*object.workload.kind, &*object.workload.name)
            };
            let key = (&*object.namespace, kind, name, &*check, container.as_deref());
            new.contains(&(key, object.file.as_deref(), *line))
        });
        report.denied = self.newly_denied(changes);
        report.findings_cut = 0;
        report.summary.count(&report.findings);
        for NamespaceSummary { namespace, summary } in &mut report.namespaces {
            let findings = &report.findings;
            // They are sorted by namespace.
            let start = findings.partition_point(|found| found.object.namespace < *namespace);
            let end = findings.partition_point(|found| found.object.namespace <= *namespace);
            summary.count(&findings[start..end]);
        }
        report
    }
}

impl Summary {
    /// Counts these findings in place of all.
    fn count(&mut self, findings: &[ReportFinding]) {
        self.total_violations = findings.len() as u64;
        self.violations_by_severity = ViolationsBySeverity::default();
        self.violations_by_check.values_mut().for_each(|count| *count = 0);
        self.restart_severity = 0;
        for ReportFinding { check, severity, count, .. } in findings {
            let ViolationsBySeverity { critical, high, medium, low } =
                &mut self.violations_by_severity;
            *match severity {
                Severity::Critical => critical,
                Severity::High => high,
                Severity::Medium => medium,
                Severity::Low => low,
            } += 1;
            if let Some(of_check) = self.violations_by_check.get_mut(check.label()) {
                *of_check += 1;
            }
            if check.registered().is_some_and(|check| check.meta().counts_restarts) {
                self.restart_severity += u64::from(*count);
            }
        }
    }
}

impl Changes {
    /// What changed from the earlier report to the later one.
    ///
    /// # Errors
    /// One is of files, the other of a cluster.
    pub fn between(
        mut earlier: StoredReport,
        mut later: StoredReport,
    ) -> Result<Self, NotComparable> {
        if earlier.source.is_of_files() != later.source.is_of_files() {
            return Err(NotComparable::OtherSource);
        }
        let not_compared = earlier.cut() + later.cut() + later.exempted_cut();
        let (mut before, after) = (earlier.take_findings(), later.take_findings());
        let (new, unchanged) = compared(after, &mut before);
        let (_, exempted) = compared(later.take_exempted(), &mut before);
        let was_unread = Unread::of(&earlier.source, &earlier.coverage.failed);
        let is_unread = Unread::of(&later.source, &later.coverage.failed);
        let (not_read, fixed) = before.into_iter().partition(|finding| is_unread.holds(finding));
        let mut policies = vec![earlier.policy.clone(), later.policy.clone()];
        policies.dedup();
        Ok(Self {
            schema_version: SCHEMA_VERSION,
            score_before: earlier.summary.score,
            score_after: later.summary.score,
            policies,
            unchanged: unchanged.len() as u64,
            newly_read: new.iter().filter(|finding| was_unread.holds(finding)).count() as u64,
            new: sorted(new),
            fixed: sorted(fixed),
            exempted: sorted(exempted),
            not_read: sorted(not_read),
            not_compared,
            failed: later.coverage.failed.into_iter().map(NotRead::from).collect(),
        })
    }

    /// The number of new findings of a severity or worse.
    #[must_use]
    pub fn new_of(&self, severity: Severity) -> usize {
        self.new.iter().filter(|finding| finding.severity >= severity).count()
    }
}

/// The findings that are not among the known ones, and those that are: each of these stands for one of
/// the known, which is removed. Where several are known by the same, as an object of two overlays, that of
/// the same file goes first.
fn compared(
    findings: Vec<ChangedFinding>,
    known: &mut Vec<ChangedFinding>,
) -> (Vec<ChangedFinding>, Vec<ChangedFinding>) {
    let (mut left, mut matched) = (findings, Vec::new());
    for needs_file in [true, false] {
        let mut places: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (index, one) in known.iter().enumerate() {
            places.entry(one.place(needs_file)).or_default().push(index);
        }
        let mut is_unknown = vec![true; known.len()];
        let is_left: Vec<bool> = left
            .iter()
            .map(|one| {
                let found = places.get_mut(&one.place(needs_file)).and_then(Vec::pop);
                found.map(|index| is_unknown[index] = false).is_none()
            })
            .collect();
        matched.extend(take(&mut left, &is_left));
        take(known, &is_unknown);
    }
    (left, matched)
}

/// Takes those out that are not kept.
fn take(findings: &mut Vec<ChangedFinding>, is_kept: &[bool]) -> Vec<ChangedFinding> {
    let mut is_kept = is_kept.iter();
    findings.extract_if(.., |_| !is_kept.next().copied().unwrap_or(true)).collect()
}

/// The most severe first.
fn sorted(mut findings: Vec<ChangedFinding>) -> Vec<ChangedFinding> {
    findings.sort_by(|a, b| {
        let place = (a.place(true), a.line).cmp(&(b.place(true), b.line));
        b.severity.cmp(&a.severity).then(place)
    });
    findings
}
