//! What a policy would say of a namespace before it is applied there, beside what the policies say
//! that are there today.

mod admission;
mod remediation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

pub use admission::{AdmissionPreview, DeniedPod, DeniedWorkload};
pub use remediation::{PlannedAction, PlannedWorkload, RemediationPreview};

use super::assessment::{Assessed, Assessment};
use super::{Coverage, ReportFinding, ReportedObject, SCHEMA_VERSION, Source, Summary};
use crate::checks::{CheckId, CheckName};
use crate::custom::{CustomChecks, CustomInput, CustomNamespaces};
use crate::facts::PodFacts;
use crate::labels::WorkloadLabels;
use crate::namespaces::ExcludedNamespaces;
use crate::policy::{CompiledPolicy, InvalidField};
use crate::severity::Severity;
use crate::workload::Workload;

/// How many rows of findings or workloads are listed at most; the rest is counted.
const MOST: usize = 1_000;

/// What policies would say.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "policyctl preview")]
pub struct Preview {
    /// The version of this format.
    #[schemars(extend("const" = SCHEMA_VERSION))]
    schema_version: &'static str,
    /// Where the pods came from.
    pub source: Source,
    /// Each policy in each namespace, by namespace and name.
    pub policies: Vec<PolicyPreview>,
    /// What was read, and what was not.
    pub coverage: Coverage,
}

/// What a policy would say of a namespace.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyPreview {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The policy's name; that of a bundle is the one that `bundle apply` gives it.
    pub policy: String,
    /// The file and line of the policy, or `bundle NAME`.
    pub place: String,
    /// What it would say, as `analyze` has it.
    pub summary: Summary,
    /// The same beside each policy that is there today, or beside none where there is none.
    pub comparisons: Vec<Comparison>,
    /// What the webhook would do under it.
    pub admission: AdmissionPreview,
    /// What enforce mode would do under it; `null` in audit mode.
    pub remediation: Option<RemediationPreview>,
}

/// A policy beside one that is there today.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// The name of the policy that is there today; `null` where there is none.
    pub today: Option<String>,
    /// Whether the new one would take its place, having the same name.
    pub is_replaced: bool,
    /// What the policy says today; `null` where there is none, or where it is invalid.
    pub summary: Option<Summary>,
    /// What is wrong with the policy of today; everything then counts as if it were not there.
    pub problems: Vec<String>,
    /// By how much the score would change; `null` where today there is none.
    pub score_change: Option<i16>,
    /// How many findings would come.
    pub come: u64,
    /// How many findings would go.
    pub go: u64,
    /// The checks that one of the two policies runs, in the order in which reports list them.
    pub checks: Vec<CheckChange>,
    /// The workloads with findings that come or go, those with the most first; at most 1 000.
    pub workloads: Vec<WorkloadChange>,
    /// How many more workloads there are.
    pub workloads_cut: u64,
    /// The findings that would come, by check, workload and container; at most 1 000.
    pub coming: Vec<ChangedFindings>,
    /// How many more rows there are.
    pub coming_cut: u64,
    /// The findings that would go, by check, workload and container; at most 1 000.
    pub going: Vec<ChangedFindings>,
    /// How many more rows there are.
    pub going_cut: u64,
}

/// A check under both policies.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CheckChange {
    /// The id of the check.
    pub check: CheckName,
    /// Today; `null` where it does not run.
    pub today: Option<CheckSide>,
    /// Under the new policy; `null` where it would not run.
    pub then: Option<CheckSide>,
    /// How many of its findings would come.
    pub come: u64,
    /// How many of its findings would go.
    pub go: u64,
}

/// A check under one policy.
#[derive(Serialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CheckSide {
    /// How severe its findings are.
    pub severity: Severity,
    /// How many findings it has.
    pub findings: u64,
    /// How many points they take, over all pods.
    pub points: u64,
}

/// A workload with findings that come or go.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadChange {
    /// What would be to be changed.
    pub workload: Workload,
    /// How many of its findings would come.
    pub come: u64,
    /// How many of its findings would go.
    pub go: u64,
}

/// Findings of the pods of a workload that only one of the policies has.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ChangedFindings {
    /// The id of the check.
    pub check: CheckName,
    /// How severe they are.
    pub severity: Severity,
    /// The workload.
    pub workload: Workload,
    /// The container; `null` where they are about the pod.
    pub container: Option<Arc<str>>,
    /// In how many pods.
    pub pods: u64,
}

