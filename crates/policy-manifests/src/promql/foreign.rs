//! The metrics of others that our queries name.

use super::{Counter, Selector};

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

/// [`APISERVER_FAIL_OPEN`] of the webhooks of our configurations.
pub fn our_fail_open() -> Selector<Counter> {
    APISERVER_FAIL_OPEN.counter().matching("name", r".+\.devops\.stochastic\.io")
}
