//! The processor time of a scrape, beside that of kube-state-metrics for the same cluster.

use std::path::Path;

use anyhow::Result;
use e2e::{Service, Testbed, say};
use tokio::runtime::Runtime;

use super::super::{bench_live, process};
use super::{page, series, started, wait_for_series};

const NAMESPACES: usize = 1_000;
/// Without a status beyond Pending, of which kube-state-metrics exports little: so the comparison is
/// rather in its favor.
const PODS: usize = 5 * NAMESPACES;
const ROUNDS: usize = 8;

pub(super) struct Ratios {
    /// Against kube-state-metrics with its defaults.
    pub(super) defaults: f64,
    /// Against one that exports pods only, which are what the watcher reads.
    pub(super) pods: f64,
}

/// Who is scraped.
struct Side<'a> {
    service: Service<'a>,
    /// The scrapes of a round: `/proc` counts in steps of 10 ms, so the shorter ones are more.
    scrapes: usize,
    seconds: f64,
}

pub(super) fn ratios(testbed: &Testbed, watcher: &Path) -> Result<Ratios> {
    testbed.install_definitions()?;
    testbed.install_base()?;
    let runtime = Runtime::new()?;
    say(&format!("making {PODS} pods in {NAMESPACES} namespaces ..."));
    runtime.block_on(async {
        let client = bench_live::client(testbed.kubeconfig()).await?;
        bench_live::fill(&client, PODS, NAMESPACES).await
    })?;
    let scores = "namespace_health_score{";
    let kubeconfig = testbed.account_kubeconfig("kube-devops", "policy-watcher")?;
    let watcher = started(testbed, watcher, &kubeconfig, scores, NAMESPACES)?;
    let defaults = testbed.start_kube_state_metrics("kube-state-metrics", &[])?;
    let of_pods = ["--resources=pods"];
    let pods = testbed.start_kube_state_metrics("kube-state-metrics-pods", &of_pods)?;
    wait_for_series(&defaults, "kube_namespace_created{namespace=\"team-", NAMESPACES)?;
    for each in [&defaults, &pods] {
        wait_for_series(each, "kube_pod_info{", PODS)?;
    }
    let side = |service, scrapes| Side { service, scrapes, seconds: 0.0 };
    let mut sides = [side(watcher, 100), side(defaults, 10), side(pods, 10)];
    for _ in 0..ROUNDS {
        for side in &mut sides {
            side.scrape()?;
        }
    }
    for side in &sides {
        side.describe()?;
    }
    let [watcher, defaults, pods] = sides.map(|side| side.per_scrape());
    Ok(Ratios { defaults: watcher / defaults, pods: watcher / pods })
}

impl Side<'_> {
    fn scrape(&mut self) -> Result<()> {
        let address = self.service.at(self.service.addr());
        let before = process::cpu(&self.service)?;
        for _ in 0..self.scrapes {
            address.scrape()?;
        }
        self.seconds += process::cpu(&self.service)? - before;
        Ok(())
    }

    fn per_scrape(&self) -> f64 {
        self.seconds / (ROUNDS * self.scrapes) as f64
    }

    fn describe(&self) -> Result<()> {
        let page = page(&self.service)?;
        let (series, name) = (series(&page), self.service.name());
        let milliseconds = self.per_scrape() * 1e3;
        say(&format!(
            "{name}: {series} series, {} bytes, {milliseconds:.2} ms of processor time a scrape, \
             {:.0} ns a series",
            page.len(),
            milliseconds * 1e6 / series as f64,
        ));
        Ok(())
    }
}
