//! `DevOpsPolicy`: the rules for the workloads of a namespace.

use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::custom::{CustomCheck, MAX_CUSTOM};
use super::exemption::Exemption;
use super::remediation::Remediation;
use super::status::DevOpsPolicyStatus;
use crate::quantity::Quantity;
use crate::severity::Severity;

/// The rules for the workloads of a namespace. Every field is optional; a check whose field is
/// omitted does not run.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "devops.stochastic.io",
    version = "v1",
    kind = "DevOpsPolicy",
    plural = "devopspolicies",
    shortname = "dop",
    category = "governance",
    namespaced,
    doc = "A DevOpsPolicy has the rules for the workloads of its namespace: which checks run, how severe their findings are, and whether missing settings are filled in.",
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
    printcolumn(
        name = "Last evaluated",
        type_ = "date",
        json_path = ".status.lastEvaluated",
        priority = 1
    ),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct DevOpsPolicySpec {
    /// Flag containers whose image is not pinned: it has no digest, and its tag is missing or
    /// `latest`. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forbid_latest_tag: Option<bool>,

    /// Flag containers without a liveness probe. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_liveness_probe: Option<bool>,

    /// Flag containers without a readiness probe. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_readiness_probe: Option<bool>,

    /// Flag containers without a CPU request, memory request or memory limit; a CPU limit is not
    /// demanded. Default: true in enforce mode with defaultResources, else false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_resources: Option<bool>,

    /// Flag containers that restarted more often than this. Unit: restarts. Default: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub max_restart_count: Option<i32>,

    /// How long a restart counts for maxRestartCount: a container whose last end is known and
    /// longer ago is not flagged. Unit: seconds. Default: restarts count for the life of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub restart_window: Option<i32>,

    /// Flag pods that are Pending for longer than this, counted from their creation, or from when
    /// they got a node where a scheduling gate held them before.
    /// Unit: seconds. Default: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub forbid_pending_duration: Option<i32>,

    /// Flag pods that are Running but have not been ready for longer than this, counted from the
    /// last change of their condition Ready. Unit: seconds. Default: not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub forbid_not_ready_duration: Option<i32>,

    /// Flag workloads that a pod disruption budget lets nobody drain: it allows no disruption, and not
    /// because pods are unhealthy. Found by the operator and by policyctl in a cluster. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forbid_blocked_drain: Option<bool>,

    /// Whether the operator may change workloads: `audit` never changes workloads; `enforce` fills
    /// missing probes and resources into Deployments, StatefulSets and DaemonSets. What the
    /// admission webhook denies is set by admission, in both modes. Default: audit.
    #[serde(default)]
    pub enforcement_mode: EnforcementMode,

    /// The probe that enforce mode fills in. Default: none, so probes are only reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_probe: Option<DefaultProbe>,

    /// The requests and limits that enforce mode fills in. Default: none, so missing ones are
    /// only reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_resources: Option<DefaultResources>,

    /// How severe the findings of a check are. Default: medium for every check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity_overrides: Option<SeverityOverrides>,

    /// How many points a finding of a check takes from the score. Default: latestTag 5,
    /// missingLiveness 3, missingReadiness 2, missingResources 0, highRestarts 6, pending 4,
    /// notReady 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,

    /// What the admission webhook does under this policy. Independent of enforcementMode, which
    /// is about changing workloads. Default: deny findings of severity high and above, warn below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,

    /// How enforce mode changes workloads. Default: method auto, at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remediation: Option<Remediation>,

    /// Findings that are known and accepted, each with its reason: they are listed as exempted, and
    /// neither lower the score nor deny anything. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub exemptions: Vec<Exemption>,

    /// Checks of your own, as expressions in CEL. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_CUSTOM))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub custom: Vec<CustomCheck>,
}

/// Whether the operator may change workloads under a policy.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum EnforcementMode {
    /// Report findings; never change workloads.
    #[default]
    Audit,
    /// Report findings and fill in what is missing.
    Enforce,
}

/// A TCP probe, filled in as liveness or readiness probe where one is missing.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DefaultProbe {
    /// The port to connect to, where the container declares it or declares no TCP port.
    /// Range: 1 to 65535. Required.
    #[schemars(range(min = 1, max = 65535))]
    pub tcp_port: i32,

    /// How long after the start of the container the first probe is sent. Unit: seconds.
    /// Default: 5.
    #[serde(default = "DefaultProbe::default_initial_delay")]
    #[schemars(range(min = 0, max = 86_400))]
    pub initial_delay_seconds: i32,

    /// How often the probe is sent. Unit: seconds. Default: 10.
    #[serde(default = "DefaultProbe::default_period")]
    #[schemars(range(min = 1, max = 86_400))]
    pub period_seconds: i32,
}

impl DefaultProbe {
    fn default_initial_delay() -> i32 {
        5
    }

    fn default_period() -> i32 {
        10
    }
}

