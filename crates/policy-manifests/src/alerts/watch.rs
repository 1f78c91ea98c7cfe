//! What the pods of the cluster look like.

use policy_core::score::Classification;
use policy_metrics::{operator, watcher};

use super::{Alert, Group, Severity};
use crate::promql::{Expr, gauge};

/// The scores of the class Critical.
fn critical(score: Expr) -> Expr {
    score.lt(Classification::Degraded.least().into())
}

pub(super) fn group() -> Group {
    let tests = include_str!("tests/watch.yaml");
    let alerts = vec![score_falling(), compliance_falling(), namespace(), policy()];
    Group { name: "kube-devops-watch", alerts, tests }
}

fn score_falling() -> Alert {
    let score = || gauge(&watcher::CLUSTER_SCORE);
    Alert {
        name: "KubeDevopsScoreFalling",
        expr: (score().offset("1h").value() - score().value()).ge(10.0),
        hold: "10m",
        severity: Severity::Warning,
        summary: "The health score of the cluster is falling",
        description: "The health score of the cluster is {{ $value }} points lower than an hour ago.",
    }
}

fn compliance_falling() -> Alert {
    let share = |ago: Option<&'static str>| -> Expr {
        let [compliant, all] =
            [&watcher::CLUSTER_COMPLIANT, &watcher::CLUSTER_PODS].map(|metric| {
                let metric = gauge(metric);
                match ago {
                    None => metric.value(),
                    Some(ago) => metric.offset(ago).value(),
                }
            });
        compliant / all
    };
    Alert {
        name: "KubeDevopsCompliantShareFalling",
        expr: (share(Some("1h")) - share(None)).ge(0.1),
        hold: "10m",
        severity: Severity::Warning,
        summary: "Fewer pods of the cluster are compliant",
        description: "The share of pods without any finding is {{ $value | humanizePercentage }} lower \
                      than an hour ago, of all pods.",
    }
}

fn namespace() -> Alert {
    Alert {
        name: "KubeDevopsNamespaceCritical",
        expr: critical(gauge(&watcher::NAMESPACE_SCORE).value()),
        hold: "15m",
        severity: Severity::Warning,
        summary: "The namespace {{ $labels.namespace }} is in class Critical",
        description: "The namespace {{ $labels.namespace }} has the health score {{ $value }}; below 40 \
                      the class is Critical.",
    }
}

fn policy() -> Alert {
    Alert {
        name: "KubeDevopsPolicyCritical",
        expr: critical(gauge(&operator::HEALTH_SCORE).value()),
        hold: "15m",
        severity: Severity::Warning,
        summary: "The policy {{ $labels.namespace }}/{{ $labels.policy }} is in class Critical",
        description: "Under the policy {{ $labels.policy }} the namespace {{ $labels.namespace }} has the \
                      health score {{ $value }}; below 40 the class is Critical.",
    }
}
