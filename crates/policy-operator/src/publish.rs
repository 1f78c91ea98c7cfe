//! What the operator tells of itself: metrics at each scrape, and `/debug/state`.

use std::sync::PoisonError;

use metrics::{counter, describe_counter, describe_histogram};
use policy_core::api::EnforcementMode;
use policy_runtime::endpoints::{self, Answer};
use policy_runtime::lease::{Gate, LeaderReport};
use policy_runtime::metrics::{Buckets, Exposition, Kind};
use policy_runtime::watch::{WatchReport, WatchStatus};
use serde::Serialize;

use crate::key::Key;
use crate::memory::Shown;
use crate::pods::Pods;
use crate::policies::Policies;
use crate::write::Class;

/// Without a write it is some microseconds, with one some milliseconds.
pub(crate) const HISTOGRAMS: &[Buckets<'static>] = &[(
    "devopspolicy_reconcile_duration_seconds",
    &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0],
)];

/// All that is told.
#[derive(Clone)]
pub(crate) struct Publisher {
    pub(crate) pods: Pods,
    pub(crate) policies: Policies,
    pub(crate) gate: Gate,
    pub(crate) watches: [WatchStatus; 3],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StateAnswer<'a> {
    pods: usize,
    policies: usize,
    leader: LeaderReport<'a>,
    watches: Vec<WatchReport>,
}

/// Makes the counters, so that they are there before they count.
pub(crate) fn describe() {
    describe_counter!("devopspolicy_reconcile_total", "Looks at a policy.");
    describe_counter!("devopspolicy_reconcile_errors_total", "Looks that failed.");
    describe_counter!("devopspolicy_pods_scanned_total", "Pods judged.");
    describe_counter!("audit_results_total", "Audit results written.");
    describe_histogram!("devopspolicy_reconcile_duration_seconds", "How long a look took.");
    for name in
        ["devopspolicy_reconcile_total", "devopspolicy_pods_scanned_total", "audit_results_total"]
    {
        counter!(name).increment(0);
    }
    for class in Class::ALL {
        counter!("devopspolicy_reconcile_errors_total", "class" => class.as_str()).increment(0);
    }
    for what in ["audit results", "events"] {
        counter!("dropped_total", "what" => what).increment(0);
    }
}

impl Publisher {
    /// Answers `/debug/state`.
    #[must_use]
    pub(crate) fn state(&self) -> Answer {
        let holder = self.gate.holder();
        endpoints::json(&StateAnswer {
            pods: self.pods.len(),
            policies: self.policies.len(),
            leader: self.gate.report(holder.as_deref()),
            watches: self.watches.iter().map(WatchStatus::report).collect(),
        })
    }

    /// Writes what policies say, where this replica leads: two never count twice.
    pub(crate) fn metrics(&self, to: &mut Exposition) {
        if !self.gate.is_open() {
            return;
        }
        let shown: Vec<(Key, Shown)> = self
            .policies
            .memories()
            .into_iter()
            .filter_map(|(key, memory)| {
                let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                Some((key, memory.shown.clone()?))
            })
            .collect();
        let mut text = Exposition::default();
        render(&shown, &mut text);
        // Rendering takes its time, and the gate may have closed.
        if self.gate.is_open() {
            to.append(&text);
        }
    }
}

fn render(shown: &[(Key, Shown)], to: &mut Exposition) {
    let mut each = |name, help, value: &dyn Fn(&Shown) -> u64| {
        let mut family = to.family(name, Kind::Gauge, help);
        for (Key { namespace, name }, shown) in shown {
            family.series(&[("namespace", namespace), ("policy", name)], value(shown));
        }
    };
    each("devopspolicy_health_score", "Health of a namespace under a policy.", &|shown| {
        shown.score.into()
    });
    each("devopspolicy_violations_total", "Findings of a policy.", &|shown| shown.violations);
    each("enforcement_mode", "0 audit, 1 enforce.", &|shown| {
        u64::from(shown.mode == EnforcementMode::Enforce)
    });
    let mut family =
        to.family("violations_by_severity", Kind::Gauge, "Findings of a policy, by severity.");
    for (Key { namespace, name }, Shown { by_severity: by, .. }) in shown {
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

    use super::*;

    #[test]
    fn each_policy_has_its_series() {
        let shown = Shown {
            mode: EnforcementMode::Enforce,
            score: 77,
            violations: 3,
            by_severity: ViolationsBySeverity { high: 2, low: 1, ..Default::default() },
        };
        let mut text = Exposition::default();
        render(&[(Key::new("shop", "strict"), shown)], &mut text);
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
