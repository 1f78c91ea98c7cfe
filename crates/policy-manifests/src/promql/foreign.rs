//! The metrics of others that our queries name.

/// A metric that no service of ours exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    pub(super) name: &'static str,
    pub(super) is_counter: bool,
    pub(super) labels: &'static [&'static str],
}

/// Requests that the API server allowed because a webhook could not be called
/// (<https://kubernetes.io/docs/reference/instrumentation/metrics/>). `name` is that of the webhook.
pub const APISERVER_FAIL_OPEN: Foreign = Foreign {
    name: "apiserver_admission_webhook_fail_open_count",
    is_counter: true,
    labels: &["name", "type"],
};

/// Whether the last scrape of a target succeeded
/// (<https://prometheus.io/docs/concepts/jobs_instances/>).
pub const UP: Foreign =
    Foreign { name: "up", is_counter: false, labels: &["namespace", "service"] };

/// The alerts that are pending or firing
/// (<https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/>).
pub const ALERTS: Foreign =
    Foreign { name: "ALERTS", is_counter: false, labels: &["alertname", "alertstate", "severity"] };
