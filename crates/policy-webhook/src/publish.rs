//! What the webhook tells of itself: metrics, and `/debug/state`.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, describe_counter, describe_histogram, histogram};
use policy_core::admission::{Decision, FailOpenReason, Operation};
use policy_core::checks::CheckId;
use policy_runtime::endpoints::{self, Answer, Refusal};
use policy_runtime::metrics::Buckets;
use policy_runtime::watch::{WatchReport, WatchStatus};
use serde::Serialize;

use crate::policies::Policies;
use crate::validate::Outcome;

/// Most requests take some tens of microseconds.
pub(crate) const HISTOGRAMS: &[Buckets<'static>] = &[(
    "webhook_request_duration_seconds",
    &[0.000_05, 0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0],
)];

/// Policies that cannot be judged by are listed up to that number.
const MOST_REFUSED: usize = 100;

/// The counters, found once: a request is counted without a look-up.
#[derive(Clone)]
pub(crate) struct Counters {
    /// By operation, those that are not known last; allowed and denied.
    requests: Vec<[Counter; 2]>,
    denials: Counter,
    duration: Histogram,
    /// In the order of [`FailOpenReason::ALL`].
    fail_open: Vec<Counter>,
    /// By check, where it judges at admission; denied and warned.
    findings: Vec<Option<[Counter; 2]>>,
}

/// The label of a request whose operation cannot be read.
const UNKNOWN: &str = "unknown";

impl Counters {
    /// The counters, so that they are there before they count.
    pub(crate) fn new() -> Self {
        describe_counter!("webhook_requests_total", "Requests answered.");
        describe_counter!("webhook_denials_total", "Requests denied.");
        describe_counter!("webhook_failopen_total", "Requests that were allowed unjudged.");
        describe_counter!("webhook_findings_total", "Findings that were denied or warned of.");
        describe_histogram!("webhook_request_duration_seconds", "From a request to its answer.");
        let operations = Operation::ALL.iter().map(|operation| operation.as_str());
        let requests = operations.chain([UNKNOWN]).map(|operation| {
            ["allowed", "denied"].map(|decision| {
                counted(
                    "webhook_requests_total",
                    &[("operation", operation), ("decision", decision)],
                )
            })
        });
        let findings = CheckId::all().map(|check| {
            check.meta().at_admission.then(|| {
                [Decision::Denied, Decision::Warned].map(|decision| {
                    let labels = [("check", check.as_str()), ("decision", decision.as_str())];
                    counted("webhook_findings_total", &labels)
                })
            })
        });
        let fail_open = FailOpenReason::ALL.iter();
        let fail_open = fail_open
            .map(|reason| counted("webhook_failopen_total", &[("reason", reason.as_str())]));
        Self {
            requests: requests.collect(),
            denials: counted("webhook_denials_total", &[]),
            duration: histogram!("webhook_request_duration_seconds"),
            fail_open: fail_open.collect(),
            findings: findings.collect(),
        }
    }

    /// Counts a request that was allowed unjudged.
    pub(crate) fn fail_open(&self, reason: FailOpenReason) {
        self.fail_open[reason as usize].increment(1);
    }

    /// Counts an answer.
    pub(crate) fn answered(
        &self,
        operation: Option<Operation>,
        outcome: &Outcome,
        duration: Duration,
    ) {
        let is_allowed = match outcome {
            Outcome::Judged(verdict) => {
                for (check, decision, count) in verdict.counts() {
                    let Some([denied, warned]) = &self.findings[check.index()] else { continue };
                    match decision {
                        Decision::Denied => denied.increment(count as u64),
                        Decision::Warned => warned.increment(count as u64),
                        Decision::Recorded => {}
                    }
                }
                if let Some(reason) = verdict.fail_open_reason() {
                    self.fail_open(reason);
                }
                verdict.is_allowed()
            }
            Outcome::FailOpen(reason, _) => {
                self.fail_open(*reason);
                true
            }
        };
        let [allowed, denied] =
            &self.requests[operation.map_or(Operation::ALL.len(), |operation| operation as usize)];
        if is_allowed {
            allowed.increment(1);
        } else {
            denied.increment(1);
            self.denials.increment(1);
        }
        self.duration.record(duration.as_secs_f64());
    }
}

fn counted(name: &'static str, labels: &[(&'static str, &'static str)]) -> Counter {
    let counter = counter!(name, labels);
    counter.increment(0);
    counter
}

/// What it means for a request that the server did not let it come here: whoever asks to admit an
/// object then allows it.
pub(crate) fn reason(refusal: Refusal) -> FailOpenReason {
    match refusal {
        Refusal::Busy | Refusal::BudgetExhausted => FailOpenReason::Overload,
        Refusal::TooLarge => FailOpenReason::TooLarge,
        Refusal::TooSlow => FailOpenReason::SlowBody,
        Refusal::Broken => FailOpenReason::Unreadable,
        Refusal::Late => FailOpenReason::Deadline,
        Refusal::Panicked => FailOpenReason::Panic,
    }
}

/// All that `/debug/state` tells.
pub(crate) struct Publisher {
    pub(crate) policies: Policies,
    pub(crate) watch: WatchStatus,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StateAnswer {
    /// Whether requests are judged: not before the first whole list of policies.
    is_synced: bool,
    policies: usize,
    namespaces: usize,
    /// The policies that are left out, with the reason.
    refused: Vec<String>,
    watches: Vec<WatchReport>,
}

impl Publisher {
    /// Answers `/debug/state`.
    pub(crate) fn state(&self) -> Answer {
        let set = self.policies.load();
        let (policies, namespaces) = set.as_ref().map_or((0, 0), |set| set.counts());
        let mut refused: Vec<_> = set.iter().flat_map(|set| set.refused()).collect();
        refused.sort();
        refused.truncate(MOST_REFUSED);
        endpoints::json(&StateAnswer {
            is_synced: set.is_some(),
            policies,
            namespaces,
            refused,
            watches: vec![self.watch.report()],
        })
    }
}
