//! The metrics of the webhook.

#![expect(missing_docs, reason = "the help text of a metric is its documentation")]

use crate::Kind::{Counter, Histogram};
use crate::Metric;

pub const REQUESTS: Metric =
    Metric::new(Counter, "webhook_requests_total", "Admission requests that were answered.").with(
        &[
            ("operation", "create, update, delete, connect, unknown"),
            ("decision", "allowed, denied, and of `/mutate` mutated, unchanged"),
        ],
    );

pub const DENIALS: Metric =
    Metric::new(Counter, "webhook_denials_total", "Admission requests that were denied.");

pub const DURATION: Metric = Metric::new(
    Histogram,
    "webhook_request_duration_seconds",
    "Time from the head of an admission request to its answer.",
);

pub const FAIL_OPEN: Metric = Metric::new(
    Counter,
    "webhook_failopen_total",
    "Admission requests that were allowed without a complete verdict, by reason.",
)
.with(&[(
    "reason",
    "not_synced, invalid_policy, custom_check, unreadable_object, unreadable, deadline, panic, \
     overload, too_large, slow_body, unauthenticated",
)]);

pub const FINDINGS: Metric = Metric::new(
    Counter,
    "webhook_findings_total",
    "Findings that denied an admission request, came back as warnings, or are exempted by a policy.",
)
.with(&[("check", "the id of the check"), ("decision", "denied, warned, exempted")]);

pub const CERTIFICATE_ERRORS: Metric = Metric::new(
    Counter,
    "certificate_errors_total",
    "Operations on the self-managed certificate that failed.",
)
.with(&[(
    "operation",
    "read_secret, write_secret, read_configuration, write_configuration, \
     read_mutating_configuration, write_mutating_configuration, use, serve, issue",
)]);

/// The metrics of the webhook, beside those that services have in common.
pub const METRICS: &[&Metric] =
    &[&REQUESTS, &DENIALS, &DURATION, &FAIL_OPEN, &FINDINGS, &CERTIFICATE_ERRORS];
