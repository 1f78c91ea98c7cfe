//! Helpers of the measurements of services.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::Service;
use serde_json::Value;

use super::fake_api::{FakeApi, Watched};

/// Deadline of a service to catch up.
const SOON: Duration = Duration::from_secs(120);

/// The median.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Polls every millisecond until a condition holds.
pub(super) fn wait(mut until: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !until()? {
        ensure!(start.elapsed() < SOON, "the condition did not hold within {SOON:?}");
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Waits until a service that was just started is ready.
pub(super) fn wait_ready(service: &Service<'_>) -> Result<()> {
    let start = Instant::now();
    while !service.get("/readyz").is_ok_and(|(status, _)| status == 200) {
        ensure!(start.elapsed() < SOON, "not ready: {}", service.logs()?);
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Makes a service relist all pods, this many times.
pub(super) fn relist(fake: &FakeApi, service: &Service<'_>, times: u64) -> Result<()> {
    for relist in 1..=times {
        fake.expire();
        wait(|| {
            let state: Value = serde_json::from_str(&service.get("/debug/state")?.1)?;
            let is_begun = state["watches"][0]["restarts"].as_u64() >= Some(relist);
            // The watch is registered when the list is complete.
            Ok(is_begun && fake.watches(Watched::Pods) == 1)
        })?;
    }
    Ok(())
}
