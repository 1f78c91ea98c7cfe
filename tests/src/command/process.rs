//! Processor time and memory of a process, from `/proc`.

use std::fs;

use anyhow::{Context as _, Result};
use e2e::Service;

/// Clock ticks per second in `/proc/PID/stat`: `USER_HZ`, which is 100 on every platform of Linux.
const TICKS: f64 = 100.0;

fn read(service: &Service<'_>, file: &str) -> Result<String> {
    read_of(service.pid().context("the service has ended")?, file)
}

fn read_of(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

/// Seconds of processor time so far, to ten milliseconds.
pub(super) fn cpu(service: &Service<'_>) -> Result<f64> {
    seconds(&read(service, "stat")?)
}

/// Seconds of processor time of this process so far.
pub(super) fn own_cpu() -> Result<f64> {
    seconds(&read_of(std::process::id(), "stat")?)
}

fn seconds(stat: &str) -> Result<f64> {
    // Field 3 follows the name in parentheses; user and system time are fields 14 and 15.
    let fields = stat.rsplit(") ").next().context("no stat")?;
    let fields = fields.split(' ').skip(11).take(2);
    let ticks: Vec<f64> = fields.map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS)
}

/// Current and peak resident memory in MiB.
pub(super) fn memory_mib(service: &Service<'_>) -> Result<(f64, f64)> {
    let status = read(service, "status")?;
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no memory")?;
        let kib: f64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?;
        anyhow::Ok(kib / 1024.0)
    };
    Ok((value("VmRSS")?, value("VmHWM")?))
}
