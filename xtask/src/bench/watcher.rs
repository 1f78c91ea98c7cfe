//! `cargo xtask bench watcher`.

use super::measure::Goal::{AtLeast, AtMost};
use super::measure::Row;

pub(super) const COMMAND: &str = "bench-watcher";
pub(super) const ROWS: [Row; 8] = [
    ("rss_mib_100k", AtMost(64.0), "resident, 100 000 pods, after 10 relists"),
    ("sync_ratio", AtMost(1.5), "start to ready / reading the streamed list"),
    ("event_ratio", AtLeast(0.6), "events a second / reading the stream"),
    ("event_cost_growth", AtMost(1.3), "processor time, 100 000 pods / 1 000"),
    ("event_to_metric_ms", AtMost(20.0), "99th percentile at 1 000 events a second"),
    ("idle_cpu_percent", AtMost(0.2), "of a core, 100 000 quiet pods"),
    ("real_sync_ratio_20k", AtMost(1.5), "start to ready / reading the list, real server"),
    ("real_rss_mib_20k", AtMost(64.0), "resident, the real API server"),
];
