//! `e2e bench-remediation`: what enforce mode costs: a plan, the writes of a repair, its time against
//! kubectl, and an injection against a verdict.
//!
//! ```text
//! planner     one plan, without a cluster
//! repair      500 and 1 000 Deployments of a real API server
//! mutate      /mutate against /validate, for the same pod
//! ```
#![expect(clippy::cast_precision_loss, reason = "workloads and requests are far below 2^52")]

mod mutate;
mod planner;
mod repair;

use std::io::{self, Write as _};

use anyhow::Result;
use serde_json::json;

pub(crate) fn run() -> Result<()> {
    let planner_us = planner::microseconds_each()?;
    let mutate_ratio = mutate::ratio()?;
    let repair = repair::measure()?;
    let results = json!({
        "planner_us_per_workload": planner_us,
        "writes_per_workload": repair.writes_per_workload,
        "mutate_ratio": mutate_ratio,
        "repair_ratio": repair.ratio,
    });
    writeln!(io::stdout(), "{results}")?;
    Ok(())
}
