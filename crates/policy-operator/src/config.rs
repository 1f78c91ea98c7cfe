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
