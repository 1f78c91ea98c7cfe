//! A report as it is stored.

use serde::Deserialize;

use super::{ChangedFinding, NotComparable};
use crate::report::{Report, ReportedObject, SCHEMA_VERSION, Source};
use crate::severity::Severity;

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
}

#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredSummary {
    pub(super) score: Option<u8>,
    pub(super) total_violations: u64,
}

/// Where the pods came from.
#[derive(Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", tag = "type")]
pub(super) enum StoredSource {
    Files {},
    Cluster {},
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
        let findings = report.findings.iter().map(|finding| {
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
            source: match report.source {
                Source::Files { .. } => StoredSource::Files {},
                Source::Cluster { .. } => StoredSource::Cluster {},
            },
            policy: report.policy.clone(),
            summary: StoredSummary {
                score: report.summary.score,
                total_violations: report.summary.total_violations,
            },
            findings: findings.collect(),
            workloads: workloads.collect(),
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
    pub(super) fn into_findings(self) -> Vec<ChangedFinding> {
        match self.source {
            StoredSource::Files {} => self.findings,
            StoredSource::Cluster {} => self.workloads.into_iter().flat_map(of_workload).collect(),
        }
    }

    /// How many findings are counted, but not listed.
    pub(super) fn cut(&self) -> u64 {
        self.summary.total_violations.saturating_sub(self.findings.len() as u64)
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
