//! Reports of openreports.io/v1alpha1, which viewers such as Policy Reporter show:
//! <https://github.com/openreports/reports-api/blob/main/docs/api-docs.md>.
//!
//! A result for each workload and check. What passes is counted and not listed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::checks::CheckName;
use crate::severity::Severity;
use crate::text::{printable, truncated};
use crate::workload::Workload;

/// The label that says who manages an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

const API_VERSION: &str = "openreports.io/v1alpha1";
const CATEGORY: &str = "Reliability";
/// The longest message, in bytes.
const LONGEST_MESSAGE: usize = 1_000;
/// By this property Policy Reporter tells results apart. Without it, it takes the name of the resource
/// or scope, the policy, the rule and the message, and shows one of two workloads with the same finding:
/// <https://github.com/kyverno/policy-reporter/blob/main/pkg/report/result/id_generator.go>.
const RESULT_ID: &str = "resultID";

/// A Report.
#[derive(Serialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OpenReport {
    api_version: &'static str,
    kind: &'static str,
    metadata: ObjectMeta,
    source: String,
    configuration: Configuration,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<ObjectReference>,
    summary: OpenReportSummary,
    results: Vec<OpenReportResult>,
}

#[derive(Serialize, Clone, Debug, PartialEq)]
struct Configuration {
    limits: Limits,
}

#[derive(Serialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Limits {
    max_results: usize,
}

/// How many results a Report has.
#[derive(Serialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenReportSummary {
    pass: usize,
    fail: usize,
    warn: usize,
    error: usize,
    skip: usize,
}

impl OpenReportSummary {
    /// The numbers of these results, and of the checks that found nothing.
    #[must_use]
    pub fn of(passing: usize, results: &[OpenReportResult]) -> Self {
        let count = |outcome| results.iter().filter(|result| result.result == outcome).count();
        Self {
            pass: passing,
            fail: count(Outcome::Fail),
            warn: 0,
            error: count(Outcome::Error),
            skip: count(Outcome::Skip),
        }
    }
}

/// A result of a Report.
#[derive(Serialize, Clone, Debug, PartialEq)]
pub struct OpenReportResult {
    policy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Cow<'static, str>>,
    category: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<Severity>,
    result: Outcome,
    scored: bool,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resources: Vec<ObjectReference>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    properties: BTreeMap<&'static str, String>,
}

#[derive(Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Fail,
    Error,
    Skip,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Error => "error",
            Self::Skip => "skip",
        }
    }
}

/// Who writes Reports, and by which policy.
#[derive(Clone, Copy, Debug)]
pub struct ReportedBy<'a> {
    /// `policyctl` or `policy-operator`.
    pub writer: &'a str,
    /// The policy, as results name it.
    pub policy: &'a str,
}

/// One check on one workload.
#[derive(Clone, Copy, Debug)]
pub struct CheckedWorkload<'a> {
    /// The namespace of the workload.
    pub namespace: &'a str,
    /// The workload.
    pub workload: &'a Workload,
    /// The check.
    pub check: &'a CheckName,
    /// How severe its findings are.
    pub severity: Severity,
}

