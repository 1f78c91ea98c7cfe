//! `/debug/state`.

use policy_runtime::endpoints::{self, Answer};
use policy_runtime::watch::{WatchReport, WatchStatus};
use serde::Serialize;

use crate::policies::Policies;

/// The largest number of lines in each list of the answer.
const MAX_LINES: usize = 100;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DebugState {
    /// Whether requests are judged: only after the initial lists.
    is_synced: bool,
    policies: usize,
    namespaces: usize,
    cluster_policies: usize,
    /// The policies that are invalid, with the reason.
    refused: Vec<String>,
    /// The namespaces with more policies than are judged, and how many are not.
    over_limit: Vec<String>,
    watches: Vec<WatchReport>,
}

/// Answers `/debug/state`.
pub(crate) fn state(policies: &Policies, watches: &[WatchStatus]) -> Answer {
    let set = policies.load();
    let (policies, namespaces) = set.as_ref().map_or((0, 0), |set| set.counts());
    let refused = set.iter().flat_map(|set| set.invalid());
    let over_limit = set.iter().flat_map(|set| set.over_limit());
    let over_limit = over_limit
        .map(|(namespace, excess)| format!("{namespace}: {excess} policies are not judged"));
    endpoints::json(&DebugState {
        is_synced: set.is_some(),
        policies,
        namespaces,
        cluster_policies: set.as_ref().map_or(0, |set| set.cluster_policies()),
        refused: first_lines(refused),
        over_limit: first_lines(over_limit),
        watches: watches.iter().map(WatchStatus::report).collect(),
    })
}

fn first_lines(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    lines.truncate(MAX_LINES);
    lines
}
