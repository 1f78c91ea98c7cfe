//! `e2e bench-webhook`: the cost of policy-webhook against that of a baseline server, which only
//! allows, and the time until a changed policy applies.
//!
//! ```text
//! floor       the baseline server, in its own process
//! review      the requests
//! client      one connection
//! load        many connections, in rounds
//! loopback    rates, latencies, processor time, memory
//! custom      the same with custom checks
//! creation    the time that is added to a creation by a real API server
//! changes     the time until a changed policy applies
//! ```
#![expect(clippy::cast_precision_loss, reason = "requests are far below 2^52")]

mod certificates;
mod changes;
mod client;
mod creation;
mod custom;
pub(crate) mod floor;
mod load;
mod loopback;
pub(super) mod review;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Result;
use e2e::{Parts, Service, Testbed, released_program};
use serde_json::json;
use tokio::runtime::Runtime;

use super::bench_live;
use super::measure::wait_ready;
use certificates::Certificates;
pub(super) use client::Connection;
pub(super) use load::{Load, in_turn};

pub(super) const ACCOUNT: &str = "policy-webhook";
pub(super) const PLATFORM: &str = "kube-devops";

pub(crate) fn run() -> Result<()> {
    let bench = Bench::new()?;
    let (added, visible_ms) = bench.real()?;
    // Stopped, as it would disturb the measurements that follow.
    bench.testbed.kill_api_server()?;
    let loopback = loopback::measure(&bench)?;
    let results = json!({
        "floor_ratio_1": loopback.floor_ratio_1,
        "floor_ratio_32": loopback.floor_ratio_32,
        "webhook_cpu_us": loopback.webhook_cpu_us,
        "p99_ms": loopback.p99_ms,
        "cost_growth_policies": loopback.cost_growth,
        "custom_ratio": loopback.custom_ratio,
        "rss_mib": loopback.rss_mib,
        "apiserver_added_ratio": added,
        "policy_change_visible_ms": visible_ms,
    });
    writeln!(io::stdout(), "{results}")?;
    Ok(())
}

/// The programs and the control plane of all measurements.
pub(super) struct Bench {
    program: PathBuf,
    /// A real control plane, which also runs the services.
    pub(super) testbed: Testbed,
    pub(super) certificates: Certificates,
}

impl Bench {
    pub(super) fn new() -> Result<Self> {
        let program = released_program("policy-webhook")?;
        let testbed = Testbed::start(&Parts::new("bench"))?;
        let certificates = Certificates::issue(testbed.folder())?;
        Ok(Self { program, testbed, certificates })
    }

    /// Starts a webhook, and returns it when it is ready.
    pub(super) fn webhook(&self, name: &str, kubeconfig: &Path) -> Result<Service<'_>> {
        let webhook = self.testbed.service(name, &self.program).kubeconfig(kubeconfig);
        let webhook = self.certificates.give(webhook)?.start()?;
        wait_ready(&webhook)?;
        Ok(webhook)
    }

    fn floor(&self) -> Result<Service<'_>> {
        let program = std::env::current_exe()?;
        let floor = self.testbed.service("floor", &program).subcommand(floor::SUBCOMMAND);
        let floor = self.certificates.give(floor)?.start()?;
        wait_ready(&floor)?;
        Ok(floor)
    }

    /// The measurements with a real API server.
    fn real(&self) -> Result<(f64, f64)> {
        self.testbed.install_definitions()?;
        self.testbed.install_base()?;
        let runtime = Runtime::new()?;
        let client = runtime.block_on(bench_live::client(self.testbed.kubeconfig()))?;
        let kubeconfig = self.testbed.account_kubeconfig(PLATFORM, ACCOUNT)?;
        let webhook = self.webhook("webhook", &kubeconfig)?;
        let added = creation::added_ratio(self, &runtime, &client, &webhook)?;
        let visible_ms = changes::visible_ms(self, &runtime, &client, &webhook)?;
        Ok((added, visible_ms))
    }
}
