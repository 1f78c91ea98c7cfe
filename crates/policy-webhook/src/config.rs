//! What can be configured.

use std::time::Duration;

use policy_core::namespaces::ExcludedNamespaces;
use policy_runtime::config::{Configuration, Flag, Problems, RuntimeConfig};
use policy_runtime::endpoints::PostLimits;
use policy_runtime::tls::TlsConfig;
use serde::{Deserialize, Serialize};

/// etcd takes no object of more than 1.5 MiB, but a review holds two, and the API server takes
/// requests of 3 MiB.
const LARGEST_BODY: usize = 7 << 20;
/// The API server waits for a webhook no longer than that.
const LONGEST_DEADLINE: u32 = 30_000;

/// The configuration of the webhook.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// What all services have.
    #[serde(flatten)]
    pub runtime: RuntimeConfig,
    /// `tls`: the certificate, and who may ask.
    pub tls: TlsConfig,
    /// `admission`: the limits of a request.
    pub admission: AdmissionConfig,
    /// Namespaces that are left out, beside the system's. Default: none.
    pub excluded_namespaces: Vec<String>,
}

/// The limits of a request.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionConfig {
    /// `admission.concurrency`: so many requests at a time; more are turned away at once, and
    /// allowed by the API server; default 256.
    pub concurrency: u32,
    /// `admission.deadlineMillis`: a request is allowed unjudged after that time; default 4000.
    /// Has to be below the `timeoutSeconds` of the webhook's configuration.
    pub deadline_millis: u32,
}

impl Default for Config {
    fn default() -> Self {
        let mut runtime = RuntimeConfig::new(([0, 0, 0, 0], 8443), "policy-webhook");
        // Endpoints of a Service still name a pod for some seconds after it was told to stop.
        runtime.shutdown.drain_seconds = 5;
        Self {
            runtime,
            tls: TlsConfig::default(),
            admission: AdmissionConfig { concurrency: 256, deadline_millis: 4_000 },
            excluded_namespaces: Vec::new(),
        }
    }
}

impl Configuration for Config {
    const FLAGS: &'static [Flag] = &TlsConfig::FLAGS;

    fn runtime(&self) -> &RuntimeConfig {
        &self.runtime
    }

    fn runtime_mut(&mut self) -> &mut RuntimeConfig {
        &mut self.runtime
    }

    fn tls(&self) -> Option<&TlsConfig> {
        Some(&self.tls)
    }

    fn check(&self, problems: &mut Problems) {
        let AdmissionConfig { concurrency, deadline_millis } = self.admission;
        if self.tls.cert.is_none() {
            problems.add(&["tls.cert"], "name the file of the certificate");
        }
        if !(1..=10_000).contains(&concurrency) {
            let what = format!("must be from 1 to 10000, not {concurrency}");
            problems.add(&["admission.concurrency"], what);
        }
        if !(1..=LONGEST_DEADLINE).contains(&deadline_millis) {
            let what = format!("must be from 1 to {LONGEST_DEADLINE}, not {deadline_millis}");
            problems.add(&["admission.deadlineMillis"], what);
        }
    }
}

impl AdmissionConfig {
    /// The same, as the server takes them.
    #[must_use]
    pub fn limits(&self) -> PostLimits {
        let deadline = Duration::from_millis(self.deadline_millis.into());
        PostLimits {
            body: LARGEST_BODY,
            read: deadline,
            concurrency: self.concurrency as usize,
            deadline,
        }
    }
}

impl Config {
    /// The namespaces that are left out.
    #[must_use]
    pub fn excluded(&self) -> ExcludedNamespaces {
        ExcludedNamespaces::with(self.excluded_namespaces.iter().cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_limits_are_told_by_their_keys() {
        let admission = AdmissionConfig { concurrency: 0, deadline_millis: 60_000 };
        let config = Config { admission, ..Config::default() };
        let mut problems = Problems::default();
        config.check(&mut problems);
        let told = format!("{problems:?}");
        for key in ["tls.cert", "admission.concurrency", "admission.deadlineMillis"] {
            assert!(told.contains(key), "{key}: {told}");
        }
    }
}
