//! Reports of openreports.io/v1alpha1: one for each namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use policy_core::checks::CheckName;
use policy_core::report::{
    CheckedWorkload, NamespaceSummary, OpenReport, OpenReportResult, OpenReportSummary, Report,
    ReportFinding, ReportedBy, ReportedObject, Source, WorkloadFinding, WorkloadFindings,
};
use policy_core::text::{clause, printable};
use policy_core::workload::Workload;
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

/// The most results of a report; all are counted. etcd takes 1.5 MiB, and a result has at most 1.4 KB.
const MAX_RESULTS: usize = 1_000;
const NAME: &str = "policyctl";

pub(super) fn write(report: &Report, out: &mut dyn io::Write) -> anyhow::Result<()> {
    super::json(&List(report), out)
}

/// The reports of all namespaces, made while they are written.
struct List<'a>(&'a Report);

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_struct("List", 3)?;
        list.serialize_field("apiVersion", "v1")?;
        list.serialize_field("kind", "List")?;
        list.serialize_field("items", &Items(self.0))?;
        list.end()
    }
}

struct Items<'a>(&'a Report);

impl Serialize for Items<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(report) = self;
        let workloads = report.workloads();
        let mut failing = BTreeMap::<&str, Vec<WorkloadFindings<'_>>>::new();
        for workload in workloads.iter() {
            failing.entry(workload.namespace).or_default().push(workload);
        }
        let mut skipped = skipped(report);
        serializer.collect_seq(report.namespaces.iter().map(|namespace| {
            let name = &*namespace.namespace;
            let failing = failing.remove(name).unwrap_or_default();
            let failing = failing.iter().flat_map(|workload| failures(report, workload));
            let results = failing.chain(skipped.remove(name).unwrap_or_default()).collect();
            of_namespace(report, namespace, results)
        }))
    }
}

fn by(report: &Report) -> ReportedBy<'_> {
    ReportedBy { writer: NAME, policy: &report.policy }
}

/// The results of exempted findings by namespace: one for each workload and check.
fn skipped(report: &Report) -> BTreeMap<&str, Vec<OpenReportResult>> {
    let mut found = BTreeMap::<_, (&ReportFinding, BTreeSet<String>)>::new();
    for exempted in &report.exempted {
        let finding = &exempted.finding;
        let ReportedObject { namespace, workload: Workload { group, kind, name }, .. } =
            &*finding.object;
        let key = (&**namespace, [kind, name, group], &finding.check);
        let text = clause(finding.container.as_deref(), &finding.message);
        let text = format!("{text}; {}", exempted.explanation());
        found.entry(key).or_insert((finding, BTreeSet::new())).1.insert(text);
    }
    let mut skipped = BTreeMap::<&str, Vec<OpenReportResult>>::new();
    for ((namespace, ..), (finding, texts)) in found {
        let ReportFinding { object, check, severity, .. } = finding;
        let (workload, severity) = (&object.workload, *severity);
        let on = CheckedWorkload { namespace, workload, check, severity };
        let texts: Vec<_> = texts.into_iter().collect();
        skipped.entry(namespace).or_default().push(by(report).skipped(on, &texts));
    }
    skipped
}

fn of_namespace(
    report: &Report,
    NamespaceSummary { namespace, summary }: &NamespaceSummary,
    mut results: Vec<OpenReportResult>,
) -> OpenReport {
    let checks = summary.violations_by_check.iter();
    // The custom checks are counted together there.
    let registered = checks.filter(|(check, _)| **check != CheckName::CUSTOM_LABEL);
    let passing = registered.filter(|(_, found)| **found == 0).count()
        + report.passed_custom.get(namespace).map_or(0, Vec::len);
    let numbers = OpenReportSummary::of(passing, &results);
    results.truncate(MAX_RESULTS);
    let policy = printable(&report.policy).into_owned();
    let metadata = ObjectMeta {
        name: Some(NAME.to_owned()),
        namespace: Some(namespace.to_string()),
        annotations: Some([("devops.stochastic.io/policy".to_owned(), policy)].into()),
        ..ObjectMeta::default()
    };
    by(report).report(metadata, Some(namespace), numbers, results, MAX_RESULTS)
}

/// The results of a workload that fails, the most severe first: one for each check.
fn failures<'a>(
    report: &'a Report,
    workload: &'a WorkloadFindings<'a>,
) -> impl Iterator<Item = OpenReportResult> + 'a {
    let same = |a: &WorkloadFinding<'_>, b: &WorkloadFinding<'_>| a.check == b.check;
    workload.findings.chunk_by(same).filter_map(move |findings| {
        let WorkloadFinding { check, severity, .. } = findings.first()?;
        let texts: Vec<_> =
            findings.iter().map(|found| clause(found.container, found.message)).collect();
        let WorkloadFindings { namespace, workload, .. } = *workload;
        let on = CheckedWorkload { namespace, workload, check, severity: *severity };
        let is_live = matches!(report.source, Source::Cluster { .. });
        let pods = findings.iter().map(|found| found.pods).max();
        let pods = pods.filter(|_| is_live && !workload.is_pod());
        Some(by(report).failed(on, &texts, pods))
    })
}
