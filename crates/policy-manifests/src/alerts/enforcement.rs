//! What enforce mode does not get done.

use policy_metrics::operator;

use super::{Alert, Group, Severity};
use crate::promql::{Range, counter, gauge};

pub(super) fn group() -> Group {
    let tests = include_str!("tests/enforcement.yaml");
    Group { name: "kube-devops-enforcement", alerts: vec![failing(), reverted(), stopped()], tests }
}

fn failing() -> Alert {
    let failed = counter(&operator::FAILED).increase(Range::Fixed("15m"));
    Alert {
        name: "KubeDevopsRemediationFailing",
        expr: failed.sum_by(&["cluster", "reason"]).gt(0.0),
        hold: "5m",
        severity: Severity::Warning,
        summary: "Remediations fail ({{ $labels.reason }})",
        description: "{{ $value | humanize }} attempts to change a workload failed within 15 minutes: \
                      {{ $labels.reason }}.",
    }
}

fn reverted() -> Alert {
    let reverted = counter(&operator::REVERTED).increase(Range::Fixed("15m"));
    Alert {
        name: "KubeDevopsRemediationReverted",
        expr: reverted.sum_by(&["cluster", "reason"]).gt(0.0),
        hold: "0s",
        severity: Severity::Warning,
        summary: "Remediations were taken back ({{ $labels.reason }})",
        description: "{{ $value | humanize }} remediations of the last 15 minutes did harm and were taken \
                      back: {{ $labels.reason }}. Two of one policy within ten minutes open its circuit \
                      breaker.",
    }
}

fn stopped() -> Alert {
    Alert {
        name: "KubeDevopsRemediationStopped",
        expr: gauge(&operator::REMEDIATING).value().equals(0.0),
        hold: "10m",
        severity: Severity::Warning,
        summary: "The policy {{ $labels.namespace }}/{{ $labels.policy }} enforces nothing",
        description: "The policy {{ $labels.policy }} of the namespace {{ $labels.namespace }} is in enforce \
                      mode and changes nothing: its circuit breaker is open, or something is missing.",
    }
}
