//! `cargo xtask bench operator`.

use super::measure::Goal::{AtLeast, AtMost};
use super::measure::Row;

pub(super) const COMMAND: &str = "bench-operator";
pub(super) const ROWS: [Row; 5] = [
    ("rss_mib", AtMost(96.0), "resident, 100 000 pods, 1 000 policies, after relists"),
    (
        "change_to_status_ms",
        AtMost(100.0),
        "99th percentile beyond 100 ms of gathering, 20 a second",
    ),
    ("reconciles_per_second", AtLeast(5000.0), "100 pods each, nothing to write, one core"),
    ("cost_growth", AtMost(1.2), "processor time of a change, 100 000 pods / 1 000"),
    ("api_writes_per_changed_verdict", AtMost(3.0), "status, audit results, events"),
];
