//! The metrics of the operator.

#![expect(missing_docs, reason = "the help text of a metric is its documentation")]

use crate::Kind::{Counter, Gauge, Histogram};
use crate::Metric;

const OF_POLICY: &[(&str, &str)] = &[("namespace", ""), ("policy", "")];

pub const RECONCILES: Metric =
    Metric::new(Counter, "devopspolicy_reconcile_total", "Reconciles of a policy.");

pub const RECONCILE_ERRORS: Metric =
    Metric::new(Counter, "devopspolicy_reconcile_errors_total", "Reconciles that failed.")
        .with(&[("class", "conflict, forbidden, invalid, transient, not_leader")]);

pub const DURATION: Metric =
    Metric::new(Histogram, "devopspolicy_reconcile_duration_seconds", "Duration of a reconcile.");

pub const DEFERRED: Metric = Metric::new(
    Counter,
    "devopspolicy_reconciles_deferred_total",
    "Reconciles that waited for the write budget of their namespace.",
);

pub const PODS_SCANNED: Metric =
    Metric::new(Counter, "devopspolicy_pods_scanned_total", "Pods evaluated.");

pub const AUDIT_RESULTS: Metric =
    Metric::new(Counter, "audit_results_total", "Audit results written.");

pub const REPORTS: Metric =
    Metric::new(Counter, "open_reports_total", "Reports of openreports.io written.");

pub const REPORT_ERRORS: Metric = Metric::new(
    Counter,
    "open_report_errors_total",
    "Reports that could not be written, or were found not to be served.",
)
.with(&[("class", "conflict, forbidden, invalid, transient, not_leader, not_served")]);

pub const HEALTH_SCORE: Metric =
    Metric::new(Gauge, "devopspolicy_health_score", "Health score of a namespace under a policy.")
        .with(OF_POLICY)
        .of_leader();

pub const VIOLATIONS: Metric =
    Metric::new(Gauge, "devopspolicy_violations_total", "Findings of a policy.")
        .with(OF_POLICY)
        .of_leader();

pub const VIOLATIONS_BY_SEVERITY: Metric =
    Metric::new(Gauge, "violations_by_severity", "Findings of a policy, by severity.")
        .with(&[("namespace", ""), ("policy", ""), ("severity", "critical, high, medium, low")])
        .of_leader();

pub const MODE: Metric =
    Metric::new(Gauge, "enforcement_mode", "0 audit, 1 enforce.").with(OF_POLICY).of_leader();

pub const REMEDIATING: Metric = Metric::new(
    Gauge,
    "enforcement_remediating",
    "Whether a policy in enforce mode remediates: its condition Remediating. Not while \
     its method or its windows withhold it.",
)
.with(OF_POLICY)
.of_leader();

pub const APPLIED: Metric = Metric::new(
    Counter,
    "enforcement_remediations_applied_total",
    "Workloads that were patched or injected into.",
);

pub const FAILED: Metric = Metric::new(
    Counter,
    "enforcement_remediations_failed_total",
    "Attempts to patch or release a workload that failed.",
)
.with(&[("reason", "Conflict, Forbidden, Denied, Invalid, Unreachable, NotApplied, Other")]);

pub const REVERTED: Metric = Metric::new(
    Counter,
    "enforcement_remediations_reverted_total",
    "Remediations that were taken back because they did harm.",
)
.with(&[("reason", "NoProgress, ReplicaFailure, Restarted, OutOfMemory, InjectedPodFailed")]);

pub const PROPOSED: Metric = Metric::new(
    Counter,
    "enforcement_remediations_proposed_total",
    "Workloads that are not changed because that would not be safe.",
)
.with(&[("reason", "as in the status of the policy")]);

/// The metrics of the operator, beside those that services have in common.
pub const METRICS: &[&Metric] = &[
    &RECONCILES,
    &RECONCILE_ERRORS,
    &DURATION,
    &DEFERRED,
    &PODS_SCANNED,
    &AUDIT_RESULTS,
    &REPORTS,
    &REPORT_ERRORS,
    &HEALTH_SCORE,
    &VIOLATIONS,
    &VIOLATIONS_BY_SEVERITY,
    &MODE,
    &REMEDIATING,
    &APPLIED,
    &FAILED,
    &REVERTED,
    &PROPOSED,
];
