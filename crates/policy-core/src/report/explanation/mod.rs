//! Why a score is what it is: which checks, workloads and pods take how many points, and what
//! mending one of them would bring.

mod deciding;
mod status;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::assessment::{Assessed, Assessment};
use super::{
    Coverage, ExemptedReportFinding, ReportFinding, ReportedObject, SCHEMA_VERSION, Source,
};
use crate::checks::CheckName;
use crate::classification::Classification;
use crate::custom::CustomChecks;
use crate::policy::CompiledPolicy;
use crate::score::Score;
use crate::severity::Severity;
use crate::text::counted;
use crate::workload::Workload;

pub use deciding::{CheckPolicies, PolicySetting, check_policies};
pub use status::OperatorStatus;

/// How many of the worst workloads and pods are named.
const MOST: usize = 10;
/// How many exempted findings are named.
const MOST_EXEMPTED: usize = 50;

/// How a score came about.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "policyctl explain")]
pub struct Explanation {
    /// The version of this format.
    #[schemars(extend("const" = SCHEMA_VERSION))]
    schema_version: &'static str,
    /// Where the pods came from.
    pub source: Source,
    /// The policy: its namespace and name, its bundle, or its file.
    pub policy: String,
    /// What the explanation rests on.
    pub basis: Basis,
    /// The number of pods that were counted; `null` where the status does not name it.
    pub pods: Option<u64>,
    /// Health from 0 (worst) to 100; 100 where there are no pods. `null` where no pod was read
    /// because something could not be read: `coverage.failed` says what and why.
    #[schemars(range(max = 100))]
    pub score: Option<u8>,
    /// The class of the score; `null` where there is no score.
    pub classification: Option<Classification>,
    /// How many points all findings take together; `null` where that cannot be known.
    pub points: Option<u64>,
    /// How points and pods make the score, in one line.
    pub arithmetic: String,
    /// How many findings there are, without exempted ones.
    pub total_violations: u64,
    /// How many findings are known and accepted by an exemption of the policy; they take no point.
    pub exempted_violations: u64,
    /// These findings, at most fifty; none where they are known from the status alone.
    pub exempted: Vec<ExemptedReportFinding>,
    /// How many pods have no finding; `null` where that cannot be known.
    pub compliant_pods: Option<u64>,
    /// The checks that ran, the one that takes the most points first.
    pub checks: Vec<CheckShare>,
    /// The workloads that take the most points, at most ten; `null` where they cannot be known.
    pub worst_workloads: Option<Vec<WorkloadShare>>,
    /// How many workloads have a finding.
    pub workloads_with_findings: Option<u64>,
    /// The pods that take the most points, at most ten; `null` where they cannot be known.
    pub worst_pods: Option<Vec<PodShare>>,
    /// How many pods have a finding.
    pub pods_with_findings: Option<u64>,
    /// The checks of all policies that apply to the namespace, with the policies that decide; `null`
    /// without a cluster, for a cluster policy, and where they cannot be known.
    pub check_policies: Option<Vec<CheckPolicies>>,
    /// What the operator last wrote; `null` where there is no operator to ask about.
    pub status: Option<OperatorStatus>,
    /// What cannot be known from what the explanation rests on.
    pub unknown: Vec<String>,
    /// What was read, and what was not.
    pub coverage: Coverage,
}

/// What an explanation rests on.
#[derive(Serialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// Pods or manifests, judged now.
    Pods,
    /// The status of the policy, as the operator left it.
    Status,
}

/// What a check takes from the score.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CheckShare {
    /// The id of the check.
    pub check: CheckName,
    /// How severe its findings are under the policy.
    pub severity: Severity,
    /// How many findings it has.
    pub findings: u64,
    /// What the weight is multiplied by; `null` where that cannot be known.
    pub count: Option<u64>,
    /// Its weight under the policy.
    pub weight: u8,
    /// Weight × count.
    pub points: Option<u64>,
    /// The score, if the check had no finding.
    #[schemars(range(max = 100))]
    pub score_after_fix: Option<u8>,
}

