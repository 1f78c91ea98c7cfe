//! `cargo xtask bench offline`.

use super::measure::Goal::AtMost;
use super::measure::Row;

pub(super) const COMMAND: &str = "bench-offline";
pub(super) const ROWS: [Row; 2] = [
    ("offline_ratio", AtMost(1.0 / 15.0), "processor time of 5 000 files, policyctl / kube-score"),
    ("offline_memory_ratio", AtMost(1.0 / 30.0), "the peaks of resident memory"),
];
