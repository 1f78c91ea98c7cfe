//! `cargo xtask bench webhook`.

use super::measure::Goal::{AtLeast, AtMost};
use super::measure::Row;

pub(super) const COMMAND: &str = "bench-webhook";
pub(super) const ROWS: [Row; 9] = [
    ("floor_ratio_1", AtLeast(0.75), "requests a second / the floor, 1 connection, 3 policies"),
    ("floor_ratio_32", AtLeast(0.75), "the same with 32 connections"),
    (
        "webhook_cpu_us",
        AtMost(4.0),
        "processor time of a request beyond the floor's, 32 connections",
    ),
    ("p99_ms", AtMost(2.0), "99th percentile of an answer, 8 connections without a pause"),
    ("cost_growth_policies", AtMost(1.1), "processor time of a request, 3 000 policies / 3"),
    (
        "custom_ratio",
        AtLeast(0.6),
        "requests a second with 10 custom checks / without, 32 connections",
    ),
    ("rss_mib", AtMost(24.0), "resident, after a million requests"),
    ("apiserver_added_ratio", AtMost(1.2), "added to a pod's creation / by the floor, median"),
    ("policy_change_visible_ms", AtMost(50.0), "99th percentile, from a patch to another verdict"),
];
