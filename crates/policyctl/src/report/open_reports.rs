//! Reports of openreports.io/v1alpha1, which viewers such as Policy Reporter show:
//! <https://github.com/openreports/reports-api/blob/main/docs/api-docs.md>.
//!
//! One for each namespace, with a result for each workload and check. What passes is counted and not
//! listed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use policy_core::report::{
    NamespaceSummary, Report, ReportFinding, ReportedObject, Source, WorkloadFinding,
    WorkloadFindings,
};
use policy_core::severity::Severity;
use policy_core::text::{printable, truncated};
use policy_core::workload::Workload;
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::finding::clause;

/// The most results of a report; all are counted. etcd takes 1.5 MiB, and a result has at most 1.4 KB.
const MAX_RESULTS: usize = 1_000;
/// The longest message, in bytes.
const LONGEST_MESSAGE: usize = 1_000;
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
            let failing = failing.iter().flat_map(|workload| failures(report, workload)).collect();
            of_namespace(report, namespace, failing, skipped.remove(name).unwrap_or_default())
        }))
    }
}

/// The results of exempted findings by namespace: one for each workload and check.
fn skipped(report: &Report) -> BTreeMap<&str, Vec<Value>> {
    let mut found = BTreeMap::<_, (&ReportFinding, BTreeSet<String>)>::new();
    for exempted in &report.exempted {
        let finding = &exempted.finding;
        let ReportedObject { namespace, workload: Workload { group, kind, name }, .. } =
            &*finding.object;
        let key = (&**namespace, [kind, name, group], &finding.check);
        let text = format!(
            "{}; {}",
            clause(finding.container.as_deref(), &finding.message),
            exempted.explanation()
        );
        found.entry(key).or_insert((finding, BTreeSet::new())).1.insert(text);
    }
    let mut skipped = BTreeMap::<&str, Vec<Value>>::new();
    for ((namespace, ..), (finding, texts)) in found {
        let place = (namespace, &finding.object.workload);
        let check = (&*finding.check.as_str(), finding.severity);
        let texts: Vec<_> = texts.into_iter().collect();
        let result = result(report, place, check, ("skip", &texts.join("; ")));
        skipped.entry(namespace).or_default().push(result);
    }
    skipped
}

fn of_namespace(
    report: &Report,
    NamespaceSummary { namespace, summary }: &NamespaceSummary,
    failing: Vec<Value>,
    skipped: Vec<Value>,
) -> Value {
    let passing = summary.violations_by_check.values().filter(|found| **found == 0).count();
    let numbers = json!({ "pass": passing, "fail": failing.len(), "warn": 0, "error": 0,
        "skip": skipped.len() });
    let results: Vec<_> = failing.into_iter().chain(skipped).take(MAX_RESULTS).collect();
    json!({
        "apiVersion": "openreports.io/v1alpha1",
        "kind": "Report",
        "metadata": {
            "name": NAME,
            "namespace": namespace,
            "labels": { "app.kubernetes.io/managed-by": NAME },
            "annotations": { "devops.stochastic.io/policy": printable(&report.policy) },
        },
        "source": NAME,
        "configuration": { "limits": { "maxResults": MAX_RESULTS } },
        "scope": { "apiVersion": "v1", "kind": "Namespace", "name": namespace },
        "summary": numbers,
        "results": results,
    })
}

/// The results of a workload that fails, the most severe first: one for each check.
fn failures<'a>(
    report: &'a Report,
    workload: &'a WorkloadFindings<'a>,
) -> impl Iterator<Item = Value> + 'a {
    let same = |a: &WorkloadFinding<'_>, b: &WorkloadFinding<'_>| a.check == b.check;
    workload.findings.chunk_by(same).filter_map(move |findings| {
        let WorkloadFinding { check, severity, .. } = findings.first()?;
        let texts: Vec<_> =
            findings.iter().map(|found| clause(found.container, found.message)).collect();
        let pods = findings.iter().map(|found| found.pods).max().unwrap_or_default();
        let place = (workload.namespace, workload.workload);
        let mut result =
            result(report, place, (&check.as_str(), *severity), ("fail", &texts.join("; ")));
        let is_live = matches!(report.source, Source::Cluster { .. });
        if is_live && !workload.workload.is_pod() {
            result["properties"] = json!({ "pods": pods.to_string() });
        }
        Some(result)
    })
}

fn result(
    report: &Report,
    (namespace, workload): (&str, &Workload),
    (check, severity): (&str, Severity),
    (outcome, message): (&str, &str),
) -> Value {
    let Workload { group, kind, name } = workload;
    let mut resource = json!({ "kind": kind, "name": name, "namespace": namespace });
    if let Some(api_version) = api_version(group) {
        resource["apiVersion"] = api_version.into();
    }
    json!({
        "policy": printable(&report.policy),
        "rule": check,
        "category": "Reliability",
        "severity": severity,
        "result": outcome,
        "scored": outcome == "fail",
        "message": truncated(printable(message), usize::MAX, LONGEST_MESSAGE),
        "resources": [resource],
    })
}

/// `None` where a kind of another project may have any version.
fn api_version(group: &str) -> Option<&'static str> {
    match group {
        "" => Some("v1"),
        "apps" => Some("apps/v1"),
        "batch" => Some("batch/v1"),
        _ => None,
    }
}
