//! `cargo xtask bench clusters`.

use super::measure::Goal::AtMost;
use super::measure::Row;

pub(super) const COMMAND: &str = "bench-clusters";
pub(super) const ROWS: [Row; 2] = [
    ("multi_ratio", AtMost(1.5), "4 clusters of 5 000 pods in one call / the slowest alone"),
    // Bound by processors: four times the work of one, on as many as there are.
    ("multi_ratio_local", AtMost(4.0), "the same, with servers that answer at once"),
];