/// A policy that is in a namespace today.
#[derive(Clone, Debug)]
pub struct CurrentPolicy {
    /// Its name.
    pub name: String,
    /// The policy, or what is wrong with it.
    pub policy: Result<CompiledPolicy, Vec<InvalidField>>,
}

impl Preview {
    /// What was judged in each namespace, with the coverage of them all.
    #[must_use]
    pub fn new(source: Source, mut policies: Vec<PolicyPreview>, coverage: Coverage) -> Self {
        policies.sort_by(|a, b| {
            let key = |p: &PolicyPreview| (Arc::clone(&p.namespace), p.policy.clone());
            key(a).cmp(&key(b)).then_with(|| a.place.cmp(&b.place))
        });
        Self { schema_version: SCHEMA_VERSION, source, policies, coverage }
    }
}

/// The pods of a namespace, and how they are judged.
#[derive(Clone, Copy, Debug)]
pub struct NamespacePods<'a> {
    /// Its name.
    pub namespace: &'a Arc<str>,
    /// All of its pods.
    pub pods: &'a [PodFacts],
    /// What custom checks see of each pod, in the same order; empty where no policy has one.
    pub custom: &'a [CustomInput],
    /// The namespaces as custom checks see them, where they are known.
    pub namespaces: &'a Arc<CustomNamespaces>,
    /// The labels of the workloads, where exemptions select by them.
    pub workloads: &'a Arc<WorkloadLabels>,
    /// The namespaces that are left out; this one should not be among them.
    pub excluded: &'a ExcludedNamespaces,
    /// The time for what depends on it.
    pub now: Timestamp,
}

impl<'a> NamespacePods<'a> {
    /// The findings under a policy, compared with those under the current ones.
    #[must_use]
    pub fn preview(
        self,
        policy: String,
        place: String,
        compiled: &'a CompiledPolicy,
        today: &'a [CurrentPolicy],
    ) -> PolicyPreview {
        let then = self.judged(compiled);
        let mut comparisons: Vec<Comparison> = today
            .iter()
            .map(|today| {
                let judged = today.policy.as_ref().map(|policy| self.judged(policy));
                let (judged, problems) = match judged {
                    Ok(judged) => (Some(judged), Vec::new()),
                    Err(invalid) => (None, invalid.iter().map(ToString::to_string).collect()),
                };
                let is_replaced = today.name == policy;
                let name = Some(today.name.clone());
                Comparison { today: name, is_replaced, problems, ..compare(judged.as_ref(), &then) }
            })
            .collect();
        if comparisons.is_empty() {
            comparisons.push(compare(None, &then));
        }
        let summary = Summary::of(&then.tally, compiled);
        let namespace = Arc::clone(self.namespace);
        let admission = AdmissionPreview::of(self, &policy, compiled);
        PolicyPreview {
            namespace,
            policy,
            place,
            summary,
            comparisons,
            admission,
            remediation: None,
        }
    }

    fn judged(self, policy: &'a CompiledPolicy) -> Assessed<'a> {
        let mut assessment = Assessment::new(policy, self.excluded, self.now);
        assessment.know_namespaces(Arc::clone(self.namespaces));
        assessment.know_workloads(Arc::clone(self.workloads));
        for (index, pod) in self.pods.iter().enumerate() {
            assessment.live_facts(pod, self.custom.get(index));
        }
        assessment.finish_parts(false)
    }
}

/// What makes a finding the same under another policy, in the order in which they are listed.
type Key<'a> = (&'a CheckName, &'a Workload, &'a Option<Arc<str>>, &'static str, &'a Arc<str>);

fn key(finding: &ReportFinding) -> Key<'_> {
    let ReportedObject { workload, kind, name, .. } = &*finding.object;
    (&finding.check, workload, &finding.container, kind, name)
}

fn keys<'a>(parts: &'a Assessed<'_>) -> BTreeSet<Key<'a>> {
    parts.findings.iter().map(key).collect()
}

