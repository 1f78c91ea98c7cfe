//! The findings of a report by workload.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::ReportFinding;
use crate::checks::CheckName;
use crate::severity::Severity;
use crate::workload::Workload;

/// The findings of the pods of one workload, or of one manifest.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct WorkloadFindings<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// What is to be changed: the pods' controller, else the pod itself.
    #[serde(flatten)]
    pub workload: &'a Workload,
    /// How many of its pods have a finding; a pod template counts as one.
    pub pods: u64,
    /// The findings, the most severe first.
    pub findings: Vec<WorkloadFinding<'a>>,
}

/// One check on the containers of one name, or on the pods as a whole.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct WorkloadFinding<'a> {
    /// The id of the check.
    pub check: CheckName,
    /// How severe the finding is under the policy.
    pub severity: Severity,
    /// The container; `null` where the finding is about the pods.
    pub container: Option<&'a str>,
    /// What was found.
    pub message: &'a str,
    /// How many pods have the finding.
    pub pods: u64,
    /// What the check's weight is multiplied by, all pods together.
    pub count: u64,
}

/// The findings by namespace and workload: those of each object, sorted. A report may have a million
/// findings, so those of a workload are put together only when they are read.
pub struct ByWorkload<'a>(Vec<&'a [ReportFinding]>);

/// How many pods have a finding, and the sum of its counts.
#[derive(Default)]
struct Numbers {
    pods: u64,
    count: u64,
}

impl<'a> ByWorkload<'a> {
    /// `findings`: those of an object one after another.
    pub(super) fn of(findings: &'a [ReportFinding]) -> Self {
        let mut objects: Vec<_> =
            findings.chunk_by(|a, b| Arc::ptr_eq(&a.object, &b.object)).collect();
        objects.sort_by(|a, b| key(a).cmp(&key(b)));
        Self(objects)
    }

    /// How many workloads have findings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.chunk_by(|a, b| key(a) == key(b)).count()
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The workloads with findings, sorted.
    pub fn iter(&self) -> impl Iterator<Item = WorkloadFindings<'a>> + use<'a, '_> {
        self.0.chunk_by(|a, b| key(a) == key(b)).filter_map(together)
    }
}

/// What the objects of one workload have in common, in the order of the report's findings.
fn key<'a>(of_object: &&'a [ReportFinding]) -> Option<(&'a str, [&'a str; 3])> {
    let object = &*of_object.first()?.object;
    let Workload { group, kind, name } = &object.workload;
    Some((&*object.namespace, [&**kind, &**name, &**group]))
}

/// The findings of the objects of one workload.
fn together<'a>(objects: &[&'a [ReportFinding]]) -> Option<WorkloadFindings<'a>> {
    let object = &*objects.first()?.first()?.object;
    let mut groups: BTreeMap<_, Numbers> = BTreeMap::new();
    for ReportFinding { check, severity, container, message, count, .. } in
        objects.iter().copied().flatten()
    {
        let place = (Reverse(*severity), check, container.as_deref(), &**message);
        let numbers = groups.entry(place).or_default();
        numbers.pods += 1;
        numbers.count += u64::from(*count);
    }
    let findings = groups.into_iter().map(|((severity, check, container, message), numbers)| {
        let Numbers { pods, count } = numbers;
        let check = check.clone();
        WorkloadFinding { check, severity: severity.0, container, message, pods, count }
    });
    Some(WorkloadFindings {
        namespace: &object.namespace,
        workload: &object.workload,
        pods: objects.len() as u64,
        findings: findings.collect(),
    })
}

impl Serialize for ByWorkload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}