impl ReportedBy<'_> {
    /// The result of a check that found something, with the texts of what it found; `pods`: in how many
    /// pods, where that is to be said.
    #[must_use]
    pub fn failed(
        self,
        on: CheckedWorkload<'_>,
        texts: &[String],
        pods: Option<u64>,
    ) -> OpenReportResult {
        let mut result = self.result(on, Outcome::Fail, texts);
        result.properties.extend(pods.map(|pods| ("pods", pods.to_string())));
        result
    }

    /// The result of a check whose findings are accepted, with their texts and the reason.
    #[must_use]
    pub fn skipped(self, on: CheckedWorkload<'_>, texts: &[String]) -> OpenReportResult {
        self.result(on, Outcome::Skip, texts)
    }

    /// The result of a policy that nothing can be judged by.
    #[must_use]
    pub fn error(self, message: &str) -> OpenReportResult {
        OpenReportResult {
            policy: printable(self.policy).into_owned(),
            rule: None,
            category: CATEGORY,
            severity: None,
            result: Outcome::Error,
            scored: false,
            message: bounded(message),
            resources: Vec::new(),
            properties: BTreeMap::new(),
        }
    }

    fn result(
        self,
        on: CheckedWorkload<'_>,
        outcome: Outcome,
        texts: &[String],
    ) -> OpenReportResult {
        let CheckedWorkload { namespace, workload, check, severity } = on;
        OpenReportResult {
            rule: Some(check.as_str()),
            severity: Some(severity),
            result: outcome,
            scored: outcome == Outcome::Fail,
            resources: vec![ObjectReference {
                api_version: api_version(&workload.group).map(str::to_owned),
                kind: Some(workload.kind.to_string()),
                name: Some(workload.name.to_string()),
                namespace: Some(namespace.to_owned()),
                ..ObjectReference::default()
            }],
            properties: BTreeMap::from([(RESULT_ID, self.id(on, outcome))]),
            ..self.error(&texts.join("; "))
        }
    }

    /// Identifies a result among those of all Reports. It stays the same while the message changes.
    fn id(self, on: CheckedWorkload<'_>, outcome: Outcome) -> String {
        let CheckedWorkload { namespace, workload: Workload { group, kind, name }, check, .. } = on;
        let mut hash = Sha256::new();
        let check = check.as_str();
        let place = [namespace, group, kind, name];
        for text in [self.writer, self.policy, &check, outcome.as_str()].into_iter().chain(place) {
            hash.update(text);
            // A separator that no name contains.
            hash.update([0]);
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hash.finalize()[..8]);
        format!("{:016x}", u64::from_be_bytes(first))
    }

    /// A Report of at most so many results. `metadata` has its name and namespace, and what else is to
    /// be in it; `scope`: the namespace that it is about, where it is one.
    #[must_use]
    pub fn report(
        self,
        mut metadata: ObjectMeta,
        scope: Option<&str>,
        summary: OpenReportSummary,
        results: Vec<OpenReportResult>,
        max_results: usize,
    ) -> OpenReport {
        let labels = metadata.labels.get_or_insert_default();
        labels.insert(MANAGED_BY.to_owned(), self.writer.to_owned());
        let scope = scope.map(|namespace| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Namespace".to_owned()),
            name: Some(namespace.to_owned()),
            ..ObjectReference::default()
        });
        OpenReport {
            api_version: API_VERSION,
            kind: "Report",
            metadata,
            source: self.writer.to_owned(),
            configuration: Configuration { limits: Limits { max_results } },
            scope,
            summary,
            results,
        }
    }
}

fn bounded(message: &str) -> String {
    truncated(printable(message), usize::MAX, LONGEST_MESSAGE).into_owned()
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::workload::ObjectKind;

    /// Policy Reporter shows one result of each id.
    #[test]
    fn no_two_results_have_the_same_id_and_a_changed_message_keeps_it() {
        let [web, db] = ["web", "db"].map(|name| Workload::of_kind(ObjectKind::Deployment, name));
        let set = Workload::of_kind(ObjectKind::StatefulSet, "web");
        let [tag, probe] =
            ["latest-tag", "missing-liveness"].map(|id| id.parse::<CheckName>().unwrap());
        let mut ids = BTreeSet::new();
        for policy in ["strict", "ClusterDevOpsPolicy/strict"] {
            let by = ReportedBy { writer: "policy-operator", policy };
            for namespace in ["shop", "bank"] {
                for workload in [&web, &db, &set] {
                    for check in [&tag, &probe] {
                        let severity = Severity::High;
                        let on = CheckedWorkload { namespace, workload, check, severity };
                        let texts = ["one", "two"].map(|text| [text.to_owned()]);
                        let id = |result: OpenReportResult| result.properties[RESULT_ID].clone();
                        let [one, two] = texts.each_ref().map(|text| id(by.failed(on, text, None)));
                        assert_eq!(one, two);
                        assert!(ids.insert(one), "{on:?}");
                        assert!(ids.insert(id(by.skipped(on, &texts[0]))), "{on:?}");
                    }
                }
            }
        }
    }
}
