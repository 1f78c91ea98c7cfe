//! What is admitted without a verdict.

use policy_metrics::webhook;

use super::{Alert, Group, Severity};
use crate::promql::foreign::our_fail_open;
use crate::promql::{Range, counter};

pub(super) fn group() -> Group {
    let tests = include_str!("tests/webhook.yaml");
    Group { name: "kube-devops-webhook", alerts: vec![failing_open(), not_called()], tests }
}

fn failing_open() -> Alert {
    let allowed = counter(&webhook::FAIL_OPEN).increase(Range::Fixed("10m"));
    Alert {
        name: "KubeDevopsWebhookFailingOpen",
        expr: allowed.sum_by(&["cluster", "reason"]).gt(0.0),
        hold: "0s",
        severity: Severity::Warning,
        summary: "The webhook admits requests without a verdict ({{ $labels.reason }})",
        description: "{{ $value | humanize }} requests of the last ten minutes were admitted without a \
                      complete verdict: {{ $labels.reason }}.",
    }
}

/// The webhook does not know of calls that never reach it. The API server exports the counter from
/// its first failure on, which may be the only one for hours.
fn not_called() -> Alert {
    let failed = our_fail_open().increase_from_none(Range::Fixed("10m"));
    Alert {
        name: "KubeDevopsWebhookNotCalled",
        expr: failed.sum_by(&["cluster", "name"]).gt(0.0),
        hold: "0s",
        severity: Severity::Critical,
        summary: "The API server admits requests because it cannot call the webhook",
        description: "{{ $value | humanize }} calls of {{ $labels.name }} failed within the last ten \
                      minutes, and the API server admitted the requests.",
    }
}
