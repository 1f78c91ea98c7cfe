//! The row of the watcher: what to fix, where, and whether the cluster is seen at all.

use policy_core::score::Classification;
use policy_metrics::every_service::{
    BUILD_INFO, CPU, DROPPED, LEADER, RESIDENT, START, WATCH_ERRORS, WATCH_LAST_EVENT,
    WATCH_RESTARTS, WATCH_UNDECODABLE,
};
use policy_metrics::watcher::{
    CLUSTER_COMPLIANT, CLUSTER_PODS, CLUSTER_SCORE, NAMESPACE_COMPLIANT, NAMESPACE_PODS,
    NAMESPACE_SCORE, NAMESPACE_VIOLATIONS, POD_EVENTS, PODS_TRACKED,
};

use super::model::Property;
use super::panel::{Panel, Section, thresholds};
use super::view::Cell;
use super::{SERIES_TO_CLUSTER, SERIES_TO_NAMESPACE, TO_NAMESPACE, chosen};
use crate::promql::{Expr, Range, counter, gauge};

/// The classes of a score, the worst first, each with its least number and its color.
pub(super) fn classes() -> [(f64, &'static str); 4] {
    use Classification::{Critical, Degraded, Healthy, Stable};
    let colors =
        [(Critical, "red"), (Degraded, "orange"), (Stable, DARK_YELLOW), (Healthy, "green")];
    colors.map(|(class, color)| (class.least().into(), color))
}
/// Yellow can be read on white only if it is dark.
pub(super) const DARK_YELLOW: &str = "dark-yellow";
/// Any is one too many.
pub(super) const NONE_WANTED: [(f64, &str); 2] = [(0.0, "green"), (1.0, "orange")];

const NAMESPACE: [&str; 2] = ["cluster", "namespace"];

pub(super) fn row() -> Section {
    let mut panels = what_to_fix();
    panels.extend(over_time());
    panels.extend(namespaces());
    panels.extend(watch_health());
    panels.extend(services());
    Section { title: "Watch", panels }
}

fn violations() -> Expr {
    chosen(gauge(&NAMESPACE_VIOLATIONS)).value()
}

fn score() -> Expr {
    chosen(gauge(&NAMESPACE_SCORE)).value()
}

/// Compliant pods of all, in percent.
fn compliant_share() -> Expr {
    let compliant = chosen(gauge(&CLUSTER_COMPLIANT)).value();
    compliant / chosen(gauge(&CLUSTER_PODS)).value() * 100.0
}

/// Pods that could be read of all, in percent: at least, since each event of a pod counts.
fn coverage() -> Expr {
    let read = || chosen(gauge(&CLUSTER_PODS)).value();
    let unread = chosen(counter(&WATCH_UNDECODABLE)).equal("kind", "Pod");
    let unread = unread.increase(Range::Dashboard).of_our_services().max_by(&["cluster"]);
    read() / (read() + unread) * 100.0
}

fn what_to_fix() -> Vec<Panel> {
    let worst = || violations().sum_by(&NAMESPACE).gt(0.0).topk(20);
    let of_worst = |expr: Expr| expr.and_on(&NAMESPACE, worst());
    let not_ready = chosen(gauge(&NAMESPACE_VIOLATIONS)).equal("check", "not-ready").value();
    let compliant = chosen(gauge(&NAMESPACE_COMPLIANT)).value();
    let share = compliant / chosen(gauge(&NAMESPACE_PODS)).value() * 100.0;
    let bar = vec![
        Property::Unit("percent"),
        Property::Decimals(0),
        Property::Min(0.0),
        Property::Max(100.0),
        Property::Cell(Cell::Gauge { mode: "basic" }),
        Property::Thresholds(thresholds(&classes())),
    ];
    let found = violations().sum_by(&["cluster", "namespace", "check"]).gt(0.0);
    let most_often = of_worst(found.greatest_by(&NAMESPACE));
    let score_look = vec![
        Property::Cell(Cell::ColorText),
        Property::Thresholds(thresholds(&classes())),
        Property::Width(65),
    ];
    let table = Panel::table(
        "What to fix, and where",
        "The 20 namespaces with the most findings, each with the check that it breaks most often. Begin \
         at the top: a click on a namespace shows its policies, and `policyctl analyze -n NAMESPACE` \
         lists each finding with its container and how to fix it. Compliant are pods without any \
         finding; not ready are pods that run and have got no traffic for too long.",
        (0, 0, 16, 11),
        "Violations",
    );
    let table = table
        .column("Violations", &worst(), vec![Property::Width(95)])
        .column("Compliant pods", &of_worst(share), bar)
        .column("Not ready", &of_worst(not_ready.sum_by(&NAMESPACE)), vec![Property::Width(95)])
        .column("Score", &of_worst(score()), score_look)
        .column(
            "Pods",
            &of_worst(chosen(gauge(&NAMESPACE_PODS)).value()),
            vec![Property::Width(60)],
        )
        .labels(&most_often)
        .of(&["cluster", "namespace", "check"])
        .styled("Most often", vec![Property::Width(150)])
        .styled("Namespace", vec![Property::Links(vec![TO_NAMESPACE])])
        .or_else("No findings");
    let now = Panel::stat(
        "The cluster now",
        "A score is a mean: one bad pod in a hundred hardly moves it. So read it together with the \
         share of pods without any finding, and with the coverage: the share of pods that could be \
         read at all. Coverage below 100 %: look for undecodable objects in the log of policy-watcher.",
        (16, 0, 8, 4),
    );
    let now = now
        .now("Score {{cluster}}", &chosen(gauge(&CLUSTER_SCORE)).value())
        .now("Compliant % {{cluster}}", &compliant_share())
        .now("Coverage % {{cluster}}", &coverage())
        .unit("none")
        .decimals(0)
        .thresholds(&classes())
        .link(SERIES_TO_CLUSTER);
    let by_check = Panel::bars(
        "Violations by check",
        "Findings of the chosen namespaces now. The longest bar is the rule that most pods break: one \
         change of a shared template or base image often removes many of them. docs/checks.md says \
         what each check means and how to fix it.",
        (16, 4, 8, 7),
    );
    let by_check = by_check
        .now("{{check}}", &violations().sum_by(&["check"]).descending())
        .unit("short")
        .decimals(0)
        .min(0.0)
        .thresholds(&NONE_WANTED)
        .or_else("No findings");
    vec![table, now, by_check]
}

fn over_time() -> Vec<Panel> {
    let shares = Panel::lines(
        "Score, compliant share and coverage",
        "Of all namespaces of the cluster. A step down at a moment names a release: compare with the \
         violations beside. A falling share under a level score is few pods that get worse.",
        (0, 11, 12, 8),
    );
    let shares = shares
        .query("Score {{cluster}}", &chosen(gauge(&CLUSTER_SCORE)).value())
        .query("Compliant % {{cluster}}", &compliant_share())
        .query("Coverage % {{cluster}}", &coverage())
        .percent()
        .unit("none")
        .link(SERIES_TO_CLUSTER);
    let checks = Panel::lines(
        "Violations by check over time",
        "Findings of the chosen namespaces. A new band says which rule was broken, and when.",
        (12, 11, 12, 8),
    );
    let checks = checks
        .query("{{check}}", &violations().sum_by(&["check"]))
        .unit("short")
        .min(0.0)
        .stacked()
        .few_steps();
    vec![shares, checks]
}

fn namespaces() -> Vec<Panel> {
    let least = || score().bottomk(8);
    let bars = Panel::bars(
        "Least healthy namespaces",
        "The eight lowest scores now. A click shows the namespace.",
        (0, 19, 8, 8),
    );
    let bars = bars
        .now("{{namespace}}", &least())
        .percent()
        .unit("none")
        .thresholds(&classes())
        .link(SERIES_TO_NAMESPACE)
        .or_else("No namespaces");
    let lines = Panel::lines(
        "Least healthy namespaces over time",
        "The eight lowest scores at each moment, so a line can begin or end where a namespace becomes \
         one of them. Choose a namespace above to see all of its line.",
        (8, 19, 16, 8),
    );
    let lines = lines
        .query("{{namespace}}", &least())
        .percent()
        .unit("none")
        .link(SERIES_TO_NAMESPACE)
        .few_steps();
    let by_class = Panel::stat(
        "Namespaces by class",
        "How many of the chosen namespaces are Healthy (80 and more), Stable (60), Degraded (40) and \
         Critical. A Critical one has a finding for most of its pods: begin there.",
        (0, 27, 8, 7),
    );
    let [_, degraded, stable, healthy] = classes().map(|(least, _)| least);
    let by_class = by_class
        .now("Healthy", &score().ge(healthy).count().or_zero())
        .now("Stable", &score().ge(stable).lt(healthy).count().or_zero())
        .now("Degraded", &score().ge(degraded).lt(stable).count().or_zero())
        .now("Critical", &score().lt(degraded).count().or_zero())
        .unit("short")
        .colored_if_any("Healthy", "green")
        .colored_if_any("Stable", DARK_YELLOW)
        .colored_if_any("Degraded", "orange")
        .colored_if_any("Critical", "red");
    let pods = Panel::lines(
        "Pods",
        "Scored: of all namespaces but those of the system. Compliant: without any finding. Tracked: \
         what each replica has in its index; replicas that differ for longer than a minute do not see \
         the same cluster, so look at the watch below.",
        (8, 27, 16, 7),
    );
    let pods = pods
        .query("Scored {{cluster}}", &chosen(gauge(&CLUSTER_PODS)).value())
        .query("Compliant {{cluster}}", &chosen(gauge(&CLUSTER_COMPLIANT)).value())
        .query("Tracked by {{instance}}", &chosen(gauge(&PODS_TRACKED)).value())
        .unit("short")
        .min(0.0);
    vec![bars, lines, by_class, pods]
}

fn watch_health() -> Vec<Panel> {
    let age = Panel::lines(
        "Time since the last event of a watch",
        "The API server sends at least a bookmark each minute. Several minutes: the service sees an old \
         cluster. Look at its log, at its network policy, and at the API server.",
        (0, 34, 8, 7),
    );
    let last = chosen(gauge(&WATCH_LAST_EVENT)).value().of_our_services();
    let age = age
        .query("{{service}}: {{kind}}", &last.age().max_by(&["cluster", "service", "kind"]))
        .unit("s")
        .min(0.0);
    let each = |metric, what: &[&'static str]| {
        chosen(counter(metric)).increase(Range::RateInterval).of_our_services().sum_by(what)
    };
    let failures = Panel::events(
        "Failures of watches",
        "Errors: requests that failed, often a restart of the API server. Relists: complete lists after \
         the first one, costly when frequent. Undecodable: objects that were left out; the log names \
         each one.",
        (8, 34, 8, 7),
    );
    let failures = failures
        .query("{{service}}: errors", &each(&WATCH_ERRORS, &["service"]))
        .query("{{service}}: relists", &each(&WATCH_RESTARTS, &["service"]))
        .query("{{service}}: undecodable", &each(&WATCH_UNDECODABLE, &["service"]));
    let events = Panel::lines(
        "Pod events",
        "Changes of pods that a replica of policy-watcher received each second. No events in a busy \
         cluster: its watch is dead. A peak of relisted ones: it had to begin anew.",
        (16, 34, 8, 7),
    );
    let events = events
        .query(
            "{{event}}",
            &chosen(counter(&POD_EVENTS)).rate(Range::RateInterval).max_by(&["event"]),
        )
        .unit("suffix:/s")
        .min(0.0);
    vec![age, failures, events]
}

fn services() -> Vec<Panel> {
    let of = |metric| chosen(gauge(metric)).value().of_our_services();
    let leader = Panel::states(
        "Leadership",
        "Which replica of policy-watcher and policy-operator leads. Exactly one of each at any time: \
         with none for longer than 15 seconds nothing is scored or written, so look at the Leases in \
         the namespace of the platform; two are a defect to be reported.",
        (0, 41, 12, 7),
    );
    let leader = leader
        .query("{{service}} {{instance}}", &of(&LEADER).max_by(&["service", "instance"]))
        .mapped(&[("0", "standby", "blue"), ("1", "leader", "green")]);
    let dropped = Panel::events(
        "Dropped",
        "What was left out or refused because a limit was reached. Now and then is what limits are for; \
         a steady stream means too little CPU or memory: see sizing in docs/operations.md.",
        (12, 41, 12, 7),
    );
    let lost = chosen(counter(&DROPPED)).increase(Range::RateInterval).of_our_services();
    let dropped = dropped.query("{{service}}: {{what}}", &lost.sum_by(&["service", "what"]));
    let memory = Panel::lines(
        "Memory",
        "Resident memory of the largest replica of each service. Compare with the limit of its container: \
         at the limit it is killed and starts anew.",
        (0, 48, 8, 7),
    );
    let memory =
        memory.query("{{service}}", &of(&RESIDENT).max_by(&["service"])).unit("bytes").min(0.0);
    let cpu = Panel::lines(
        "CPU",
        "CPU seconds in a second, of the busiest replica of each service. At the limit of its container it \
         is throttled: admission gets slow before anything fails.",
        (8, 48, 8, 7),
    );
    let used = chosen(counter(&CPU)).rate(Range::RateInterval).of_our_services();
    let cpu = cpu.query("{{service}}", &used.max_by(&["service"])).unit("none").min(0.0);
    let builds = chosen(gauge(&BUILD_INFO)).value().count_by(&["service", "version"]);
    let started = of(&START).age().min_by(&["service"]);
    let versions = Panel::table(
        "Versions",
        "The replicas of each service that run, by version, and how long ago the youngest of them \
         started. Two versions of a service for longer than a rollout: look at its Deployment.",
        (16, 48, 8, 7),
        "Replicas",
    );
    let versions = versions
        .column("Replicas", &builds, vec![Property::Width(80)])
        .column(
            "Youngest",
            &started,
            vec![Property::Unit("s"), Property::Decimals(0), Property::Width(85)],
        )
        .styled("Version", vec![Property::Width(75)])
        .of(&["service", "version"]);
    vec![leader, dropped, memory, cpu, versions]
}
