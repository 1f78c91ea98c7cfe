//! The cost of a running watcher.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::{Service, say};

use super::super::fake_api::{FakeApi, Watched};
use super::super::measure::{median, relist, wait};
use super::super::process;
use super::{BATCH, EVENTS, FEW, PODS, RELISTS, REPEATS};

/// Processor time of an event in a cluster with many pods, against one with few.
pub(super) fn event_cost_growth([many, few]: [(&FakeApi, &Service<'_>); 2]) -> Result<f64> {
    let mut ratios = Vec::new();
    for repeat in 0..REPEATS {
        let restarts = (repeat as u64 + 3) % 9;
        let cost = |(fake, watcher): (&FakeApi, &Service<'_>)| {
            let before = process::cpu(watcher)?;
            watch_events(fake, watcher, restarts)?;
            anyhow::Ok(process::cpu(watcher)? - before)
        };
        let (many, few) = (cost(many)?, cost(few)?);
        say(&format!("{EVENTS} events: {many:.2} s with {PODS} pods, {few:.2} s with {FEW}"));
        ratios.push(many / few);
    }
    Ok(median(ratios))
}

/// The time from sending an event until `/metrics` counts it, at 1 000 events per second: the 99th
/// percentile.
pub(super) fn event_to_metric_ms(fake: &FakeApi, watcher: &Service<'_>) -> Result<f64> {
    const SECONDS: u64 = 20;
    const EVERY: u64 = 50;
    let tracked = || Ok::<_, anyhow::Error>(watcher.metrics()?.value("pods_tracked_total", &[]));
    let base = tracked()?.context("no pods_tracked_total")?;
    let sent = Mutex::new(Vec::new());
    let lock = || sent.lock().unwrap_or_else(PoisonError::into_inner);
    let mut delays = Vec::new();
    thread::scope(|threads| {
        threads.spawn(|| {
            let start = Instant::now();
            for tick in 0..SECONDS * 1000 {
                let due = start + Duration::from_millis(tick);
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if tick.is_multiple_of(EVERY) {
                    lock().push(Instant::now());
                    fake.add(Watched::Pods);
                } else {
                    fake.change(Watched::Pods, usize::try_from(tick).unwrap_or(0), 1, 4);
                }
            }
        });
        let all = usize::try_from(SECONDS * 1000 / EVERY).unwrap_or(0);
        while delays.len() < all {
            let seen = tracked()?.context("no pods_tracked_total")? - base;
            let now = Instant::now();
            let sent = lock();
            while (delays.len() as f64) < seen {
                let at = sent.get(delays.len()).context("seen before it was sent")?;
                delays.push((now - *at).as_secs_f64() * 1000.0);
            }
        }
        anyhow::Ok(())
    })?;
    delays.sort_by(f64::total_cmp);
    let at = delays.len() * 99 / 100;
    say(&format!("event to metric: median {:.1} ms", delays[delays.len() / 2]));
    Ok(delays[at])
}

/// Processor time of a watcher without events.
pub(super) fn idle_cpu_percent(watcher: &Service<'_>) -> Result<f64> {
    const QUIET: Duration = Duration::from_secs(40);
    let before = process::cpu(watcher)?;
    thread::sleep(QUIET);
    let used = process::cpu(watcher)? - before;
    Ok(used / QUIET.as_secs_f64() * 100.0)
}

/// Resident memory after the relists. The peak is printed as well.
pub(super) fn rss_after_relists(fake: &FakeApi, watcher: &Service<'_>) -> Result<f64> {
    relist(fake, watcher, RELISTS)?;
    let metrics = watcher.metrics()?;
    ensure!(metrics.value("pods_tracked_total", &[]) >= Some(PODS as f64), "pods were lost");
    let (now, peak) = watcher.memory_mib()?;
    say(&format!("after {RELISTS} relists: {now:.1} MiB resident, {peak:.1} MiB at most"));
    Ok(now)
}

/// Sends events as fast as the watch accepts them.
pub(super) fn send(fake: &FakeApi, watched: Watched, restarts: u64) {
    for first in (0..EVENTS).step_by(BATCH) {
        fake.change(watched, first, BATCH, restarts);
    }
}

/// The time that the watcher takes for the events.
pub(super) fn watch_events(
    fake: &FakeApi,
    watcher: &Service<'_>,
    restarts: u64,
) -> Result<Duration> {
    let applied = || {
        let applied = watcher.metrics()?.value("pod_events_total", &[("event", "applied")]);
        applied.context("no pod_events_total")
    };
    let target = applied()? + EVENTS as f64;
    let start = Instant::now();
    send(fake, Watched::Pods, restarts);
    wait(|| Ok(applied()? >= target))?;
    Ok(start.elapsed())
}
