//! What the operator does not get done.

use policy_metrics::operator;

use super::{Alert, Group, Severity};
use crate::promql::{Range, counter};

pub(super) fn group() -> Group {
    let tests = include_str!("tests/reconcile.yaml");
    Group { name: "kube-devops-reconcile", alerts: vec![errors()], tests }
}

/// A conflict is tried again at once, and who has just lost the lease may not write.
fn errors() -> Alert {
    let errors = counter(&operator::RECONCILE_ERRORS);
    let errors = errors.not_equal("class", "conflict").not_equal("class", "not_leader");
    Alert {
        name: "KubeDevopsReconcileErrors",
        expr: errors.increase(Range::Fixed("10m")).sum_by(&["cluster", "class"]).gt(3.0),
        hold: "10m",
        severity: Severity::Warning,
        summary: "Reconciles of policies fail ({{ $labels.class }})",
        description: "{{ $value | humanize }} reconciles failed within ten minutes, of the class \
                      {{ $labels.class }}: the status of policies may be old.",
    }
}
