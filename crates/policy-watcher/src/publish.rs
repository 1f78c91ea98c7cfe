//! What the watcher tells: metrics at each scrape, `/scores` and `/debug/state`.

use policy_core::Timestamp;
use policy_core::policy::CompiledPolicy;
use policy_core::report::{NamespaceSummary, Summary};
use policy_core::score::Tally;
use policy_runtime::endpoints::{self, Answer};
use policy_runtime::lease::{LeaderGate, LeaderReport};
use policy_runtime::metrics::{Exposition, Kind};
use policy_runtime::watch::{WatchReport, WatchStatus};
use serde::Serialize;

use crate::scores::{Scores, View};

/// So many namespaces are listed by `/scores`; the rest is counted.
const MOST_NAMESPACES: usize = 10_000;

/// All that is told, and by whom it is asked for.
#[derive(Clone)]
pub(crate) struct Publisher {
    /// The pods.
    pub(crate) scores: Scores,
    /// Whether this replica leads: only the leader's scores are metrics, so that two replicas
    /// never count twice.
    pub(crate) gate: LeaderGate,
    /// How the watch is doing.
    pub(crate) watch: WatchStatus,
    /// What the policy is called.
    pub(crate) profile: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScoresAnswer<'a> {
    schema_version: &'static str,
    profile: &'a str,
    is_leader: bool,
    /// Seconds since the API server was last heard.
    last_event_age_seconds: Option<u64>,
    cluster: Summary,
    namespaces: Vec<NamespaceSummary>,
    /// Namespaces beyond the most that are listed.
    namespaces_left_out: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StateAnswer<'a> {
    profile: &'a str,
    pods: usize,
    namespaces: usize,
    /// The second since 1970 at which the next pod changes by the passing of time.
    next_due: Option<i64>,
    leader: LeaderReport<'a>,
    watches: [WatchReport; 1],
}

impl Publisher {
    /// Answers `/scores`, as leader or not.
    #[must_use]
    pub(crate) fn scores(&self) -> Answer {
        let policy = self.scores.policy();
        let found = self.scores.at(Timestamp::now(), |view| ScoresAnswer {
            schema_version: "1",
            profile: &self.profile,
            is_leader: self.gate.is_open(),
            last_event_age_seconds: self.watch.report().last_event_age_seconds,
            cluster: Summary::of(view.cluster, policy),
            namespaces_left_out: view.namespaces.len().saturating_sub(MOST_NAMESPACES),
            namespaces: view
                .namespaces
                .into_iter()
                .take(MOST_NAMESPACES)
                .map(|(name, tally)| NamespaceSummary {
                    namespace: name.clone(),
                    summary: Summary::of(tally, policy),
                })
                .collect(),
        });
        match found {
            Some(answer) => endpoints::json(&answer),
            None => endpoints::unavailable("there was no whole list of pods yet"),
        }
    }

    /// Answers `/debug/state`.
    #[must_use]
    pub(crate) fn state(&self) -> Answer {
        let sizes = self.scores.at(Timestamp::now(), |view| (view.namespaces.len(), view.next_due));
        let (namespaces, next_due) = sizes.unwrap_or_default();
        let holder = self.gate.holder();
        endpoints::json(&StateAnswer {
            profile: &self.profile,
            pods: self.scores.tracked(),
            namespaces,
            next_due,
            leader: self.gate.report(holder.as_deref()),
            watches: [self.watch.report()],
        })
    }

    /// Writes the metrics that come and go with pods, and those of the leader.
    pub(crate) fn metrics(&self, to: &mut Exposition) {
        to.family("pods_tracked_total", Kind::Gauge, "Pods that this replica keeps.")
            .series(&[], self.scores.tracked());
        if !self.gate.is_open() {
            return;
        }
        let policy = self.scores.policy();
        let scores = self.scores.at(Timestamp::now(), |view| render(&view, policy));
        // Rendering takes its time, and the gate may have closed.
        if let Some(scores) = scores.filter(|_| self.gate.is_open()) {
            to.append(&scores);
        }
    }
}

fn render(view: &View<'_>, policy: &CompiledPolicy) -> Exposition {
    let mut to = Exposition::default();
    let total = view.cluster;
    to.family("cluster_health_score", Kind::Gauge, "Health of all pods, 0 (worst) to 100.")
        .series(&[], total.score(policy).value());
    to.family("cluster_pods", Kind::Gauge, "Pods that were scored.").series(&[], total.pods());
    to.family("cluster_compliant_pods", Kind::Gauge, "Pods without any finding.")
        .series(&[], total.compliant_pods());
    let namespaces = &view.namespaces;
    let mut each = |name, help, value: &dyn Fn(&Tally) -> u64| {
        let mut family = to.family(name, Kind::Gauge, help);
        for (namespace, tally) in namespaces {
            family.series(&[("namespace", namespace)], value(tally));
        }
    };
    each("namespace_health_score", "Health of the namespace, 0 (worst) to 100.", &|tally| {
        tally.score(policy).value().into()
    });
    each("namespace_pods", "Pods of the namespace that were scored.", &Tally::pods);
    each("namespace_compliant_pods", "Pods without any finding.", &Tally::compliant_pods);
    let mut family = to.family("namespace_violations", Kind::Gauge, "Findings of a check.");
    for (namespace, tally) in namespaces {
        for (check, _) in policy.enabled() {
            let labels = [("namespace", &***namespace), ("check", check.as_str())];
            family.series(&labels, tally.findings(check));
        }
    }
    to
}
