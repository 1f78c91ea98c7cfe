//! The row of admission: what is denied, how fast, and what was let through unjudged.

use policy_metrics::every_service::CERTIFICATE_EXPIRY;
use policy_metrics::webhook::{
    CERTIFICATE_ERRORS, DENIALS, DURATION, FAIL_OPEN, FINDINGS, REQUESTS,
};

use super::chosen;
use super::panel::{Panel, Section};
use crate::promql::foreign::our_fail_open;
use crate::promql::{Range, counter, gauge, histogram};

/// Seconds of a day.
const DAY: f64 = 86_400.0;

pub(super) fn row() -> Section {
    let mut panels = answers();
    panels.extend(durations());
    panels.extend(unjudged());
    panels.extend(certificate());
    Section { title: "Webhook", panels }
}

fn answers() -> Vec<Panel> {
    let requests = Panel::lines(
        "Admission requests",
        "Answers each second. Mutated and unchanged are those of enforce mode. A sudden rise of denials \
         is a pipeline that tries again and again: the panel beside says which check it fails.",
        (0, 0, 8, 8),
    );
    let answered = chosen(counter(&REQUESTS)).rate(Range::RateInterval);
    let requests = requests
        .query("{{decision}}", &answered.sum_by(&["decision"]))
        .unit("suffix:/s")
        .min(0.0)
        .colored("allowed", "green")
        .colored("denied", "red")
        .colored("mutated", "blue")
        .colored("unchanged", "purple");
    let findings = Panel::events(
        "Denials and warnings by check",
        "Findings that denied a request, and those that came back as warnings. Before a policy goes from \
         warn to deny, its warnings here should have ended.",
        (8, 0, 16, 8),
    );
    let found = chosen(counter(&FINDINGS)).increase(Range::RateInterval);
    let findings = findings.query("{{check}} {{decision}}", &found.sum_by(&["check", "decision"]));
    vec![requests, findings]
}

fn durations() -> Vec<Panel> {
    let duration = || chosen(histogram(&DURATION));
    let heat = Panel::heat_map(
        "Admission latency",
        "How many answers took how long, from the head of a request to its answer. The API server waits \
         5 seconds at most, then allows.",
        (0, 8, 12, 8),
    );
    let heat = heat.query("{{le}}", &duration().buckets(Range::RateInterval));
    let quantiles = Panel::lines(
        "Admission latency, p50 and p99",
        "Half of the answers, and 99 of 100, take no longer. More than some milliseconds: the webhook \
         lacks CPU, or requests are very large.",
        (12, 8, 12, 8),
    );
    vec![heat, quantiles.quantiles(&duration())]
}

fn unjudged() -> Vec<Panel> {
    let ours = Panel::events(
        "Failed open, as the webhook counts",
        "Requests that were allowed without a complete verdict. not_synced: shortly after a start. \
         overload, deadline: too few replicas or too little CPU. custom_check: a policy with a false \
         condition Custom. invalid_policy: a policy with a false \
         condition Ready. too_large, slow_body: look at the client.",
        (0, 16, 12, 8),
    );
    let counted = chosen(counter(&FAIL_OPEN)).increase(Range::RateInterval);
    let ours = ours.query("{{reason}}", &counted.sum_by(&["reason"]));
    let theirs = Panel::events(
        "Failed open, as the API server counts",
        "Requests that the API server allowed because the webhook could not be called or did not answer: \
         those that the webhook never saw. Look at its pods, its Service, its certificate, and network \
         policies. Empty where this Prometheus does not scrape the API server, or nothing ever failed.",
        (12, 16, 12, 8),
    );
    let called = chosen(our_fail_open()).increase_from_none(Range::RateInterval);
    let theirs = theirs
        .query("{{name}}", &called.sum_by(&["name"]))
        .or_else("None that this Prometheus knows of");
    vec![ours, theirs]
}

fn certificate() -> Vec<Panel> {
    let days = gauge(&CERTIFICATE_EXPIRY);
    let days =
        (chosen(days).value().of_our_services().until() / DAY).min_by(&["cluster", "service"]);
    let expiry = Panel::stat(
        "Certificate expires in",
        "The served certificate that ends first. The self-managed one is renewed by itself after two \
         thirds of its life; less than a week means that renewing fails: see the errors beside.",
        (0, 24, 6, 6),
    );
    let expiry = expiry.now("{{service}}", &days).unit("suffix: days").decimals(0).thresholds(&[
        (0.0, "red"),
        (7.0, "orange"),
        (14.0, "green"),
    ]);
    let errors = Panel::events(
        "Certificate errors",
        "Operations on the self-managed certificate that failed. read and write: rights on its Secret or \
         on the webhook configurations. use and serve: the pair does not fit.",
        (14, 24, 10, 6),
    );
    let failed = chosen(counter(&CERTIFICATE_ERRORS)).increase(Range::RateInterval);
    let errors = errors.query("{{operation}}", &failed.sum_by(&["operation"]));
    vec![expiry, in_all(), errors]
}

fn in_all() -> Panel {
    let panel = Panel::stat(
        "Admission in the time shown",
        "Requests that were denied, findings that came back as warnings, and requests that were allowed \
         without a complete verdict. Of the last kind there should be none.",
        (6, 24, 8, 6),
    );
    let warned = chosen(counter(&FINDINGS)).equal("decision", "warned");
    panel
        .now("Denied", &chosen(counter(&DENIALS)).increase(Range::Dashboard).sum())
        .now("Warnings", &warned.increase(Range::Dashboard).sum())
        .now("Failed open", &chosen(counter(&FAIL_OPEN)).increase(Range::Dashboard).sum())
        .unit("locale")
        .decimals(0)
        .colored_if_any("Denied", "red")
        .colored_if_any("Warnings", "orange")
        .colored_if_any("Failed open", "purple")
}
