//! What connects an installation to a Prometheus that the Prometheus operator configures
//! (<https://prometheus-operator.dev/docs/api-reference/api/>).

mod prometheus_rule;
mod service_monitor;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;

pub use prometheus_rule::{PrometheusRuleSpec, prometheus_rule};
pub use service_monitor::{INTERVAL, ServiceMonitorSpec, service_monitors};

/// An object of the Prometheus operator.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Monitoring<Spec> {
    api_version: &'static str,
    kind: &'static str,
    metadata: ObjectMeta,
    spec: Spec,
}

impl<Spec> Monitoring<Spec> {
    fn new(kind: &'static str, metadata: ObjectMeta, spec: Spec) -> Self {
        Self { api_version: "monitoring.coreos.com/v1", kind, metadata, spec }
    }

    /// The same with further labels, by which a Prometheus selects it.
    #[must_use]
    pub fn labelled(mut self, labels: &[(String, String)]) -> Self {
        self.metadata.labels.get_or_insert_default().extend(labels.iter().cloned());
        self
    }
}