/// The new policy beside the one of today, if there is one.
fn compare(today: Option<&Assessed<'_>>, then: &Assessed<'_>) -> Comparison {
    let (now, new) = (today.map(keys).unwrap_or_default(), keys(then));
    let coming: Vec<Key<'_>> = new.difference(&now).copied().collect();
    let going: Vec<Key<'_>> = now.difference(&new).copied().collect();
    let summary = today.map(|today| Summary::of(&today.tally, today.policy));
    let score = then.tally.score(then.policy).value();
    let of_check =
        |keys: &[Key<'_>], check: &CheckName| keys.iter().filter(|k| k.0 == check).count() as u64;
    let custom: BTreeSet<_> = today.into_iter().chain([then]).flat_map(custom).collect();
    let registered = CheckId::all().map(CheckName::Registered);
    let checks = registered.chain(custom.into_iter().map(CheckName::Custom)).filter_map(|check| {
        let (today, then) = (today.and_then(|today| side(today, &check)), side(then, &check));
        let (come, go) = (of_check(&coming, &check), of_check(&going, &check));
        let runs = today.is_some() || then.is_some();
        runs.then_some(CheckChange { check, today, then, come, go })
    });
    let (workloads, workloads_cut) = first(workloads(&coming, &going));
    let (coming_rows, coming_cut) = first(rows(&coming, then.policy));
    let (going_rows, going_cut) =
        first(today.map(|today| rows(&going, today.policy)).unwrap_or_default());
    Comparison {
        today: None,
        is_replaced: false,
        problems: Vec::new(),
        score_change: today
            .map(|today| i16::from(score) - i16::from(today.tally.score(today.policy).value())),
        summary,
        come: coming.len() as u64,
        go: going.len() as u64,
        checks: checks.collect(),
        workloads,
        workloads_cut,
        coming: coming_rows,
        coming_cut,
        going: going_rows,
        going_cut,
    }
}

/// The names of the custom checks that are judged.
fn custom(parts: &Assessed<'_>) -> Vec<Arc<str>> {
    let checks = parts.policy.custom().into_iter().flat_map(CustomChecks::checks);
    checks.map(|check| Arc::clone(check.name())).collect()
}

fn side(parts: &Assessed<'_>, check: &CheckName) -> Option<CheckSide> {
    let (findings, count) = match check {
        CheckName::Registered(check) => {
            parts.policy.is_enabled(*check).then_some(())?;
            (parts.tally.findings(*check), parts.tally.count(*check))
        }
        CheckName::Custom(name) => {
            custom(parts).contains(name).then_some(())?;
            let found = parts.findings.iter().filter(|found| found.check == *check).count() as u64;
            (found, found)
        }
    };
    Some(CheckSide {
        severity: parts.policy.severity_of(check),
        findings,
        points: parts.policy.points_of(check, count),
    })
}

/// Those with the most changes first.
fn workloads(coming: &[Key<'_>], going: &[Key<'_>]) -> Vec<WorkloadChange> {
    let mut changes: BTreeMap<&Workload, (u64, u64)> = BTreeMap::new();
    for key in coming {
        changes.entry(key.1).or_default().0 += 1;
    }
    for key in going {
        changes.entry(key.1).or_default().1 += 1;
    }
    let mut changes: Vec<WorkloadChange> = changes
        .into_iter()
        .map(|(workload, (come, go))| WorkloadChange { workload: workload.clone(), come, go })
        .collect();
    changes.sort_by_key(|change| std::cmp::Reverse(change.come + change.go));
    changes
}

/// A row for the pods of a workload that have the same finding; `keys` are sorted.
fn rows(keys: &[Key<'_>], policy: &CompiledPolicy) -> Vec<ChangedFindings> {
    keys.chunk_by(|a, b| (a.0, a.1, a.2) == (b.0, b.1, b.2))
        .filter_map(|same| {
            let (check, workload, container, ..) = same.first()?;
            Some(ChangedFindings {
                check: (*check).clone(),
                severity: policy.severity_of(check),
                workload: (*workload).clone(),
                container: (*container).clone(),
                pods: same.len() as u64,
            })
        })
        .collect()
}

/// The first rows, and how many were cut.
fn first<T>(mut rows: Vec<T>) -> (Vec<T>, u64) {
    let cut = rows.len().saturating_sub(MOST) as u64;
    rows.truncate(MOST);
    (rows, cut)
}
