//! The findings as rows of one table, the worst first: those of manifests each, those of pods by
//! workload.

use std::borrow::Cow;
use std::cmp::Reverse;

use policy_core::report::{
    ChangedFinding, Report, ReportFinding, ReportedObject, Source, WorkloadFinding,
    WorkloadFindings,
};
use policy_core::severity::Severity;
use policy_core::text::{container_or_volume, counted};

/// A finding for people. Its texts are as they were read.
pub(super) struct Row<'a> {
    pub(super) severity: Severity,
    pub(super) check: Cow<'a, str>,
    pub(super) namespace: &'a str,
    /// `Deployment/web`.
    pub(super) object: String,
    /// `container web`.
    pub(super) container: Option<String>,
    /// What was found, and in how many pods.
    pub(super) message: Cow<'a, str>,
    /// `app.yaml:12`; `None` where the pods came from a cluster.
    pub(super) place: Option<String>,
}

/// The rows of the listed findings. Those of files are made one at a time: a report lists a million.
pub(super) fn rows(report: &Report) -> Box<dyn Iterator<Item = Row<'_>> + '_> {
    match report.source {
        Source::Files { .. } => Box::new(by_severity(&report.findings).map(of_file)),
        Source::Cluster { .. } => {
            let mut rows: Vec<_> = report.workloads().iter().flat_map(of_workload).collect();
            rows.sort_by_key(|row| Reverse(row.severity));
            Box::new(rows.into_iter())
        }
    }
}

/// The findings, the worst first.
pub(super) fn by_severity(findings: &[ReportFinding]) -> impl Iterator<Item = &ReportFinding> {
    Severity::ALL
        .into_iter()
        .flat_map(move |severity| findings.iter().filter(move |f| f.severity == severity))
}

fn of_file(finding: &ReportFinding) -> Row<'_> {
    let ReportedObject { namespace, kind, name, file, .. } = &*finding.object;
    Row {
        severity: finding.severity,
        check: finding.check.as_str(),
        namespace,
        object: format!("{kind}/{name}"),
        container: finding.container.as_deref().map(container),
        message: Cow::Borrowed(&finding.message),
        place: place(file.as_deref(), finding.line),
    }
}

fn of_workload(of: WorkloadFindings<'_>) -> impl Iterator<Item = Row<'_>> {
    let WorkloadFindings { namespace, workload, findings, .. } = of;
    findings.into_iter().map(move |finding| {
        let WorkloadFinding { check, severity, container: name, message, pods, .. } = finding;
        Row {
            severity,
            check: check.as_str().into_owned().into(),
            namespace,
            object: format!("{}/{}", workload.kind, workload.name),
            container: name.map(container),
            message: if workload.is_pod() {
                Cow::Borrowed(message)
            } else {
                Cow::Owned(format!("{message} ({})", counted(pods, "pod")))
            },
            place: None,
        }
    })
}

impl<'a> From<&'a ChangedFinding> for Row<'a> {
    fn from(finding: &'a ChangedFinding) -> Self {
        let ChangedFinding { namespace, kind, name, .. } = finding;
        Self {
            severity: finding.severity,
            check: Cow::Borrowed(&finding.check),
            namespace,
            object: format!("{kind}/{name}"),
            container: finding.container.as_deref().map(container),
            message: Cow::Borrowed(&finding.message),
            place: place(finding.file.as_deref(), finding.line),
        }
    }
}

fn container(name: &str) -> String {
    let (what, name) = container_or_volume(name);
    format!("{what} {name}")
}

fn place(file: Option<&str>, line: Option<u32>) -> Option<String> {
    let file = file?;
    Some(line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}")))
}