/// What a workload takes from the score.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadShare {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// What is to be changed.
    pub workload: Workload,
    /// How many of its pods have a finding.
    pub pods: u64,
    /// The number of findings of each check that has some.
    pub violations_by_check: BTreeMap<&'static str, u64>,
    /// How many points they take.
    pub points: u64,
    /// The score, if none of its pods had a finding.
    #[schemars(range(max = 100))]
    pub score_after_fix: u8,
}

/// What a pod, or pod template, takes from the score.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PodShare {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// The kind of the object that was read.
    pub kind: &'static str,
    /// Its name.
    pub name: Arc<str>,
    /// The file; `null` where the pod came from a cluster.
    pub file: Option<Arc<str>>,
    /// The number of findings of each check that has some.
    pub violations_by_check: BTreeMap<&'static str, u64>,
    /// How many points they take.
    pub points: u64,
}

/// Findings that belong together.
#[derive(Default)]
struct Share<'a> {
    pods: BTreeSet<PodKey<'a>>,
    by_check: BTreeMap<&'static str, u64>,
    points: u64,
}

/// An object of a cluster or of a file.
type PodKey<'a> = (&'a Arc<str>, &'static str, &'a Arc<str>, Option<&'a Arc<str>>, Option<u32>);

impl Assessment<'_> {
    /// Why the score is what it is, next to what the operator says.
    #[must_use]
    pub fn explain(
        self,
        source: Source,
        policy: String,
        status: Option<OperatorStatus>,
    ) -> Explanation {
        let Assessed {
            policy: compiled,
            tally,
            findings,
            findings_cut,
            mut exempted,
            coverage,
            not_judged,
            ..
        } = self.finish_parts(source.is_of_files());
        exempted.truncate(MOST_EXEMPTED);
        let points = tally.total_points(compiled);
        let score = (!coverage.is_unread()).then(|| tally.score(compiled));
        let after = |fixed: u64| Score::of(points.saturating_sub(fixed), tally.pods()).value();
        let workloads = shares(&findings, compiled, |f| (&f.object.namespace, &f.object.workload));
        let pods = shares(&findings, compiled, pod_key);
        let numbers = |check: &CheckName| match check {
            CheckName::Registered(check) => (tally.findings(*check), Some(tally.count(*check))),
            CheckName::Custom(_) => {
                let found = findings.iter().filter(|found| found.check == *check).count() as u64;
                (found, Some(found))
            }
        };
        let mut unknown = Vec::new();
        if findings_cut > 0 {
            let text = "findings are counted, but not attributed to a workload and a pod";
            unknown.push(format!("{findings_cut} {text}"));
        }
        Explanation {
            schema_version: SCHEMA_VERSION,
            source,
            policy,
            basis: Basis::Pods,
            pods: Some(tally.pods()),
            score: score.map(Score::value),
            classification: score.map(Score::classification),
            points: score.map(|_| points),
            arithmetic: score.map_or_else(
                || "nothing could be read, so there is no score".to_owned(),
                |score| arithmetic(points, tally.pods(), score),
            ),
            total_violations: tally.total_findings(),
            exempted_violations: tally.total_exempted(),
            exempted,
            compliant_pods: Some(tally.compliant_pods()),
            checks: checks(compiled, score.map(|_| (points, tally.pods())), numbers)
                .into_iter()
                .filter(|share| share.check.registered().is_none_or(|id| !not_judged.contains(&id)))
                .collect(),
            workloads_with_findings: Some(workloads.len() as u64),
            pods_with_findings: Some(pods.len() as u64),
            worst_workloads: Some(
                workloads
                    .into_iter()
                    .take(MOST)
                    .map(|((namespace, workload), share)| WorkloadShare {
                        namespace: Arc::clone(namespace),
                        workload: workload.clone(),
                        pods: share.pods.len() as u64,
                        violations_by_check: share.by_check,
                        points: share.points,
                        score_after_fix: after(share.points),
                    })
                    .collect(),
            ),
            worst_pods: Some(pods.into_iter().take(MOST).map(pod_share).collect()),
            check_policies: None,
            status: status.map(|status| match score {
                Some(score) => status.compared(&tally, score),
                None => status,
            }),
            unknown,
            coverage,
        }
    }
}

