//! `cargo xtask bench memory`.

use std::env;

use super::measure::Goal::AtMost;
use super::measure::Row;

pub(super) const COMMAND: &str = "bench-memory";

const ROWS: [Row; 3] = [
    ("watcher_rss_mib", AtMost(64.0), "resident, 150 000 pods, 10 000 namespaces"),
    ("operator_rss_mib", AtMost(100.0), "the same with 10 000 policies"),
    ("operator_rss_ratio", AtMost(0.5), "the same / the build in the folder BENCH_EARLIER"),
];

/// The last figure needs programs of an earlier build.
pub(super) fn rows() -> &'static [Row] {
    if env::var_os("BENCH_EARLIER").is_some() { &ROWS } else { &ROWS[..2] }
}
