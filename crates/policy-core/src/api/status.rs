//! `DevOpsPolicy.status`: the result of the last evaluation.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::remediation::RemediationStatus;
use crate::classification::Classification;

/// The result of the last evaluation of the policy by the operator. Texts have no running seconds or
/// ages, so that an unchanged verdict is an unchanged status.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DevOpsPolicyStatus {
    /// The generation of the policy that this status belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Health of the namespace under this policy, 0 (worst) to 100; 100 where there are no pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub health_score: Option<i32>,
    /// The class of the score: Healthy from 80, Stable from 60, Degraded from 40, else Critical.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
    /// Whether the score is 80 or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy: Option<bool>,
    /// The verdict in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How many pods were counted; pods that ended are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods_evaluated: Option<i64>,
    /// How many findings there are, without exempted ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_violations: Option<i64>,
    /// The findings as sentences, most severe first, those of the pods of one workload as one, at
    /// most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub violations: Vec<String>,
    /// How many findings are known and accepted by an exemption of the policy. Left out for a policy
    /// without exemptions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exempted_violations: Option<i64>,
    /// These findings as sentences with the reason, most severe first, those of the pods of one
    /// workload as one; at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub exempted: Vec<String>,
    /// What to know about workloads beside their findings, such as a rollout that is stuck, at most
    /// 20. A note has no weight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub notes: Vec<String>,
    /// The number of findings by check, keyed by the check's id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub violations_by_check: BTreeMap<String, i64>,
    /// The number of findings by severity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub violations_by_severity: Option<ViolationsBySeverity>,
    /// How many remediations were applied under this policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remediations_applied: Option<i64>,
    /// How many remediations failed under this policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remediations_failed: Option<i64>,
    /// The workloads that carry a remediation of this policy, as `Kind/name`, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub remediated_workloads: Vec<String>,
    /// What enforce mode did and did not do with the workloads of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remediation: Option<RemediationStatus>,
    /// When the policy was last evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_evaluated: Option<Time>,
    /// `Ready` (the policy is understood and evaluated), `Healthy` (the score is 80 or more),
    /// `Admission` (what the webhook denies under this policy) and, in enforce mode,
    /// `Remediating`; `Exemptions` (whether each of them is in use) where the policy has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The number of findings of each severity.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViolationsBySeverity {
    /// Findings of severity critical.
    #[serde(default)]
    pub critical: i64,
    /// Findings of severity high.
    #[serde(default)]
    pub high: i64,
    /// Findings of severity medium.
    #[serde(default)]
    pub medium: i64,
    /// Findings of severity low.
    #[serde(default)]
    pub low: i64,
}
