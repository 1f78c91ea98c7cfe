//! A report as it is stored.

use serde::Deserialize;

use super::{ChangedFinding, NotComparable};
use crate::report::{
    ExemptedReportFinding, NotRead, Report, ReportFinding, ReportedObject, SCHEMA_VERSION, Source,
};
use crate::severity::Severity;
use crate::workload::Workload;

/// What a comparison needs of the JSON of `policyctl analyze`.
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct StoredReport {
    pub(super) schema_version: String,
    pub(super) source: StoredSource,
    pub(super) policy: String,
    pub(super) summary: StoredSummary,
    pub(super) findings: Vec<ChangedFinding>,
    pub(super) workloads: Vec<StoredWorkload>,
    #[serde(default)]
    pub(super) exempted: Vec<StoredExempted>,
    pub(super) coverage: StoredCoverage,
}

#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredSummary {
    pub(super) score: Option<u8>,
    pub(super) total_violations: u64,
    #[serde(default)]
    pub(super) exempted_violations: u64,
}

#[derive(Deserialize, Clone, Debug)]
pub(super) struct StoredCoverage {
    pub(super) failed: Vec<StoredNotRead>,
}

#[derive(Deserialize, Clone, Debug)]
pub(super) struct StoredNotRead {
    pub(super) source: String,
    reason: String,
}

impl From<StoredNotRead> for NotRead {
    fn from(StoredNotRead { source, reason }: StoredNotRead) -> Self {
        Self::new(&source.into(), None, reason)
    }
}

/// Where the pods came from.
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase", tag = "type")]
pub(super) enum StoredSource {
    Files {},
    Cluster { namespace: Option<String> },
}

impl StoredSource {
    pub(super) fn is_of_files(&self) -> bool {
        matches!(self, Self::Files {})
    }
}

#[derive(Deserialize, Clone, Debug)]
pub(super) struct StoredExempted {
    #[serde(flatten)]
    finding: ChangedFinding,
    workload: StoredName,
}

#[derive(Deserialize, Clone, Debug)]
struct StoredName {
    kind: String,
    name: String,
}

#[derive(Deserialize, Clone, Debug)]
pub(super) struct StoredWorkload {
    namespace: String,
    kind: String,
    name: String,
    findings: Vec<StoredWorkloadFinding>,
}

#[derive(Deserialize, Clone, Debug)]
pub(super) struct StoredWorkloadFinding {
    check: String,
    severity: Severity,
    container: Option<String>,
    message: String,
}

impl From<&Report> for StoredReport {
    fn from(report: &Report) -> Self {
        let findings = report.findings.iter().map(of_object);
        let exempted = report.exempted.iter().map(|ExemptedReportFinding { finding, .. }| {
            let Workload { kind, name, .. } = &finding.object.workload;
            let workload = StoredName { kind: kind.to_string(), name: name.to_string() };
            StoredExempted { finding: of_object(finding), workload }
        });
        let failed = report.coverage.failed.iter();
        let failed = failed.map(|NotRead { source, reason, .. }| StoredNotRead {
            source: source.clone(),
            reason: reason.clone(),
        });
        let workloads = report.workloads();
        let workloads = workloads.iter().map(|of| StoredWorkload {
            namespace: of.namespace.to_owned(),
            kind: of.workload.kind.to_string(),
            name: of.workload.name.to_string(),
            findings: of
                .findings
                .iter()
                .map(|finding| StoredWorkloadFinding {
                    check: finding.check.as_str().into_owned(),
                    severity: finding.severity,
                    container: finding.container.map(str::to_owned),
                    message: finding.message.to_owned(),
                })
                .collect(),
        });
        Self {
            schema_version: SCHEMA_VERSION.to_owned(),
            source: match &report.source {
                Source::Files { .. } => StoredSource::Files {},
                Source::Cluster { namespace, .. } => {
                    StoredSource::Cluster { namespace: namespace.clone() }
                }
            },
            policy: report.policy.clone(),
            summary: StoredSummary {
                score: report.summary.score,
                total_violations: report.summary.total_violations,
                exempted_violations: report.summary.exempted_violations,
            },
            findings: findings.collect(),
            workloads: workloads.collect(),
            exempted: exempted.collect(),
            coverage: StoredCoverage { failed: failed.collect() },
        }
    }
}

impl StoredReport {
    /// Reads the JSON of a report.
    ///
    /// # Errors
    /// It is no report of `policyctl analyze`, or one of another version.
    pub fn read(json: &[u8]) -> Result<Self, NotComparable> {
        let report: Self = serde_json::from_slice(json).map_err(NotComparable::NoReport)?;
        if report.schema_version == SCHEMA_VERSION {
            Ok(report)
        } else {
            Err(NotComparable::Version(report.schema_version))
        }
    }

    /// The findings of objects; those of a cluster's pods by workload, since pods come and go.
    pub(super) fn take_findings(&mut self) -> Vec<ChangedFinding> {
        if self.source.is_of_files() {
            return std::mem::take(&mut self.findings);
        }
        std::mem::take(&mut self.workloads).into_iter().flat_map(of_workload).collect()
    }

    /// The same of those that are exempted.
    pub(super) fn take_exempted(&mut self) -> Vec<ChangedFinding> {
        let exempted = std::mem::take(&mut self.exempted);
        exempted.into_iter().map(|of| of.into_finding(self.source.is_of_files())).collect()
    }

    /// How many findings are counted, but not listed.
    pub(super) fn cut(&self) -> u64 {
        self.summary.total_violations.saturating_sub(self.findings.len() as u64)
    }

    /// How many of those that are exempted are counted, but not listed.
    pub(super) fn exempted_cut(&self) -> u64 {
        self.summary.exempted_violations.saturating_sub(self.exempted.len() as u64)
    }
}

impl StoredExempted {
    fn into_finding(self, is_of_file: bool) -> ChangedFinding {
        let Self { finding, workload: StoredName { kind, name } } = self;
        if is_of_file { finding } else { ChangedFinding { kind, name, ..finding } }
    }
}

fn of_object(finding: &ReportFinding) -> ChangedFinding {
    let ReportedObject { namespace, kind, name, file, .. } = &*finding.object;
    ChangedFinding {
        check: finding.check.as_str().into_owned(),
        severity: finding.severity,
        namespace: namespace.to_string(),
        kind: (*kind).to_owned(),
        name: name.to_string(),
        container: finding.container.as_deref().map(str::to_owned),
        message: finding.message.to_string(),
        file: file.as_deref().map(str::to_owned),
        line: finding.line,
    }
}

fn of_workload(workload: StoredWorkload) -> impl Iterator<Item = ChangedFinding> {
    let StoredWorkload { namespace, kind, name, findings } = workload;
    findings.into_iter().map(move |finding| {
        let StoredWorkloadFinding { check, severity, container, message } = finding;
        ChangedFinding {
            check,
            severity,
            namespace: namespace.clone(),
            kind: kind.clone(),
            name: name.clone(),
            container,
            message,
            file: None,
            line: None,
        }
    })
}
