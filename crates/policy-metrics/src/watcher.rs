//! The metrics of the watcher.

#![expect(missing_docs, reason = "the help text of a metric is its documentation")]

use crate::Kind::{Counter, Gauge};
use crate::Metric;

const NAMESPACE: &[(&str, &str)] = &[("namespace", "")];

pub const CLUSTER_SCORE: Metric =
    Metric::new(Gauge, "cluster_health_score", "Health of all pods, 0 (worst) to 100.").of_leader();

pub const CLUSTER_PODS: Metric =
    Metric::new(Gauge, "cluster_pods", "Pods that were scored.").of_leader();

pub const CLUSTER_COMPLIANT: Metric =
    Metric::new(Gauge, "cluster_compliant_pods", "Pods without any finding.").of_leader();

pub const NAMESPACE_SCORE: Metric =
    Metric::new(Gauge, "namespace_health_score", "Health of the namespace, 0 (worst) to 100.")
        .with(NAMESPACE)
        .of_leader();

pub const NAMESPACE_PODS: Metric =
    Metric::new(Gauge, "namespace_pods", "Pods of the namespace that were scored.")
        .with(NAMESPACE)
        .of_leader();

pub const NAMESPACE_COMPLIANT: Metric =
    Metric::new(Gauge, "namespace_compliant_pods", "Pods of the namespace without any finding.")
        .with(NAMESPACE)
        .of_leader();

pub const NAMESPACE_VIOLATIONS: Metric =
    Metric::new(Gauge, "namespace_violations", "Findings of a check.")
        .with(&[("namespace", ""), ("check", "the id of the check")])
        .of_leader();

pub const PODS_TRACKED: Metric =
    Metric::new(Gauge, "pods_tracked_total", "Pods in the index of this replica.");

pub const POD_EVENTS: Metric =
    Metric::new(Counter, "pod_events_total", "Pods received from the watch.")
        .with(&[("event", "applied, deleted, relisted")]);

/// The metrics of the watcher, beside those that services have in common.
pub const METRICS: &[&Metric] = &[
    &CLUSTER_SCORE,
    &CLUSTER_PODS,
    &CLUSTER_COMPLIANT,
    &NAMESPACE_SCORE,
    &NAMESPACE_PODS,
    &NAMESPACE_COMPLIANT,
    &NAMESPACE_VIOLATIONS,
    &PODS_TRACKED,
    &POD_EVENTS,
];
