//! The alerts as an object of the Prometheus operator.

use serde::Serialize;

use super::Monitoring;
use crate::alerts::{self, Alert};
use crate::metadata::{PLATFORM, in_namespace};

/// What the Prometheus operator makes a file of rules of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PrometheusRuleSpec {
    groups: Vec<RuleGroup>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct RuleGroup {
    name: &'static str,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Rule {
    alert: &'static str,
    expr: String,
    #[serde(rename = "for")]
    hold: &'static str,
    labels: Labels,
    annotations: Annotations,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Labels {
    severity: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Annotations {
    summary: &'static str,
    description: &'static str,
    runbook_url: String,
}

/// All alerts, in the namespace of the platform.
#[must_use]
pub fn prometheus_rule() -> Monitoring<PrometheusRuleSpec> {
    let groups = alerts::groups().into_iter().map(|group| RuleGroup {
        name: group.name,
        rules: group.alerts.iter().map(Rule::from).collect(),
    });
    let spec = PrometheusRuleSpec { groups: groups.collect() };
    Monitoring::new("PrometheusRule", in_namespace(PLATFORM), spec)
}

impl From<&Alert> for Rule {
    fn from(alert: &Alert) -> Self {
        Self {
            alert: alert.name,
            expr: alert.expr.to_string(),
            hold: alert.hold,
            labels: Labels { severity: alert.severity.as_str() },
            annotations: Annotations {
                summary: alert.summary,
                description: alert.description,
                runbook_url: alert.runbook_url(),
            },
        }
    }
}
