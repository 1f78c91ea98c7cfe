//! What the operator exports: metrics, written at each scrape, and `/debug/state`.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::counter;
use policy_core::api::EnforcementMode;
use policy_metrics::Metric;
use policy_runtime::endpoints::{self, Answer};
use policy_runtime::lease::{LeaderGate, LeaderReport};
use policy_runtime::metrics::Exposition;
use policy_runtime::watch::{WatchReport, WatchStatus};
use serde::Serialize;
use strum::VariantArray as _;

use crate::cluster::Namespaces;
use crate::custom::CustomReport;
use crate::drains::Drains;
use crate::open_reports::{NOT_SERVED, OpenReports};
use crate::pods::Pods;
use crate::policies::{Policies, PolicyCounts, PolicyGauges};
use crate::policy_key::PolicyKey;
use crate::rollouts::Rollouts;
use crate::workload_labels::WorkloadLabels;
use crate::write_error::ErrorClass;
use policy_metrics::operator::{
    AUDIT_RESULTS, DEFERRED, DURATION, HEALTH_SCORE, MODE, PODS_SCANNED, RECONCILE_ERRORS,
    RECONCILES, REMEDIATING, REPORT_ERRORS, REPORTS, VIOLATIONS, VIOLATIONS_BY_SEVERITY,
};

/// The most namespaces that `/debug/state` names.
const MOST_DEFERRED: usize = 100;

/// The source of metrics and `/debug/state`.
#[derive(Clone)]
pub(crate) struct Exporter {
    pub(crate) pods: Pods,
    pub(crate) namespaces: Namespaces,
    pub(crate) rollouts: Rollouts,
    pub(crate) drains: Drains,
    pub(crate) labels: WorkloadLabels,
    pub(crate) policies: Policies,
    pub(crate) open_reports: Option<OpenReports>,
    pub(crate) gate: LeaderGate,
    pub(crate) watches: [WatchStatus; 7],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DebugState {
    pods: usize,
    /// Those that are not healthy, or were changed at admission.
    pods_observed: usize,
    namespaces: usize,
    /// The Deployments whose rollouts are stuck.
    stuck_rollouts: usize,
    /// The disruption budgets that never allow an eviction.
    blocking_budgets: usize,
    custom_checks: CustomReport,
    /// The workloads whose labels are known; none while no exemption has a selector.
    labelled_workloads: usize,
    policies: usize,
    /// Those beyond the most that are judged in a namespace.
    policies_not_judged: usize,
    /// The namespaces that have used up their write budget, and how many of their policies wait.
    deferred: BTreeMap<Arc<str>, usize>,
    /// Whether Reports can be written; `None` where nobody wants them.
    open_reports_served: Option<bool>,
    leader: LeaderReport,
    watches: Vec<WatchReport>,
}

/// Describes the counters and exports them with 0. A counter that appears with its first increment
/// hides it from `rate()`
/// (<https://prometheus.io/docs/practices/instrumentation/#avoid-missing-metrics>).
pub(crate) fn describe() {
    let counted = [RECONCILES, PODS_SCANNED, DEFERRED, AUDIT_RESULTS, REPORTS];
    let others = [RECONCILE_ERRORS, REPORT_ERRORS, DURATION];
    counted.iter().chain(&others).for_each(policy_runtime::metrics::describe);
    for metric in counted {
        counter!(metric.name).increment(0);
    }
    for class in ErrorClass::VARIANTS {
        for metric in [RECONCILE_ERRORS, REPORT_ERRORS] {
            counter!(metric.name, "class" => class.as_str()).increment(0);
        }
    }
    counter!(REPORT_ERRORS.name, "class" => NOT_SERVED).increment(0);
    for what in ["audit results", "events", "findings of reports", "kept objects"] {
        counter!("dropped_total", "what" => what).increment(0);
    }
}

impl Exporter {
    /// The answer of `/debug/state`.
    #[must_use]
    pub(crate) fn state(&self) -> Answer {
        let PolicyCounts { all, excess } = self.policies.counts();
        endpoints::json(&DebugState {
            pods: self.pods.len(),
            pods_observed: self.pods.unhealthy_len(),
            namespaces: self.namespaces.len(),
            stuck_rollouts: self.rollouts.len(),
            blocking_budgets: self.drains.len(),
            custom_checks: self.pods.custom().report(),
            labelled_workloads: self.labels.len(),
            policies: all,
            policies_not_judged: excess,
            deferred: self.policies.queue.deferred(MOST_DEFERRED).into_iter().collect(),
            open_reports_served: self.open_reports.as_ref().map(OpenReports::are_served),
            leader: self.gate.report(),
            watches: self
                .watches
                .iter()
                .chain(self.labels.begun())
                .map(WatchStatus::report)
                .collect(),
        })
    }

    /// Writes the gauges of all policies where this replica is the leader, so that no two replicas
    /// export the same series.
    pub(crate) fn write_metrics(&self, to: &mut Exposition) {
        if !self.gate.is_open() {
            return;
        }
        let mut text = to.part();
        render(&self.policies.gauges(), &mut text);
        let mut family = text.family(&REMEDIATING);
        for (PolicyKey { namespace, name }, is_remediating) in self.policies.remediating() {
            let labels = [("namespace", &*namespace), ("policy", &*name)];
            family.series(&labels, u8::from(is_remediating));
        }
        // The lease may have run out meanwhile.
        if self.gate.is_open() {
            to.append(&text);
        }
    }
}

fn render(policies: &[(PolicyKey, PolicyGauges)], to: &mut Exposition) {
    let mut each = |metric: &Metric, value: &dyn Fn(&PolicyGauges) -> u64| {
        let mut family = to.family(metric);
        for (PolicyKey { namespace, name }, gauges) in policies {
            family.series(&[("namespace", namespace), ("policy", name)], value(gauges));
        }
    };
    each(&HEALTH_SCORE, &|gauges| gauges.score.value().into());
    each(&VIOLATIONS, &|gauges| gauges.violations);
    each(&MODE, &|gauges| u64::from(gauges.mode == EnforcementMode::Enforce));
    let mut family = to.family(&VIOLATIONS_BY_SEVERITY);
    for (PolicyKey { namespace, name }, PolicyGauges { by_severity: by, .. }) in policies {
        let numbers =
            [("critical", by.critical), ("high", by.high), ("medium", by.medium), ("low", by.low)];
        for (severity, number) in numbers {
            let labels = [("namespace", &**namespace), ("policy", name), ("severity", severity)];
            family.series(&labels, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use policy_core::api::ViolationsBySeverity;
    use policy_core::score::Score;

    use super::*;

    #[test]
    fn each_policy_has_its_series() {
        let gauges = PolicyGauges {
            mode: EnforcementMode::Enforce,
            score: Score::of(23, 1),
            violations: 3,
            by_severity: ViolationsBySeverity { high: 2, low: 1, ..Default::default() },
        };
        let mut text = Exposition::default();
        render(&[(PolicyKey::new("shop", "strict"), gauges)], &mut text);
        let mut metrics = Exposition::default();
        metrics.append(&text);
        let text = format!("{metrics:?}").replace("\\\"", "\"");
        for line in [
            r#"devopspolicy_health_score{namespace="shop",policy="strict"} 77"#,
            r#"devopspolicy_violations_total{namespace="shop",policy="strict"} 3"#,
            r#"enforcement_mode{namespace="shop",policy="strict"} 1"#,
            r#"violations_by_severity{namespace="shop",policy="strict",severity="high"} 2"#,
            r#"violations_by_severity{namespace="shop",policy="strict",severity="critical"} 0"#,
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
