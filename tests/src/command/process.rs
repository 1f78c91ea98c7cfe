//! Processor time of a process, from `/proc`.

use std::fs;

use anyhow::{Context as _, Result};
use e2e::Service;

/// Clock ticks per second in `/proc/PID/stat`: `USER_HZ`, which is 100 on every platform of Linux.
const TICKS: f64 = 100.0;

fn stat(pid: u32) -> Result<String> {
    let path = format!("/proc/{pid}/stat");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

/// Seconds of processor time so far, to ten milliseconds.
pub(super) fn cpu(service: &Service<'_>) -> Result<f64> {
    seconds(&stat(service.pid().context("the service has ended")?)?)
}

/// Seconds of processor time of this process so far.
pub(super) fn own_cpu() -> Result<f64> {
    seconds(&stat(std::process::id())?)
}

fn seconds(stat: &str) -> Result<f64> {
    // Field 3 follows the name in parentheses; user and system time are fields 14 and 15.
    let fields = stat.rsplit(") ").next().context("no stat")?;
    let fields = fields.split(' ').skip(11).take(2);
    let ticks: Vec<f64> = fields.map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS)
}
