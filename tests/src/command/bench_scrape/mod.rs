//! `e2e bench-scrape`: what a scrape of policy-watcher costs, and what the dashboard makes of it.
//!
//! ```text
//! beside   the processor time of a scrape, beside that of kube-state-metrics
//! panels   the queries of the dashboard, by a real Prometheus
//! ```
#![expect(clippy::cast_precision_loss, reason = "bytes and scrapes are far below 2^52")]

mod beside;
mod panels;

use std::io::{self, Write as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::{Parts, Service, Testbed, released_program, say};
use serde_json::json;

use super::fake_api::{FakeApi, Shape};
use super::measure::{median, wait};

const NAMESPACES: usize = 10_000;
const PODS: usize = 3 * NAMESPACES;
/// One pod in this many restarts too often.
const FAILING: usize = 3;
const SCRAPES: usize = 11;
/// Prometheus scrapes every 15 s. This is long enough for no scrape to wait for the pause that
/// follows the last rendering.
const PAUSE: Duration = Duration::from_secs(1);
const MIB: f64 = (1 << 20) as f64;

pub(crate) fn run() -> Result<()> {
    let watcher = released_program("policy-watcher")?;
    let operator = released_program("policy-operator")?;
    let testbed = Testbed::start(&Parts::new("bench"))?;
    let ratios = beside::ratios(&testbed, &watcher)?;
    // Stopped, as it would disturb the measurements that follow.
    testbed.kill_api_server()?;
    let shape = Shape::even(PODS, NAMESPACES).failing(FAILING);
    let fake = FakeApi::with_policies(shape, &["strict"])?;
    let kubeconfig = fake.kubeconfig(testbed.folder())?;
    let watcher = started(&testbed, &watcher, &kubeconfig, "namespace_health_score{", NAMESPACES)?;
    let (milliseconds, bytes) = scrapes(&watcher)?;
    let policies = "devopspolicy_health_score{";
    let operator = started(&testbed, &operator, &kubeconfig, policies, NAMESPACES)?;
    let slowest = panels::measure(&testbed, &[&watcher, &operator])?;
    let results = json!({
        "scrape_ms_10k": milliseconds,
        "scrape_mib_10k": bytes / MIB,
        "scrape_cpu_ratio": ratios.defaults,
        "scrape_cpu_ratio_pods": ratios.pods,
        "panel_ms_10k": slowest.milliseconds,
        "panel_series_10k": slowest.series,
    });
    writeln!(io::stdout(), "{results}")?;
    Ok(())
}

/// Starts a service, and waits until its page has so many series that begin like this.
fn started<'a>(
    testbed: &'a Testbed,
    program: &Path,
    kubeconfig: &Path,
    series: &str,
    count: usize,
) -> Result<Service<'a>> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let service = testbed.service(&name, program).kubeconfig(kubeconfig).start()?;
    wait_for_series(&service, series, count)?;
    Ok(service)
}

fn wait_for_series(service: &Service<'_>, series: &str, count: usize) -> Result<()> {
    wait(|| {
        // Until it listens.
        let Ok(page) = page(service) else { return Ok(false) };
        Ok(page.lines().filter(|line| line.starts_with(series)).count() == count)
    })
}

/// The page as Prometheus asks for it. Neither ours nor that of kube-state-metrics is compressed.
fn page(service: &Service<'_>) -> Result<String> {
    Ok(String::from_utf8(service.at(service.addr()).scrape()?)?)
}

/// The median time of a scrape in milliseconds, and the size of its body.
fn scrapes(watcher: &Service<'_>) -> Result<(f64, f64)> {
    let address = watcher.at(watcher.addr());
    let (mut times, mut bytes) = (Vec::new(), Vec::new());
    for _ in 0..SCRAPES {
        thread::sleep(PAUSE);
        let start = Instant::now();
        let body = address.scrape()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        bytes.push(body.len() as f64);
    }
    let memory = watcher.memory_mib()?;
    let series = series(&page(watcher)?);
    let (time, size) = (median(times), median(bytes));
    say(&format!(
        "{NAMESPACES} namespaces: {series} series, {size} bytes, {time:.1} ms; \
         resident {:.1} MiB, {:.1} MiB at most",
        memory.0, memory.1
    ));
    Ok((time, size))
}

/// The samples of a page.
fn series(page: &str) -> usize {
    page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count()
}