/// Requests and limits, filled in where a container has none.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
#[x_kube(validation = Rule::new(
    "!has(self.cpuRequest) || !has(self.cpuLimit) || !isQuantity(string(self.cpuRequest)) || !isQuantity(string(self.cpuLimit)) || quantity(string(self.cpuRequest)).compareTo(quantity(string(self.cpuLimit))) <= 0"
).message("cpuRequest must not be above cpuLimit").field_path(".cpuRequest"))]
#[x_kube(validation = Rule::new(
    "!has(self.memoryRequest) || !has(self.memoryLimit) || !isQuantity(string(self.memoryRequest)) || !isQuantity(string(self.memoryLimit)) || quantity(string(self.memoryRequest)).compareTo(quantity(string(self.memoryLimit))) <= 0"
).message("memoryRequest must not be above memoryLimit").field_path(".memoryRequest"))]
pub struct DefaultResources {
    /// CPU request. Unit: cores as a quantity, such as `100m`; a fraction needs quotes, `"0.5"`.
    /// Default: none is filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("isQuantity(string(self)) && !quantity(string(self)).isLessThan(quantity('0'))").message("must be a quantity of 0 or more, such as 100m"))]
    pub cpu_request: Option<Quantity>,

    /// CPU limit. Unit: cores as a quantity, such as `500m`; a fraction needs quotes, `"0.5"`.
    /// Default: none is filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("isQuantity(string(self)) && !quantity(string(self)).isLessThan(quantity('0'))").message("must be a quantity of 0 or more, such as 500m"))]
    pub cpu_limit: Option<Quantity>,

    /// Memory request. Unit: bytes as a quantity, such as `128Mi`. Default: none is filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("isQuantity(string(self)) && !quantity(string(self)).isLessThan(quantity('0'))").message("must be a quantity of 0 or more, such as 128Mi"))]
    pub memory_request: Option<Quantity>,

    /// Memory limit. Unit: bytes as a quantity, such as `256Mi`. Default: none is filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("isQuantity(string(self)) && !quantity(string(self)).isLessThan(quantity('0'))").message("must be a quantity of 0 or more, such as 256Mi"))]
    pub memory_limit: Option<Quantity>,
}

/// How severe the findings of each check are. Severities never change the score.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SeverityOverrides {
    /// Severity of images that are not pinned. Default: medium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_tag: Option<Severity>,
    /// Severity of missing liveness probes. Default: medium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_liveness: Option<Severity>,
    /// Severity of missing readiness probes. Default: medium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_readiness: Option<Severity>,
    /// Severity of missing requests and limits. Default: medium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_resources: Option<Severity>,
    /// Severity of frequent restarts. Default: medium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_restarts: Option<Severity>,
    /// Severity of pods that stay Pending. Default: medium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Severity>,
    /// Severity of running pods that are not ready. Default: medium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ready: Option<Severity>,
    /// Severity of drains that a budget blocks. Default: medium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_blocked: Option<Severity>,
}

/// How many points a finding of each check takes from the score; 0 reports without scoring.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Weights {
    /// Points for an image that is not pinned, 0 to 100. Default: 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub latest_tag: Option<i32>,
    /// Points for a missing liveness probe, 0 to 100. Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub missing_liveness: Option<i32>,
    /// Points for a missing readiness probe, 0 to 100. Default: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub missing_readiness: Option<i32>,
    /// Points for missing requests or limits of a container, 0 to 100. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub missing_resources: Option<i32>,
    /// Points for each restart (at most 5 a container) of a container over the limit, 0 to 100.
    /// Default: 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub high_restarts: Option<i32>,
    /// Points for a pod that stays Pending, 0 to 100. Default: 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub pending: Option<i32>,
    /// Points for a running pod that is not ready, 0 to 100. Default: 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub not_ready: Option<i32>,
}

/// What the admission webhook does under a policy.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(default, rename_all = "camelCase")]
pub struct Admission {
    /// `deny` denies findings at or above denySeverity and warns below it; `warn` only warns, for a
    /// staged start; `disabled` does neither. `off` is the same as `disabled` and needs quotes,
    /// because a bare off is a boolean in YAML. Default: deny.
    pub mode: AdmissionMode,

    /// The severity from which a finding denies. Default: high.
    pub deny_severity: Severity,

    /// Whether pods that the cluster's own workload controllers create may be denied. `allow` allows
    /// them and records the findings in an audit annotation, because their template was judged
    /// when it was applied; `deny` judges them like any other pod. Default: allow.
    pub controller_pods: ControllerPods,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            mode: AdmissionMode::default(),
            deny_severity: Severity::High,
            controller_pods: ControllerPods::default(),
        }
    }
}

/// What a finding at admission leads to.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum AdmissionMode {
    /// Deny from the severity on, warn below it.
    #[default]
    Deny,
    /// Only warn.
    Warn,
    /// Neither deny nor warn.
    Disabled,
    /// The same as `disabled`. It needs quotes in YAML, where `off` is a boolean.
    Off,
}

impl AdmissionMode {
    /// Whether findings have no consequence.
    #[must_use]
    pub const fn is_disabled(self) -> bool {
        matches!(self, Self::Disabled | Self::Off)
    }
}

/// Whether pods made by the cluster's own workload controllers may be denied.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ControllerPods {
    /// Let them in with an audit annotation.
    #[default]
    Allow,
    /// Judge them as any other pod.
    Deny,
}
