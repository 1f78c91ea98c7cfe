//! `e2e bench-watcher`: the cost of policy-watcher against that of reading the same data.
#![expect(clippy::cast_precision_loss, reason = "pods and events are far below 2^52")]

mod reader;
mod running;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::{Parts, Service, Testbed, released_program, say};
use serde_json::json;

use super::bench_live::{self, NAMESPACES, PODS as REAL_PODS};
use super::fake_api::{FakeApi, Shape, Watched};
use super::measure::{median, wait, wait_ready};

const PODS: usize = 100_000;
const FEW: usize = 1_000;
const SYNCS: usize = 3;
const RELISTS: u64 = 10;
const EVENTS: usize = 40_000;
const BATCH: usize = 50;
const REPEATS: usize = 5;

pub(crate) fn run() -> Result<()> {
    let bench = Bench::new()?;
    let (many, few) = (fake(PODS)?, fake(FEW)?);
    say(&format!("{PODS} pods of {} bytes", many.pod_bytes()));
    let sync = bench.sync_ratio(&many)?;
    let watcher = bench.watcher("many", &bench.kubeconfig(&many)?)?.0;
    let small = bench.watcher("few", &bench.kubeconfig(&few)?)?.0;
    let idle = running::idle_cpu_percent(&watcher)?;
    let events = bench.event_ratio(&many, &watcher)?;
    let growth = running::event_cost_growth([(&many, &watcher), (&few, &small)])?;
    let latency = running::event_to_metric_ms(&many, &watcher)?;
    let rss = running::rss_after_relists(&many, &watcher)?;
    drop((watcher, small));
    let (real_sync, real_rss) = bench.real()?;
    let results = json!({
        "rss_mib_100k": rss,
        "sync_ratio": sync,
        "event_ratio": events,
        "event_cost_growth": growth,
        "event_to_metric_ms": latency,
        "idle_cpu_percent": idle,
        "real_sync_ratio_20k": real_sync,
        "real_rss_mib_20k": real_rss,
    });
    writeln!(io::stdout(), "{results}")?;
    Ok(())
}

/// The programs and the control plane of all measurements.
struct Bench {
    program: PathBuf,
    /// A real control plane, which also runs the services.
    testbed: Testbed,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new() -> Result<Self> {
        Ok(Self {
            program: released_program("policy-watcher")?,
            testbed: Testbed::start(&Parts::new("bench"))?,
            runtime: tokio::runtime::Runtime::new()?,
        })
    }

    fn kubeconfig(&self, fake: &FakeApi) -> Result<PathBuf> {
        fake.kubeconfig(self.testbed.folder())
    }

    /// Starts a watcher, and returns it when it is ready, with the time that it took.
    fn watcher(&self, name: &str, kubeconfig: &Path) -> Result<(Service<'_>, Duration)> {
        let start = Instant::now();
        let watcher = self.testbed.service(name, &self.program).kubeconfig(kubeconfig).start()?;
        wait_ready(&watcher)?;
        Ok((watcher, start.elapsed()))
    }

    /// The time from the start of the process until it is ready, against reading the same streamed
    /// list.
    fn sync_ratio(&self, fake: &FakeApi) -> Result<f64> {
        let kubeconfig = self.kubeconfig(fake)?;
        let mut ratios = Vec::new();
        for _ in 0..SYNCS {
            let client = self.runtime.block_on(bench_live::client(&kubeconfig))?;
            let start = Instant::now();
            self.runtime.block_on(reader::streamed_list(&client))?;
            let read = start.elapsed();
            fake.end(Watched::Reader);
            let (_, ready) = self.watcher("sync", &kubeconfig)?;
            say(&format!("reading {read:.2?}, ready after {ready:.2?}"));
            ratios.push(ready.as_secs_f64() / read.as_secs_f64());
        }
        Ok(median(ratios))
    }

    /// The events per second, against reading the same stream.
    fn event_ratio(&self, fake: &FakeApi, watcher: &Service<'_>) -> Result<f64> {
        let kubeconfig = self.kubeconfig(fake)?;
        let mut ratios = Vec::new();
        for repeat in 0..REPEATS {
            let restarts = repeat as u64 % 9;
            let reading = reader::Reading::start(&self.runtime, &kubeconfig, EVENTS)?;
            wait(|| Ok(fake.watches(Watched::Reader) == 1))?;
            let start = Instant::now();
            running::send(fake, Watched::Reader, restarts);
            reading.wait(&self.runtime)?;
            let read = start.elapsed();
            fake.end(Watched::Reader);
            let followed = running::watch_events(fake, watcher, restarts)?;
            say(&format!("{EVENTS} events: reading {read:.2?}, watcher {followed:.2?}"));
            ratios.push(read.as_secs_f64() / followed.as_secs_f64());
        }
        Ok(median(ratios))
    }

    /// On a real API server: the time until it is ready against reading the same streamed list, and
    /// the resident memory.
    fn real(&self) -> Result<(f64, f64)> {
        let kubeconfig = self.testbed.kubeconfig();
        let client = self.runtime.block_on(bench_live::client(kubeconfig))?;
        say(&format!("making {REAL_PODS} pods on the real API server ..."));
        self.runtime.block_on(bench_live::fill(&client, REAL_PODS, NAMESPACES))?;
        let (mut ratios, mut memory) = (Vec::new(), 0.0_f64);
        for repeat in 0..=SYNCS {
            let start = Instant::now();
            self.runtime.block_on(reader::streamed_list(&client))?;
            let read = start.elapsed();
            let (watcher, ready) = self.watcher("real", kubeconfig)?;
            say(&format!("real server: reading {read:.2?}, ready after {ready:.2?}"));
            // The first pair fills the API server's caches.
            if repeat > 0 {
                ratios.push(ready.as_secs_f64() / read.as_secs_f64());
                memory = memory.max(watcher.memory_mib()?.0);
            }
        }
        Ok((median(ratios), memory))
    }
}

fn fake(pods: usize) -> Result<FakeApi> {
    FakeApi::start(Shape::even(pods, NAMESPACES))
}
