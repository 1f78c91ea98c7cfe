//! The row of enforce mode: what is changed, taken back, proposed, and what keeps it from working.

use policy_metrics::Metric;
use policy_metrics::operator::{
    APPLIED, FAILED, MODE, PROPOSED, REMEDIATING, REVERTED, VIOLATIONS,
};

use super::model::Property;
use super::panel::{Panel, Section};
use super::reconcile::POLICY;
use super::{TO_POLICY, chosen};
use crate::promql::{Expr, Range, counter, gauge};

pub(super) fn row() -> Section {
    let mut panels = outcomes();
    panels.extend(reasons());
    panels.push(stopped());
    Section { title: "Enforcement", panels }
}

fn counted(metric: &'static Metric, range: Range) -> Expr {
    chosen(counter(metric)).increase(range).sum()
}

fn outcomes() -> Vec<Panel> {
    type Outcome = (&'static str, &'static Metric, &'static str);
    const OUTCOMES: [Outcome; 4] = [
        ("Applied", &APPLIED, "green"),
        ("Reverted", &REVERTED, "orange"),
        ("Failed", &FAILED, "red"),
        ("Proposed", &PROPOSED, "blue"),
    ];
    let over_time = Panel::events(
        "Remediations",
        "Applied: a workload was patched or injected into. Reverted: that did harm and was taken back. \
         Failed: the API server refused. Proposed: not done since it would not be safe. Two reverts in \
         ten minutes stop all remediation; see the table below.",
        (0, 0, 16, 8),
    );
    let in_all = Panel::stat(
        "Remediations in the time shown",
        "Reverted ones deserve a look: the Event on the policy names the workload and the reason, and \
         the workload is left alone until its template changes.",
        (16, 0, 8, 8),
    );
    let add = |[over_time, in_all]: [Panel; 2], &(name, metric, color): &Outcome| {
        let over_time = over_time.query(name, &counted(metric, Range::RateInterval));
        let in_all = in_all.now(name, &counted(metric, Range::Dashboard));
        [over_time.colored(name, color), in_all.colored_if_any(name, color)]
    };
    let in_all = in_all.unit("short").decimals(0);
    OUTCOMES.iter().fold([over_time, in_all], add).to_vec()
}

fn reasons() -> Vec<Panel> {
    let by_reason = |title, description, x, metric| {
        let expr = chosen(counter(metric)).increase(Range::Dashboard).sum_by(&["reason"]).gt(0.0);
        Panel::table(title, description, (x, 8, 8, 6), "Times")
            .column("Times", &expr, vec![Property::Decimals(0), Property::Width(90)])
            .of(&["reason"])
            .or_else("None")
    };
    vec![
        by_reason(
            "Failed, by reason",
            "In the time shown. Forbidden: enforce mode is on and its rights are missing; install with \
             enforcement.enabled. Denied: another webhook refuses the patch. Conflict: another manager \
             owns the field. Each is an Event on its policy.",
            0,
            &FAILED,
        ),
        by_reason(
            "Reverted, by reason",
            "In the time shown. NoProgress and ReplicaFailure: the rollout did not finish. Restarted and \
             OutOfMemory: the injected probe or limit does not fit the program; set it in the workload.",
            8,
            &REVERTED,
        ),
        by_reason(
            "Proposed, by reason",
            "In the time shown. docs/remediation.md says for each reason what would make it safe; \
             `policyctl remediations` lists the workloads.",
            16,
            &PROPOSED,
        ),
    ]
}

fn stopped() -> Panel {
    let enforcing = chosen(gauge(&MODE)).value().equals(1.0);
    let idle = chosen(gauge(&REMEDIATING)).value().equals(0.0);
    let stopped = || enforcing.clone().and_on(&POLICY, idle.clone());
    let violations = chosen(gauge(&VIOLATIONS)).value();
    let listed = violations.and_on(&POLICY, stopped()).topk(20);
    let table = Panel::table(
        "Enforce mode that does not remediate",
        "Policies in enforce mode whose condition Remediating is false although one of their windows is \
         open: the circuit breaker is open after reverts, or remediation is switched off. `kubectl \
         describe devopspolicy NAME -n NAMESPACE` says which.",
        (0, 14, 24, 6),
        "Violations",
    );
    table
        .column("Violations", &listed, vec![Property::Width(140)])
        .of(&POLICY)
        .styled("Policy", vec![Property::Links(vec![TO_POLICY])])
        .or_else("None")
}
