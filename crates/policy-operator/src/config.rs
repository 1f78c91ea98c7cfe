//! The configuration of the operator.

use policy_core::namespaces::ExcludedNamespaces;
use policy_runtime::config::{Configuration, Problems, RuntimeConfig};
use serde::{Deserialize, Serialize};

use crate::limits::LONGEST_NAME;

/// The configuration of the operator.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The part that all services have.
    #[serde(flatten)]
    pub runtime: RuntimeConfig,
    /// The name of this cluster in audit results. Default: none.
    pub cluster_name: Option<String>,
    /// How audit results are kept.
    pub audit_results: AuditResults,
    /// Namespaces that are never judged, in addition to those of the system. Default: none.
    pub excluded_namespaces: Vec<String>,
}

/// How audit results are kept.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct AuditResults {
    /// How many audit results of a policy are kept, the newest ones. 1 to 1 000. Default: 10.
    pub retention: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            runtime: RuntimeConfig::new(([0, 0, 0, 0], 9090), "policy-operator"),
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

    fn runtime_mut(&mut self) -> &mut RuntimeConfig {
        &mut self.runtime
    }

    fn check(&self, problems: &mut Problems) {
        let retention = self.audit_results.retention;
        if !(1..=1_000).contains(&retention) {
            let problem = format!("must be 1 to 1000, not {retention}");
            problems.add(&["auditResults.retention"], problem);
        }
        let length = self.cluster_name.as_ref().map_or(1, |name| name.chars().count());
        if !(1..=LONGEST_NAME).contains(&length) {
            let problem = format!("must have 1 to {LONGEST_NAME} characters, not {length}");
            problems.add(&["clusterName"], problem);
        }
    }
}

impl Config {
    /// The namespaces that are never judged.
    #[must_use]
    pub fn excluded(&self) -> ExcludedNamespaces {
        ExcludedNamespaces::with(self.excluded_namespaces.iter().cloned())
    }
}
