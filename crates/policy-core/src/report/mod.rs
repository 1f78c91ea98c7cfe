//! The report model: what was found, sorted, as data. policyctl renders it; its JSON and YAML are
//! these types, serialized.

mod admission;
mod assessment;
mod changes;
mod clusters;
mod coverage;
mod custom;
mod denied;
mod explanation;
mod finding;
mod open_report;
mod preview;
mod remediations;
mod tested;
#[cfg(test)]
mod tests;
mod workloads;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, schema_for};
use serde::{Serialize, Serializer};

pub use admission::{AdmissionOutcome, AdmissionReport, AdmissionSummary, AdmittedObject};
pub use assessment::{Assessment, ManifestLocation};
pub use changes::{BaselineCounts, ChangedFinding, Changes, NotComparable, StoredReport};
pub use clusters::{
    AssessedCluster, ClusterComparison, ClusterOutcome, ClusterState, ClusterSummary,
    ClustersReport, Difference, DifferenceKind, DifferenceState, ReadCluster,
};
pub use coverage::{ClusterPart, Coverage, CoverageCounter, CoverageNote, NotRead};
pub use denied::{DeniedObject, DeniedObjects};
pub use explanation::{
    Basis, CheckPolicies, CheckShare, Explanation, OperatorStatus, PodShare, PolicySetting,
    WorkloadShare, check_policies,
};
pub use finding::{ExemptedReportFinding, ReportFinding, ReportedObject};
pub use open_report::{
    CheckedWorkload, MANAGED_BY, OpenReport, OpenReportResult, OpenReportSummary, ReportedBy,
};
pub use preview::{
    AdmissionPreview, ChangedFindings, CheckChange, CheckSide, Comparison, CurrentPolicy,
    DeniedPod, DeniedWorkload, NamespacePods, PlannedAction, PlannedWorkload, PolicyPreview,
    Preview, RemediationPreview, WorkloadChange,
};
pub use remediations::{
    LiveWorkload, RemediatingCondition, RemediatingPolicy, RemediationReport, ReportedRemediation,
};
pub use tested::{
    JudgedObject, NoTime, PolicyTestReport, TestFinding, TestResult, TestSummary, TestedExemptions,
    TestedFile, TestedObject, actual_verdicts,
};

pub use workloads::{ByWorkload, WorkloadFinding, WorkloadFindings};

use crate::api::ViolationsBySeverity;
use crate::checks::{CheckId, CheckName};
use crate::classification::Classification;
use crate::manifest::PolicyTest;
use crate::policy::CompiledPolicy;
use crate::score::Tally;
use crate::severity::Severity;

/// The version of the JSON output; it changes when a field is removed or changes its meaning.
pub const SCHEMA_VERSION: &str = "1";

/// What was found, where, and what could not be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Where the pods came from.
    pub source: Source,
    /// The policy that judged: `the built-in profile`, `bundle NAME`, a file, or the namespace and
    /// name of a policy of the cluster.
    pub policy: String,
    /// All pods together.
    pub summary: Summary,
    /// The numbers of each namespace that has pods, by name.
    pub namespaces: Vec<NamespaceSummary>,
    /// Every finding, by namespace, kind, name, position, check and container.
    pub findings: Vec<ReportFinding>,
    /// The findings that are known and accepted, in the same order; at most 10 000.
    pub exempted: Vec<ExemptedReportFinding>,
    /// What was read, and what was not.
    pub coverage: Coverage,
    /// The number of findings that are counted, but not listed: a report lists a million at most.
    pub findings_cut: u64,
    /// What an earlier report knows of the findings; `None` where none was given.
    pub baseline: Option<BaselineCounts>,
    /// What admission would deny; `None` where that was not judged.
    pub denied: Option<DeniedObjects>,
    /// The custom checks that judged the pods of a namespace, all of them, and found nothing.
    pub passed_custom: BTreeMap<Arc<str>, Vec<CheckName>>,
}

