//! The findings as rows of one table, the worst first: those of manifests each, those of pods by
//! workload.

use std::borrow::Cow;

use policy_core::checks::CheckName;
use policy_core::report::{Report, ReportFinding, ReportedObject, Source, WorkloadFinding};
use policy_core::severity::Severity;
use policy_core::text::{container_or_volume, counted};

/// A finding for people. Its texts are as they were read.
pub(super) struct Row<'a> {
    pub(super) severity: Severity,
    pub(super) check: CheckName,
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

/// The rows of the listed findings.
pub(super) fn rows(report: &Report) -> impl Iterator<Item = Row<'_>> {
    Severity::ALL.into_iter().flat_map(|severity| -> Box<dyn Iterator<Item = Row<'_>>> {
        match report.source {
            Source::Files { .. } => Box::new(
                report.findings.iter().filter(move |found| found.severity == severity).map(of_file),
            ),
            Source::Cluster { .. } => Box::new(of_workloads(report, severity)),
        }
    })
}

/// How many rows there are, and findings that are counted but not listed.
pub(super) fn count(report: &Report) -> u64 {
    let listed: usize = match report.source {
        Source::Files { .. } => report.findings.len(),
        Source::Cluster { .. } => report.workloads().iter().map(|one| one.findings.len()).sum(),
    };
    listed as u64 + report.findings_cut
}

fn of_file(finding: &ReportFinding) -> Row<'_> {
    let ReportedObject { namespace, kind, name, file, .. } = &*finding.object;
    let place = file.as_ref().map(|file| match finding.line {
        Some(line) => format!("{file}:{line}"),
        None => file.to_string(),
    });
    Row {
        severity: finding.severity,
        check: finding.check.clone(),
        namespace,
        object: format!("{kind}/{name}"),
        container: finding.container.as_deref().map(container),
        message: Cow::Borrowed(&finding.message),
        place,
    }
}

fn of_workloads(report: &Report, severity: Severity) -> impl Iterator<Item = Row<'_>> {
    let workloads: Vec<_> = report.workloads().iter().collect();
    workloads.into_iter().flat_map(move |of| {
        let (namespace, workload) = (of.namespace, of.workload);
        let found = of.findings.into_iter().filter(move |found| found.severity == severity);
        found.map(move |WorkloadFinding { check, container: name, message, pods, .. }| Row {
            severity,
            check,
            namespace,
            object: format!("{}/{}", workload.kind, workload.name),
            container: name.map(container),
            message: if workload.is_pod() {
                Cow::Borrowed(message)
            } else {
                Cow::Owned(format!("{message} ({})", counted(pods, "pod")))
            },
            place: None,
        })
    })
}

fn container(name: &str) -> String {
    let (what, name) = container_or_volume(name);
    format!("{what} {name}")
}
