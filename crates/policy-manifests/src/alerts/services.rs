//! Whether the services themselves are well.

use policy_metrics::every_service::{
    CERTIFICATE_EXPIRY, CERTIFICATE_NOT_BEFORE, DROPPED, LEADER, WATCH_LAST_EVENT,
};

use super::{Alert, Group, Severity};
use crate::promql::foreign::UP;
use crate::promql::{Expr, Range, counter, gauge};

const DAY: f64 = 86_400.0;

pub(super) fn group() -> Group {
    let absent = [
        ("KubeDevopsWatcherAbsent", UP.gauge().matching("job", ".*policy-watcher")),
        ("KubeDevopsOperatorAbsent", UP.gauge().matching("job", ".*policy-operator")),
        ("KubeDevopsWebhookAbsent", UP.gauge().matching("job", ".*policy-webhook")),
    ];
    let texts = [
        (
            "No policy-watcher is scraped",
            "No target of policy-watcher is up: there is no score of the cluster and of namespaces.",
        ),
        (
            "No policy-operator is scraped",
            "No target of policy-operator is up: no policy is evaluated, nothing is enforced, and \
             deleted policies stay in Terminating.",
        ),
        (
            "No policy-webhook is scraped",
            "No target of policy-webhook is up: if none runs, everything is admitted.",
        ),
    ];
    let mut alerts: Vec<Alert> = absent
        .into_iter()
        .zip(texts)
        .map(|((name, up), (summary, description))| Alert {
            name,
            expr: up.value().equals(1.0).absent(),
            hold: "5m",
            severity: Severity::Critical,
            summary,
            description,
        })
        .collect();
    alerts.extend([no_leader(), two_leaders(), stale_watch(), certificate(), dropped()]);
    Group { name: "kube-devops-services", alerts, tests: include_str!("tests/services.yaml") }
}

fn leaders() -> Expr {
    gauge(&LEADER).value().of_our_services().sum_by(&["cluster", "service"])
}

fn no_leader() -> Alert {
    Alert {
        name: "KubeDevopsNoLeader",
        expr: leaders().equals(0.0),
        hold: "2m",
        severity: Severity::Critical,
        summary: "No replica of {{ $labels.service }} is the leader",
        description: "The replicas of {{ $labels.service }} run and none of them leads: it exports no \
                      scores and writes nothing.",
    }
}

/// A scrape in the middle of a change can see the old and the new one.
fn two_leaders() -> Alert {
    Alert {
        name: "KubeDevopsTwoLeaders",
        expr: leaders().gt(1.0),
        hold: "2m",
        severity: Severity::Warning,
        summary: "{{ $value }} replicas of {{ $labels.service }} are leaders",
        description: "{{ $value }} replicas of {{ $labels.service }} say that they lead, and each object \
                      may be written twice.",
    }
}

/// The API server sends at least a bookmark every minute.
fn stale_watch() -> Alert {
    let age = gauge(&WATCH_LAST_EVENT).value().age().of_our_services();
    Alert {
        name: "KubeDevopsWatchStale",
        expr: age.max_by(&["cluster", "service", "instance", "kind"]).gt(300.0),
        hold: "5m",
        severity: Severity::Warning,
        summary: "{{ $labels.service }} does not hear from the API server",
        description: "For {{ $value | humanizeDuration }} the API server has sent {{ $labels.instance }} of \
                      {{ $labels.service }} nothing about {{ $labels.kind }}: what it says may be old.",
    }
}

/// The webhook, and cert-manager by default, renew a certificate when a third of its lifetime is
/// left. At half of that the renewal has failed for long; of a certificate for years that somebody
/// brought along, a month is enough.
fn certificate() -> Alert {
    let left = || gauge(&CERTIFICATE_EXPIRY).value().until();
    let lifetime = gauge(&CERTIFICATE_EXPIRY).value() - gauge(&CERTIFICATE_NOT_BEFORE).value();
    let is_late = (lifetime / 6.0).greater_than(left());
    let late = left().lt(30.0 * DAY).and(is_late).of_our_services();
    Alert {
        name: "KubeDevopsCertificateExpiring",
        expr: late.min_by(&["cluster", "service", "instance"]),
        hold: "15m",
        severity: Severity::Critical,
        summary: "The certificate of {{ $labels.service }} is not renewed",
        description: "The certificate of {{ $labels.instance }} expires in {{ $value | humanizeDuration }}, \
                      and should have been renewed. Then the API server calls the webhook no longer, and \
                      admits everything.",
    }
}

fn dropped() -> Alert {
    let dropped = counter(&DROPPED).increase(Range::Fixed("15m")).of_our_services();
    Alert {
        name: "KubeDevopsItemsDropped",
        expr: dropped.sum_by(&["cluster", "service", "what"]).gt(10.0),
        hold: "15m",
        severity: Severity::Warning,
        summary: "{{ $labels.service }} leaves out {{ $labels.what }}",
        description: "{{ $labels.service }} has left out or refused {{ $value | humanize }} {{ $labels.what }} \
                      within 15 minutes, because a limit was reached.",
    }
}
