//! Counts what the webhook answers.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};
use policy_core::admission::{AdmissionVerdict, Decision, FailOpenReason, Operation};
use policy_core::checks::{CheckId, CheckName};
use policy_metrics::every_service::DROPPED;
use policy_metrics::webhook::{DENIALS, DURATION, FAIL_OPEN, FINDINGS, REQUESTS};
use policy_runtime::endpoints::Refusal;
use policy_runtime::metrics::{Buckets, describe};

/// Most requests take some tens of microseconds.
pub(crate) const HISTOGRAMS: &[Buckets<'static>] = &[(
    DURATION.name,
    &[0.000_05, 0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0],
)];

/// The label of a request whose operation cannot be read.
const UNKNOWN: &str = "unknown";

/// Handles of the metrics, so that a request needs no lookup in the recorder.
#[derive(Clone)]
pub(crate) struct Counters {
    /// By operation, with an unknown one last: allowed and denied.
    requests: Vec<[Counter; 2]>,
    /// The same for those that may be changed: mutated and unchanged.
    mutations: Vec<[Counter; 2]>,
    denials: Counter,
    duration: Histogram,
    /// In the order of [`FailOpenReason::ALL`].
    fail_open: Vec<Counter>,
    /// By check, where it applies at admission: denied, warned and exempted.
    findings: Vec<Option<[Counter; 3]>>,
    /// The same of all custom checks.
    custom: [Counter; 3],
    /// Policies that were not applied to a request.
    excess: Counter,
}

impl Counters {
    /// Registers all series, so that they exist before their first increment.
    pub(crate) fn new() -> Self {
        let metrics = [REQUESTS, DENIALS, DURATION, FAIL_OPEN, FINDINGS];
        metrics.iter().for_each(describe);
        let requests = |decisions: [&'static str; 2]| {
            let operations = Operation::ALL.iter().map(|operation| operation.as_str());
            let by_decision = operations.chain([UNKNOWN]).map(|operation| {
                decisions.map(|decision| {
                    let labels = [("operation", operation), ("decision", decision)];
                    registered(REQUESTS.name, &labels)
                })
            });
            by_decision.collect()
        };
        let of_check = |check: &'static str| {
            [Decision::Denied, Decision::Warned, Decision::Exempted].map(|decision| {
                let labels = [("check", check), ("decision", decision.as_str())];
                registered(FINDINGS.name, &labels)
            })
        };
        let findings =
            CheckId::all().map(|check| check.meta().at_admission.then(|| of_check(check.as_str())));
        let fail_open = FailOpenReason::ALL
            .iter()
            .map(|reason| registered(FAIL_OPEN.name, &[("reason", reason.as_str())]));
        Self {
            requests: requests(["allowed", "denied"]),
            mutations: requests(["mutated", "unchanged"]),
            denials: registered(DENIALS.name, &[]),
            duration: histogram!(DURATION.name),
            fail_open: fail_open.collect(),
            findings: findings.collect(),
            custom: of_check(CheckName::CUSTOM_LABEL),
            excess: registered(DROPPED.name, &[("what", "policies")]),
        }
    }

    /// Counts a request that was allowed without a verdict.
    pub(crate) fn fail_open(&self, reason: FailOpenReason) {
        self.fail_open[reason as usize].increment(1);
    }

    /// Counts an answer.
    pub(crate) fn answered(
        &self,
        operation: Option<Operation>,
        verdict: Result<&AdmissionVerdict, &FailOpenReason>,
        duration: Duration,
    ) {
        let is_allowed = match verdict {
            Ok(verdict) => {
                for (check, decision, count) in verdict.counts() {
                    let counters = match check.registered() {
                        Some(check) => self.findings[check.index()].as_ref(),
                        None => Some(&self.custom),
                    };
                    let Some([denied, warned, exempted]) = counters else { continue };
                    match decision {
                        Decision::Denied => denied.increment(count as u64),
                        Decision::Warned => warned.increment(count as u64),
                        Decision::Exempted => exempted.increment(count as u64),
                        Decision::Recorded => {}
                    }
                }
                self.excess.increment(verdict.excess_policies() as u64);
                if let Some(reason) = verdict.fail_open_reason() {
                    self.fail_open(reason);
                }
                verdict.is_allowed()
            }
            Err(reason) => {
                self.fail_open(*reason);
                true
            }
        };
        self.count(operation, is_allowed, duration);
    }

    /// Counts a request that was denied because its body is too large.
    pub(crate) fn denied_unread(&self, operation: Operation, duration: Duration) {
        self.count(Some(operation), false, duration);
    }

    /// Counts an answer to a request that may be changed, by whether it was.
    pub(crate) fn mutated(
        &self,
        operation: Option<Operation>,
        is_changed: Result<bool, FailOpenReason>,
        duration: Duration,
    ) {
        if let Err(reason) = is_changed {
            self.fail_open(reason);
        }
        let [mutated, unchanged] = &self.mutations[index(operation)];
        if is_changed == Ok(true) { mutated } else { unchanged }.increment(1);
        self.duration.record(duration.as_secs_f64());
    }

    fn count(&self, operation: Option<Operation>, is_allowed: bool, duration: Duration) {
        let [allowed, denied] = &self.requests[index(operation)];
        if is_allowed {
            allowed.increment(1);
        } else {
            denied.increment(1);
            self.denials.increment(1);
        }
        self.duration.record(duration.as_secs_f64());
    }
}

/// The index of the counters of an operation.
fn index(operation: Option<Operation>) -> usize {
    operation.map_or(Operation::ALL.len(), |operation| operation as usize)
}

fn registered(name: &'static str, labels: &[(&'static str, &'static str)]) -> Counter {
    let counter = counter!(name, labels);
    counter.increment(0);
    counter
}

/// Why the API server allows a request that the HTTP server refused.
pub(crate) fn fail_open_reason(refusal: Refusal) -> FailOpenReason {
    match refusal {
        Refusal::Busy | Refusal::BudgetExhausted => FailOpenReason::Overload,
        Refusal::TooSlow => FailOpenReason::SlowBody,
        Refusal::Broken => FailOpenReason::Unreadable,
        Refusal::Late => FailOpenReason::Deadline,
        Refusal::Panicked => FailOpenReason::Panic,
    }
}
