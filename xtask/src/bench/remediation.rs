//! `cargo xtask bench remediation`.

use super::measure::Goal::{AtLeast, AtMost};
use super::measure::Row;

pub(super) const COMMAND: &str = "bench-remediation";
pub(super) const ROWS: [Row; 4] = [
    ("planner_us_per_workload", AtMost(20.0), "from a Deployment as JSON to the body of its patch"),
    (
        "writes_per_workload",
        AtMost(2.0),
        "of the operator, 1 000 violating Deployments, without budgets; a dry run is none",
    ),
    ("mutate_ratio", AtLeast(0.7), "requests a second of /mutate that inject / of /validate"),
    ("repair_ratio", AtMost(0.25), "time to repair 500 Deployments / kubectl patch, 8 at a time"),
];
