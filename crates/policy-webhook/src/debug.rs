//! `/debug/state`.

use policy_runtime::endpoints::{self, Answer};
use policy_runtime::watch::{WatchReport, WatchStatus};
use serde::Serialize;

use crate::policies::Policies;

/// The largest number of invalid policies in the answer.
const MAX_INVALID: usize = 100;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DebugState {
    /// Whether requests are judged: only after the initial list of policies.
    is_synced: bool,
    policies: usize,
    namespaces: usize,
    /// The policies that are invalid, with the reason.
    refused: Vec<String>,
    watches: Vec<WatchReport>,
}

/// Answers `/debug/state`.
pub(crate) fn state(policies: &Policies, watch: &WatchStatus) -> Answer {
    let set = policies.load();
    let (policies, namespaces) = set.as_ref().map_or((0, 0), |set| set.counts());
    let mut refused: Vec<_> = set.iter().flat_map(|set| set.invalid()).collect();
    refused.sort();
    refused.truncate(MAX_INVALID);
    endpoints::json(&DebugState {
        is_synced: set.is_some(),
        policies,
        namespaces,
        refused,
        watches: vec![watch.report()],
    })
}
