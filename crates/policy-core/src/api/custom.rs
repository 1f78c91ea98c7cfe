//! Checks of a policy's own, as expressions.

use kube_derive::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::severity::Severity;

/// The most custom checks of a policy.
pub const MAX_CUSTOM: usize = 16;
/// The points of a finding of a custom check, unless it sets others.
pub const CUSTOM_WEIGHT: i32 = 3;

/// A check in CEL, the expression language of Kubernetes, as in a `ValidatingAdmissionPolicy`: the
/// pod is in order where the expression is true, and has a finding where it is false. Its id is
/// `custom/NAME`.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
pub struct CustomCheck {
    /// The name: lower-case letters, digits and `-`. Findings are of the check `custom/NAME`, which
    /// exemptions name too. Required.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("must be lower-case letters, digits and `-` between them"))]
    pub name: String,

    /// The expression, which is true for a pod in order: `object` has `metadata` (name,
    /// generateName, namespace, labels, annotations) and `spec` of the pod, or of a workload's pod
    /// template; `namespaceObject.metadata` has name and labels. Only what means the same in every
    /// place is supported; an expression with anything else is refused in a condition of the
    /// policy, and the other checks go on. A pod for which it has no result, as where a field is
    /// missing, has no finding; that is reported. Required.
    #[schemars(length(min = 1, max = 2048))]
    pub expression: String,

    /// An expression for the text of a finding, a string. Default: that the check failed, with its
    /// name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub message_expression: Option<String>,

    /// How severe a finding is. Default: medium.
    #[serde(default)]
    pub severity: Severity,

    /// Points for a pod for which the expression is false, 0 to 100. Default: 3.
    #[serde(default = "CustomCheck::default_weight")]
    #[schemars(range(min = 0, max = 100))]
    pub weight: i32,
}

impl CustomCheck {
    fn default_weight() -> i32 {
        CUSTOM_WEIGHT
    }
}
