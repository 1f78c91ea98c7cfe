//! `cargo xtask bench changes`.

use super::measure::Goal::AtMost;
use super::measure::Row;

pub(super) const COMMAND: &str = "bench-changes";

/// A change has to count within a second in each service.
const SECOND: super::measure::Goal = AtMost(1000.0);

pub(super) const ROWS: [Row; 21] = [
    ("webhook_policy_p99_ms", SECOND, "a changed policy in the webhook, one change in 2 s"),
    ("webhook_exemption_p99_ms", SECOND, "a changed exemption"),
    ("webhook_custom_p99_ms", SECOND, "another expression of a custom check"),
    ("operator_policy_p99_ms", SECOND, "until the status shows the changed policy"),
    ("operator_exemption_p99_ms", SECOND, "the changed exemption"),
    ("operator_custom_p99_ms", SECOND, "until the status shows what the expression finds"),
    ("watcher_policy_p99_ms", SECOND, "from the changed file of its policy to its scores"),
    ("watcher_exemption_p99_ms", SECOND, "the same of an exemption in the file"),
    ("watcher_custom_p99_ms", SECOND, "the same of an expression in the file"),
    ("cluster_webhook_policy_p99_ms", SECOND, "a cluster policy of 20 namespaces in the webhook"),
    ("cluster_webhook_exemption_p99_ms", SECOND, "its exemption"),
    ("cluster_webhook_custom_p99_ms", SECOND, "its expression"),
    ("cluster_operator_policy_p99_ms", SECOND, "until its status shows the change"),
    ("cluster_operator_exemption_p99_ms", SECOND, "the changed exemption"),
    ("cluster_operator_custom_p99_ms", SECOND, "the changed expression"),
    ("many_webhook_policy_p99_ms", SECOND, "40 policies, each changed once in 2 s, in the webhook"),
    ("many_webhook_exemption_p99_ms", SECOND, "their exemptions"),
    ("many_webhook_custom_p99_ms", SECOND, "their expressions"),
    ("many_operator_policy_p99_ms", SECOND, "until their statuses show the changes"),
    ("many_operator_exemption_p99_ms", SECOND, "the changed exemptions"),
    ("many_operator_custom_p99_ms", SECOND, "the changed expressions"),
];
