//! The row of the operator's verdicts: which policies are broken, and whether they are kept up to date.

use policy_metrics::operator::{
    AUDIT_RESULTS, DEFERRED, DURATION, HEALTH_SCORE, MODE, PODS_SCANNED, RECONCILE_ERRORS,
    RECONCILES, REMEDIATING, REPORT_ERRORS, REPORTS, VIOLATIONS, VIOLATIONS_BY_SEVERITY,
};

use super::model::Property;
use super::panel::{Panel, Section, mapping, thresholds};
use super::view::Cell;
use super::watch::{DARK_YELLOW, classes};
use super::{TO_NAMESPACE, TO_POLICY, chosen};
use crate::promql::{Expr, Range, counter, gauge, histogram};

pub(super) const POLICY: [&str; 3] = ["cluster", "namespace", "policy"];

const SEVERITIES: [(&str, &str); 4] =
    [("critical", "red"), ("high", "orange"), ("medium", DARK_YELLOW), ("low", "blue")];

pub(super) fn row() -> Section {
    let mut panels = policies();
    panels.extend(reconciles());
    Section { title: "Reconcile", panels }
}

fn policies() -> Vec<Panel> {
    let violations = || chosen(gauge(&VIOLATIONS)).value();
    let worst = || violations().topk(20);
    let of_worst = |metric| chosen(gauge(metric)).value().and_on(&POLICY, worst());
    let score = vec![
        Property::Cell(Cell::ColorText),
        Property::Thresholds(thresholds(&classes())),
        Property::Width(80),
    ];
    let mode =
        Property::Mappings(vec![mapping(&[("0", "audit", "text"), ("1", "enforce", "blue")])]);
    let remediating = [("0", "no", "text"), ("1", "yes", "green")];
    let table = Panel::table(
        "Policies to look at",
        "The 20 policies with the most findings. A click on a policy shows it alone; `kubectl describe \
         devopspolicy NAME -n NAMESPACE` lists the worst findings and the conditions. A policy in \
         enforce mode that does not remediate says why in its condition Remediating.",
        (0, 0, 16, 10),
        "Violations",
    );
    let table = table
        .column("Violations", &worst(), vec![Property::Width(100)])
        .column("Score", &of_worst(&HEALTH_SCORE), score)
        .column("Mode", &of_worst(&MODE), vec![mode, Property::Width(90)])
        .column(
            "Remediating",
            &of_worst(&REMEDIATING),
            vec![Property::Mappings(vec![mapping(&remediating)]), Property::Width(110)],
        )
        .of(&POLICY)
        .styled("Namespace", vec![Property::Links(vec![TO_NAMESPACE])])
        .styled("Policy", vec![Property::Links(vec![TO_POLICY])])
        .or_else("No policies");
    let modes = Panel::stat(
        "Policies by mode",
        "Policies that only report, and policies that may change workloads.",
        (16, 0, 8, 4),
    );
    let in_mode = |mode| chosen(gauge(&MODE)).value().equals(mode).count().or_zero();
    let modes = modes
        .now("Audit", &in_mode(0.0))
        .now("Enforce", &in_mode(1.0))
        .unit("short")
        .colored("Audit", "text")
        .colored("Enforce", "blue");
    let severities = Panel::named_bars(
        "Violations by severity",
        "Findings of the chosen policies now. Critical ones first; the severity of a check is set by \
         severityOverrides of the policy and never changes a score.",
        (16, 4, 8, 6),
    );
    let severities = severities.unit("short").min(0.0).or_else("No findings");
    let over_time = Panel::lines(
        "Violations by severity over time",
        "Findings of the chosen policies.",
        (0, 10, 12, 8),
    );
    let over_time = over_time.unit("short").min(0.0).stacked().few_steps();
    let add = |[severities, over_time]: [Panel; 2], &(severity, color): &(&'static str, _)| {
        let found = chosen(gauge(&VIOLATIONS_BY_SEVERITY)).equal("severity", severity).value();
        let found = found.sum_by(&["severity"]);
        let panels =
            [severities.now("{{severity}}", &found), over_time.query("{{severity}}", &found)];
        panels.map(|panel| panel.colored(severity, color))
    };
    let [severities, over_time] = SEVERITIES.iter().fold([severities, over_time], add);
    vec![table, modes, severities, over_time]
}

fn reconciles() -> Vec<Panel> {
    let rate = |metric| -> Expr { chosen(counter(metric)).rate(Range::RateInterval).sum() };
    let reconciles = Panel::lines(
        "Reconciles",
        "Evaluations of a policy each second, of all replicas. Deferred: held back because a namespace \
         has used up its budget of writes; its verdicts arrive later, and no other namespace waits.",
        (12, 10, 12, 8),
    );
    let reconciles = reconciles
        .query("Reconciles", &rate(&RECONCILES))
        .query("Deferred", &rate(&DEFERRED))
        .unit("suffix:/s")
        .min(0.0);
    let duration = || chosen(histogram(&DURATION));
    let quantiles = Panel::lines(
        "Duration of a reconcile",
        "Half of the reconciles, and 99 of 100, take no longer. A slow one that writes waits for the API \
         server; a slow one that does not lacks CPU.",
        (0, 18, 8, 8),
    );
    let quantiles =
        quantiles.quantiles(&duration()).query("mean", &duration().average(Range::RateInterval));
    let heat = Panel::heat_map(
        "Durations of reconciles",
        "How many reconciles took how long. A second band above the first one is those that write.",
        (8, 18, 8, 8),
    );
    let heat = heat.query("{{le}}", &duration().buckets(Range::RateInterval));
    let errors = Panel::events(
        "Reconcile errors",
        "By class. Forbidden: a right is missing, apply the installation again. Invalid: the API server \
         refuses what is written, often CRDs of another version. Transient and conflict: retried by \
         itself. The log of policy-operator has each of them. Those of Reports delay nothing else; \
         not_served: the definition of openreports.io is missing.",
        (16, 18, 8, 8),
    );
    let failed = chosen(counter(&RECONCILE_ERRORS)).increase(Range::RateInterval);
    let of_reports = chosen(counter(&REPORT_ERRORS)).increase(Range::RateInterval);
    let errors = errors
        .query("{{class}}", &failed.sum_by(&["class"]))
        .query("Report: {{class}}", &of_reports.sum_by(&["class"]));
    let scanned = Panel::lines(
        "Pods evaluated",
        "Pods each second, of all policies and replicas: the work that changes of pods cause.",
        (0, 26, 12, 7),
    );
    let scanned = scanned.query("Pods", &rate(&PODS_SCANNED)).unit("suffix:/s").min(0.0);
    let audits = Panel::events(
        "Audit results and Reports",
        "Verdicts that changed and were written as PolicyAuditResults, at most one a minute for each \
         policy. A policy that writes one each minute has a verdict that flaps. Reports of \
         openreports.io, where they are wanted.",
        (12, 26, 12, 7),
    );
    let written = |metric| chosen(counter(metric)).increase(Range::RateInterval).sum();
    let audits = audits
        .query("Audit results", &written(&AUDIT_RESULTS))
        .query("Reports", &written(&REPORTS));
    vec![reconciles, quantiles, heat, errors, scanned, audits]
}
