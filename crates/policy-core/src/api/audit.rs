//! `PolicyAuditResult`: a recorded verdict.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::classification::Classification;
use crate::severity::Severity;

/// A verdict of a policy at the time when it changed. Immutable.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "devops.stochastic.io",
    version = "v1",
    kind = "PolicyAuditResult",
    plural = "policyauditresults",
    shortname = "par",
    category = "governance",
    namespaced,
    doc = "A PolicyAuditResult records the verdict of a policy at the moment when it changed. It is owned by its policy and never changes.",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.policyName"),
    printcolumn(name = "Score", type_ = "integer", json_path = ".spec.healthScore"),
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.classification"),
    printcolumn(name = "Violations", type_ = "integer", json_path = ".spec.totalViolations"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
#[x_kube(validation = Rule::new("self == oldSelf").message("an audit result cannot be changed"))]
pub struct PolicyAuditResultSpec {
    /// The name of the policy, which is in the namespace of this object; of a cluster policy
    /// `ClusterDevOpsPolicy/` and its name.
    #[schemars(length(min = 1, max = 273))]
    pub policy_name: String,
    /// The name of the cluster, where one is configured. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub cluster_name: Option<String>,
    /// The time of the verdict.
    pub timestamp: Time,
    /// Health of the namespace under the policy, 0 (worst) to 100.
    #[schemars(range(min = 0, max = 100))]
    pub health_score: i32,
    /// The class of the score.
    pub classification: Classification,
    /// How many pods were counted.
    #[schemars(range(min = 0))]
    pub total_pods: i64,
    /// How many findings there are, also those that `violations` leaves out.
    #[schemars(range(min = 0))]
    pub total_violations: i64,
    /// The findings, most severe first, those of the pods of one workload as one; at most 100 and
    /// 32 KiB.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub violations: Vec<AuditViolation>,
    /// How many findings are known and accepted by an exemption of the policy. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub exempted_violations: i64,
    /// These findings, in the same order, with the reason; at most 50, and 32 KiB together with
    /// `violations`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub exempted: Vec<AuditViolation>,
    /// Whether `violations` leaves findings out. Default: false.
    #[serde(default)]
    pub truncated: bool,
}

/// A finding of the pods of one workload in an audit result.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AuditViolation {
    /// The namespace of the pod; left out where it is that of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// The object to change: the controller of the pods, or the pod itself where nothing controls
    /// it. Default: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<AuditWorkload>,
    /// How many pods have the finding. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub pods: i64,
    /// The name of the pod; of several, the first by name.
    #[schemars(length(max = 253))]
    pub pod_name: String,
    /// The name of the container; left out where the finding is about the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub container_name: Option<String>,
    /// What was found, such as `latest_tag`.
    #[schemars(length(max = 64))]
    pub violation_type: String,
    /// How severe the finding is under the policy.
    pub severity: Severity,
    /// The finding as a sentence.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Why the finding is accepted; only of an exempted one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
}

/// The kind and name of an object in the namespace of a finding.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct AuditWorkload {
    /// The kind, such as `Deployment`.
    #[schemars(length(max = 253))]
    pub kind: String,
    /// The name.
    #[schemars(length(max = 253))]
    pub name: String,
}

const fn one() -> i64 {
    1
}