/// What was found, where, and what could not be read.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Report", title = "policyctl analyze")]
struct Document<'a> {
    /// The version of this format.
    #[schemars(extend("const" = SCHEMA_VERSION))]
    schema_version: &'static str,
    /// Where the pods came from.
    source: &'a Source,
    /// The policy that judged: `the built-in profile`, `bundle NAME`, a file, or the namespace and
    /// name of a policy of the cluster.
    policy: &'a str,
    /// All pods together.
    summary: &'a Summary,
    /// The numbers of each namespace that has pods, by name.
    namespaces: &'a [NamespaceSummary],
    /// Every finding, by namespace, kind, name, position, check and container.
    findings: &'a [ReportFinding],
    /// The same findings, those of the pods of one workload as one.
    #[schemars(with = "Vec<WorkloadFindings<'a>>")]
    workloads: ByWorkload<'a>,
    /// The findings that are known and accepted, in the same order as `findings`; left out where
    /// there are none.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schemars(default)]
    exempted: &'a [ExemptedReportFinding],
    /// What was read, and what was not.
    coverage: &'a Coverage,
    /// What an earlier report knows of the findings; left out where none was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    baseline: Option<BaselineCounts>,
    /// What admission would deny; left out without `--fail-on denied`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    denied: Option<&'a DeniedObjects>,
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { source, policy, summary, namespaces, findings, exempted, coverage, .. } = self;
        let baseline = self.baseline;
        let workloads = self.workloads();
        let schema_version = SCHEMA_VERSION;
        Document {
            schema_version,
            source,
            policy,
            summary,
            namespaces,
            findings,
            workloads,
            exempted,
            coverage,
            baseline,
            denied: self.denied.as_ref(),
        }
        .serialize(serializer)
    }
}

impl Report {
    /// The listed findings by workload.
    #[must_use]
    pub fn workloads(&self) -> ByWorkload<'_> {
        ByWorkload::of(&self.findings)
    }
}

/// Where the pods of a report came from.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Source {
    /// Manifests.
    Files {
        /// The files, folders and patterns as they were given; `-` is standard input.
        paths: Vec<String>,
    },
    /// The pods of a live cluster.
    Cluster {
        /// The context of the kubeconfig.
        context: String,
        /// The URL of the API server.
        server: String,
        /// The namespace that was asked for; `null` for all namespaces.
        namespace: Option<String>,
    },
}

impl Source {
    fn is_of_files(&self) -> bool {
        matches!(self, Self::Files { .. })
    }
}

/// Where the policies came from.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum PolicySource {
    /// One policy for every namespace.
    Given {
        /// `the built-in profile`, the bundle, or the policy's file.
        name: String,
    },
    /// The policies of the objects' namespaces in a cluster.
    Cluster {
        /// The context of the kubeconfig.
        context: String,
        /// The URL of the API server.
        server: String,
    },
}

/// The numbers of a set of pods.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The number of pods that were counted; a pod template counts as one.
    pub pods: u64,
    /// Health from 0 (worst) to 100; 100 where there are no pods. `null` where no pod was read
    /// because something could not be read: `coverage.failed` says what and why.
    #[schemars(range(max = 100))]
    pub score: Option<u8>,
    /// The class of the score; `null` where there is no score.
    pub classification: Option<Classification>,
    /// The number of findings, without exempted ones.
    pub total_violations: u64,
    /// The number of findings that are known and accepted by an exemption of the policy; left out
    /// where there are none.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(default)]
    pub exempted_violations: u64,
    /// The number of pods without any finding but exempted ones.
    pub compliant_pods: u64,
    /// The sum of the restarts of each container over the limit, at most 5 for each.
    pub restart_severity: u64,
    /// The number of findings of each check that ran, by the check's id.
    pub violations_by_check: BTreeMap<&'static str, u64>,
    /// The number of findings of each severity.
    pub violations_by_severity: ViolationsBySeverity,
    /// The checks of the policy that could not be judged where the pods came from.
    #[serde(skip)]
    pub not_judged: Vec<CheckId>,
}

