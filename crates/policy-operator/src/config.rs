//! The configuration of the operator.

use policy_core::namespaces::ExcludedNamespaces;
use policy_runtime::config::{Configuration, LeaseConfig, Problems, RuntimeConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The configuration of the operator.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The part that every service has.
    #[serde(flatten)]
    pub runtime: RuntimeConfig,
    /// `lease`
    pub lease: LeaseConfig,
    /// Name of this cluster in audit results.
    #[schemars(length(min = 1, max = 253))]
    pub cluster_name: Option<String>,
    /// `auditResults`
    pub audit_results: AuditResults,
    /// Namespaces that are excluded, in addition to system namespaces.
    pub excluded_namespaces: Vec<String>,
    /// `remediation`
    pub remediation: RemediationConfig,
    /// `openReports`
    pub open_reports: OpenReportsConfig,
}

/// `openReports`: Reports of openreports.io, for viewers of such reports.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub struct OpenReportsConfig {
    /// Whether a Report of openreports.io/v1alpha1 is written for each policy. Needs its definition,
    /// and the rights of deploy/kustomize/open-reports.
    pub enabled: bool,
}

/// `remediation`: whether and how fast enforce mode changes workloads.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct RemediationConfig {
    /// Whether enforce mode changes anything. Where not, it changes no workload, takes nothing
    /// back, and injects nothing.
    pub enabled: bool,
    /// Number of rollouts of one policy that run at a time.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_concurrent_per_policy: usize,
    /// Number of rollouts of the cluster that run at a time.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_concurrent: usize,
    /// Number of rollouts that start within startedWithinSeconds.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_started: usize,
    /// See maxStarted. Unit: seconds.
    #[schemars(range(min = 1, max = 86_400))]
    pub started_within_seconds: u32,
    /// Whether one workload of a policy is remediated and observed before the others.
    pub canary: bool,
}

impl Default for RemediationConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            max_concurrent_per_policy: 3,
            max_concurrent: 10,
            max_started: 30,
            started_within_seconds: 600,
            canary: true,
        }
    }
}

/// `auditResults`: how long audit results are kept.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct AuditResults {
    /// Number of audit results that are kept of each policy, the newest ones.
    #[schemars(range(min = 1, max = 1_000))]
    pub retention: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            runtime: RuntimeConfig::new(9090),
            lease: LeaseConfig::new("policy-operator"),
            cluster_name: None,
            audit_results: AuditResults { retention: 10 },
            excluded_namespaces: Vec::new(),
            remediation: RemediationConfig::default(),
            open_reports: OpenReportsConfig::default(),
        }
    }
}

impl Configuration for Config {
    fn runtime(&self) -> &RuntimeConfig {
        &self.runtime
    }

    fn check(&self, problems: &mut Problems) {
        self.lease.check(problems);
    }
}

impl Config {
    /// The namespaces that are never judged.
    #[must_use]
    pub fn excluded(&self) -> ExcludedNamespaces {
        ExcludedNamespaces::with(self.excluded_namespaces.iter().cloned())
    }
}
