//! What the watcher exports: metrics, written at each scrape, `/scores` and `/debug/state`.

use std::sync::Arc;

use policy_core::Timestamp;
use policy_core::report::{NamespaceSummary, Summary};
use policy_core::score::Tally;
use policy_metrics::{Metric, watcher as metrics};
use policy_runtime::endpoints::{self, Answer};
use policy_runtime::lease::{LeaderGate, LeaderReport};
use policy_runtime::metrics::Exposition;
use policy_runtime::watch::{WatchReport, WatchStatus};
use serde::Serialize;

use crate::scores::{Scores, Totals};

/// The most namespaces that `/scores` lists; the others are counted.
const MAX_NAMESPACES: usize = 10_000;

/// The source of metrics and answers.
#[derive(Clone)]
pub(crate) struct Publisher {
    pub(crate) scores: Scores,
    /// Only the leader exports scores as metrics, so that no two replicas export the same series.
    pub(crate) gate: LeaderGate,
    pub(crate) watch: WatchStatus,
    /// The name of the policy.
    pub(crate) profile: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScoresAnswer<'a> {
    schema_version: &'static str,
    profile: &'a str,
    is_leader: bool,
    /// Seconds since the last event of the watch.
    last_event_age_seconds: Option<u64>,
    cluster: Summary,
    namespaces: Vec<NamespaceSummary>,
    /// How many namespaces are not listed.
    namespaces_left_out: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StateAnswer<'a> {
    profile: &'a str,
    pods: usize,
    namespaces: usize,
    /// The second (since 1970) at which the next pod changes only because time passes.
    next_due: Option<i64>,
    /// Why the policy's file is not used as it is now; `null` where it is.
    refused_policy: Option<String>,
    leader: LeaderReport,
    watches: [WatchReport; 1],
}

impl Publisher {
    /// The answer of `/scores`, from every replica.
    #[must_use]
    pub(crate) fn scores(&self) -> Answer {
        let Some(totals) = self.scores.at(Timestamp::now()) else {
            return endpoints::unavailable("the initial list of pods is not complete");
        };
        let policy = &totals.policy;
        endpoints::json(&ScoresAnswer {
            schema_version: "1",
            profile: &self.profile,
            is_leader: self.gate.is_open(),
            last_event_age_seconds: self.watch.report().last_event_age_seconds,
            cluster: Summary::of(&totals.cluster, policy),
            namespaces_left_out: totals.namespaces.len().saturating_sub(MAX_NAMESPACES),
            namespaces: totals
                .namespaces
                .iter()
                .take(MAX_NAMESPACES)
                .map(|(name, tally)| NamespaceSummary {
                    namespace: Arc::clone(name),
                    summary: Summary::of(tally, policy),
                })
                .collect(),
        })
    }

    /// The answer of `/debug/state`.
    #[must_use]
    pub(crate) fn state(&self) -> Answer {
        let totals = self.scores.at(Timestamp::now());
        endpoints::json(&StateAnswer {
            profile: &self.profile,
            pods: self.scores.tracked(),
            namespaces: totals.map_or(0, |totals| totals.namespaces.len()),
            next_due: self.scores.next_due(),
            refused_policy: self.scores.refused_policy(),
            leader: self.gate.report(),
            watches: [self.watch.report()],
        })
    }

    /// Writes the metrics that are bound to pods and namespaces.
    pub(crate) fn metrics(&self, to: &mut Exposition) {
        to.family(&metrics::PODS_TRACKED).series(&[], self.scores.tracked());
        if !self.gate.is_open() {
            return;
        }
        let Some(totals) = self.scores.at(Timestamp::now()) else { return };
        let scores = render(&totals, to.part());
        // The lease may have run out meanwhile.
        if self.gate.is_open() {
            to.append(&scores);
        }
    }
}

fn render(Totals { policy, cluster, namespaces }: &Totals, mut to: Exposition) -> Exposition {
    to.family(&metrics::CLUSTER_SCORE).series(&[], cluster.score(policy).value());
    to.family(&metrics::CLUSTER_PODS).series(&[], cluster.pods());
    to.family(&metrics::CLUSTER_COMPLIANT).series(&[], cluster.compliant_pods());
    let mut each = |metric: &Metric, value: &dyn Fn(&Tally) -> u64| {
        let mut family = to.family(metric);
        for (namespace, tally) in namespaces {
            family.series(&[("namespace", namespace)], value(tally));
        }
    };
    each(&metrics::NAMESPACE_SCORE, &|tally| tally.score(policy).value().into());
    each(&metrics::NAMESPACE_PODS, &Tally::pods);
    each(&metrics::NAMESPACE_COMPLIANT, &Tally::compliant_pods);
    let mut family = to.family(&metrics::NAMESPACE_VIOLATIONS);
    for (namespace, tally) in namespaces {
        for (check, _) in policy.enabled() {
            let labels = [("namespace", &**namespace), ("check", check.as_str())];
            family.series(&labels, tally.findings(check));
        }
    }
    to
}
