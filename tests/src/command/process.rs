//! Processor time and memory of a process, from `/proc`.

use std::fs;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
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

/// Seconds of processor time of the processes that this one has started and that have ended.
pub(super) fn ended_cpu() -> Result<f64> {
    // Fields 16 and 17.
    seconds_from(&stat(std::process::id())?, 16)
}

fn seconds(stat: &str) -> Result<f64> {
    // User and system time are fields 14 and 15.
    seconds_from(stat, 14)
}

/// The sum of two neighbouring fields of times; proc(5) counts fields from 1.
fn seconds_from(stat: &str, field: usize) -> Result<f64> {
    // Field 3 follows the name in parentheses.
    let fields = stat.rsplit(") ").next().context("no stat")?;
    let fields = fields.split(' ').skip(field - 3).take(2);
    let ticks: Vec<f64> = fields.map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS)
}

/// Waits for the end of the process, and returns the peak of its resident memory in KiB.
pub(super) fn peak_memory(child: &mut Child) -> Result<(ExitStatus, u64)> {
    let file = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        peak = peak.max(number.unwrap_or(0));
        if let Some(status) = child.try_wait()? {
            ensure!(peak > 0, "no VmHWM in /proc, which Linux has");
            return Ok((status, peak));
        }
        thread::sleep(Duration::from_millis(2));
    }
}
