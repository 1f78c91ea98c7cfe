//! `ClusterDevOpsPolicy`: the rules for the workloads of many namespaces.

use kube_derive::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::policy::DevOpsPolicySpec;
use super::selector::LabelSelector;
use super::status::DevOpsPolicyStatus;

/// The most namespaces that a cluster policy excludes by name.
pub const MAX_EXCLUDED: usize = 256;
/// The greatest priority; the least is its negative.
pub const MAX_PRIORITY: i32 = 1_000;

/// The rules for the workloads of the namespaces that are selected, and which these are. Every field
/// is optional; a check whose field is omitted does not run.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "devops.stochastic.io",
    version = "v1",
    kind = "ClusterDevOpsPolicy",
    plural = "clusterdevopspolicies",
    shortname = "cdop",
    category = "governance",
    doc = "A ClusterDevOpsPolicy has the rules for the workloads of the namespaces that it selects. It applies beside the policies of a namespace, which cannot weaken it.",
    status = "DevOpsPolicyStatus",
    derive = "Default",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.enforcementMode"),
    printcolumn(
        name = "Admission",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Admission\")].reason"
    ),
    printcolumn(name = "Score", type_ = "integer", json_path = ".status.healthScore"),
    printcolumn(name = "Class", type_ = "string", json_path = ".status.classification"),
    printcolumn(name = "Pods", type_ = "integer", json_path = ".status.podsEvaluated"),
    printcolumn(name = "Violations", type_ = "integer", json_path = ".status.totalViolations"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".spec.priority", priority = 1),
    printcolumn(
        name = "Last evaluated",
        type_ = "date",
        json_path = ".status.lastEvaluated",
        priority = 1
    ),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
pub struct ClusterDevOpsPolicySpec {
    /// What a namespaced policy has too.
    #[serde(flatten)]
    pub rules: DevOpsPolicySpec,

    /// The namespaces to which the policy applies, by their labels. System namespaces and those
    /// that configuration excludes are never selected. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,

    /// The names of namespaces to which the policy does not apply, whatever their labels are.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_EXCLUDED), inner(length(min = 1, max = 63)))]
    #[x_kube(validation = Rule::new("self.all(name, !format.dns1123Label().validate(name).hasValue())").message("each must be the name of a namespace, without wildcards"))]
    pub excluded_namespaces: Vec<String>,

    /// The order among cluster policies, the highest first: of messages, of which are judged where
    /// there are too many, and of whose defaults enforce mode fills in. All policies apply,
    /// whatever their priority is. Range: -1000 to 1000. Default: 0.
    #[serde(default)]
    #[schemars(range(min = -MAX_PRIORITY, max = MAX_PRIORITY))]
    pub priority: i32,
}