fn pod_key(finding: &ReportFinding) -> PodKey<'_> {
    let ReportedObject { namespace, kind, name, file, document, .. } = &*finding.object;
    (namespace, kind, name, file.as_ref(), *document)
}

fn pod_share(((namespace, kind, name, file, _), share): (PodKey<'_>, Share<'_>)) -> PodShare {
    PodShare {
        namespace: Arc::clone(namespace),
        kind,
        name: Arc::clone(name),
        file: file.map(Arc::clone),
        violations_by_check: share.by_check,
        points: share.points,
    }
}

/// The findings by `key`, those that take the most points first.
fn shares<'a, K: Ord>(
    findings: &'a [ReportFinding],
    policy: &CompiledPolicy,
    key: impl Fn(&'a ReportFinding) -> K,
) -> Vec<(K, Share<'a>)> {
    let mut shares: BTreeMap<K, Share<'a>> = BTreeMap::new();
    for finding in findings {
        let share = shares.entry(key(finding)).or_default();
        share.pods.insert(pod_key(finding));
        *share.by_check.entry(finding.check.label()).or_default() += 1;
        let points = policy.points_of(&finding.check, finding.count.into());
        share.points = share.points.saturating_add(points);
    }
    let mut shares: Vec<_> = shares.into_iter().collect();
    let findings = |share: &Share<'_>| share.by_check.values().sum::<u64>();
    // Stable: equals stay in the order of their names.
    shares.sort_by_key(|(_, share)| std::cmp::Reverse((share.points, findings(share))));
    shares
}

/// The checks that run, by findings and, where it is known, what these count. `total` is that of
/// all checks and the pods, where both are known.
fn checks(
    policy: &CompiledPolicy,
    total: Option<(u64, u64)>,
    numbers: impl Fn(&CheckName) -> (u64, Option<u64>),
) -> Vec<CheckShare> {
    let registered = policy.enabled().map(|(check, enabled)| {
        (CheckName::Registered(check), enabled.severity, policy.weight(check))
    });
    let custom = policy.custom().into_iter().flat_map(CustomChecks::checks);
    let custom = custom.map(|check| {
        (CheckName::Custom(Arc::clone(check.name())), check.severity(), check.weight())
    });
    let mut checks: Vec<CheckShare> = registered
        .chain(custom)
        .map(|(check, severity, weight)| {
            let (findings, count) = numbers(&check);
            let points = count.map(|count| policy.points_of(&check, count));
            let after = |(total, pods): (u64, u64)| {
                points.map(|points| Score::of(total.saturating_sub(points), pods).value())
            };
            CheckShare {
                check,
                severity,
                findings,
                count,
                weight,
                points,
                score_after_fix: total.and_then(after),
            }
        })
        .collect();
    checks.sort_by_key(|share| std::cmp::Reverse((share.points, share.findings)));
    checks
}

/// `46 points over 6 pods = 7.66, so 100 − 7 = 93`.
fn arithmetic(points: u64, pods: u64, score: Score) -> String {
    let (Some(whole), Some(rest)) = (points.checked_div(pods), points.checked_rem(pods)) else {
        return "no pod is counted, so there is no score".to_owned();
    };
    let mean = match rest {
        0 => format!("= {whole}"),
        // Cut off, as the score is.
        rest => format!("= {whole}.{:02}", u128::from(rest) * 100 / u128::from(pods)),
    };
    let (points, pods) = (counted(points, "point"), counted(pods, "pod"));
    let (taken, most) = (100 - score.value(), if whole > 100 { ", at most 100" } else { "" });
    format!("{points} over {pods} {mean}{most}, so 100 − {taken} = {score}")
}