/// The numbers of the pods of a namespace.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct NamespaceSummary {
    /// The name.
    pub namespace: Arc<str>,
    /// The numbers.
    #[serde(flatten)]
    pub summary: Summary,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
pub(crate) fn as_text<S: serde::Serializer>(
    check: &CheckId,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(check.as_str())
}

impl Summary {
    /// The numbers of a tally that was counted under the policy.
    #[must_use]
    pub fn of(tally: &Tally, policy: &CompiledPolicy) -> Self {
        let score = tally.score(policy);
        let mut by_severity = ViolationsBySeverity::default();
        let registered =
            policy.enabled().map(|(check, enabled)| (enabled.severity, tally.findings(check)));
        let custom = Severity::ALL.map(|severity| (severity, tally.custom_findings_of(severity)));
        for (severity, findings) in registered.chain(custom) {
            let number = match severity {
                Severity::Critical => &mut by_severity.critical,
                Severity::High => &mut by_severity.high,
                Severity::Medium => &mut by_severity.medium,
                Severity::Low => &mut by_severity.low,
            };
            *number += i64::try_from(findings).unwrap_or(i64::MAX);
        }
        // Without any, it may be that nobody has judged them.
        let custom = Some((CheckName::CUSTOM_LABEL, tally.custom_findings()));
        let custom = custom.filter(|(_, findings)| *findings > 0);
        Self {
            pods: tally.pods(),
            score: Some(score.value()),
            classification: Some(score.classification()),
            total_violations: tally.total_findings(),
            exempted_violations: tally.total_exempted(),
            compliant_pods: tally.compliant_pods(),
            restart_severity: CheckId::all()
                .filter(|check| check.meta().counts_restarts)
                .map(|check| tally.count(check))
                .sum(),
            violations_by_check: policy
                .enabled()
                .map(|(check, _)| (check.as_str(), tally.findings(check)))
                .chain(custom)
                .collect(),
            violations_by_severity: by_severity,
            not_judged: Vec::new(),
        }
    }

    /// The same without these checks, which could not be judged.
    fn without(mut self, checks: &[CheckId]) -> Self {
        self.violations_by_check.retain(|id, _| !checks.iter().any(|check| check.as_str() == *id));
        checks.clone_into(&mut self.not_judged);
        self
    }

    /// The same without score and class where nothing could be read. The formula gives 100 without
    /// pods, which would say that all is well.
    fn unless(mut self, is_unread: bool) -> Self {
        if is_unread {
            (self.score, self.classification) = (None, None);
        }
        self
    }

    /// How severe the worst finding is; `None` without findings.
    #[must_use]
    pub fn worst_severity(&self) -> Option<Severity> {
        self.by_severity().find(|(_, number)| *number > 0).map(|(severity, _)| severity)
    }

    /// The number of findings of each severity, the worst first.
    pub fn by_severity(&self) -> impl Iterator<Item = (Severity, i64)> {
        let ViolationsBySeverity { critical, high, medium, low } = self.violations_by_severity;
        Severity::ALL.into_iter().zip([critical, high, medium, low])
    }
}

/// The JSON schemas of the reports and of test files, by the name of their file in docs/.
#[must_use]
pub fn json_schemas() -> [(&'static str, Schema); 9] {
    [
        ("admission", schema_for!(AdmissionReport)),
        ("analysis", schema_for!(Document<'_>)),
        ("changes", schema_for!(Changes)),
        ("clusters", schema_for!(ClustersReport)),
        ("explanation", schema_for!(Explanation)),
        ("policy-test", schema_for!(PolicyTest)),
        ("preview", schema_for!(Preview)),
        ("remediations", schema_for!(RemediationReport)),
        ("test", schema_for!(PolicyTestReport)),
    ]
}
