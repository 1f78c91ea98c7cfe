//! `e2e bench-memory`: resident memory of the services in a large cluster, beside that of an earlier
//! build.
#![expect(clippy::cast_precision_loss, reason = "pods are far below 2^52")]

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{Parts, Service, Testbed, earlier_program, released_program, say};
use serde_json::{Value, json};

use super::fake_api::{FakeApi, Shape};
use super::measure::{relist, wait, wait_ready};

/// Each has a policy, and fifteen pods on average.
const NAMESPACES: usize = 10_000;
const PODS: u64 = 150_000;
/// One pod in this many restarts too often.
const FAILING: usize = 20;
const RELISTS: u64 = 3;
/// After the start and after the relists, for the remaining work: audit results are written after
/// the end of their minute.
const SETTLING: Duration = Duration::from_secs(75);

pub(crate) fn run() -> Result<()> {
    let (operator, watcher) =
        (released_program("policy-operator")?, released_program("policy-watcher")?);
    let earlier = earlier_program("policy-operator");
    let testbed = Testbed::start(&Parts::new("bench"))?;
    // The fake API server takes its place.
    testbed.kill_api_server()?;
    let mut results = json!({ "watcher_rss_mib": watcher_rss(&testbed, &watcher)? });
    let mut operators = vec![("operator", &operator)];
    operators.extend(earlier.as_ref().map(|earlier| ("earlier", earlier)));
    let resident = operators_rss(&testbed, &operators)?;
    results["operator_rss_mib"] = json!(resident[0]);
    if let Some(earlier) = resident.get(1) {
        results["operator_rss_ratio"] = json!(resident[0] / earlier);
    }
    writeln!(io::stdout(), "{results}")?;
    Ok(())
}

fn shape() -> Shape {
    Shape::uneven(NAMESPACES).failing(FAILING)
}

fn watcher_rss(testbed: &Testbed, program: &Path) -> Result<f64> {
    let fake = FakeApi::start(shape())?;
    let watcher = start(testbed, "watcher", program, &fake)?;
    let resident = rss_after_relists(&[("watcher", &fake, &watcher)])?;
    let pods = watcher.metrics()?.value("pods_tracked_total", &[]);
    ensure!(pods == Some(PODS as f64), "{pods:?} pods");
    Ok(resident[0])
}

/// Measures the operators at the same time, each with an API server of its own.
fn operators_rss(testbed: &Testbed, programs: &[(&str, &PathBuf)]) -> Result<Vec<f64>> {
    let fakes = programs.iter().map(|_| FakeApi::with_policies(shape(), &["strict"]));
    let fakes = fakes.collect::<Result<Vec<_>>>()?;
    let mut operators = Vec::new();
    for ((name, program), fake) in programs.iter().zip(&fakes) {
        operators.push((*name, fake, start(testbed, name, program, fake)?));
    }
    for fake in &fakes {
        wait(|| Ok(fake.statuses_written() >= NAMESPACES))?;
    }
    let operators: Vec<_> = operators.iter().map(|(name, fake, it)| (*name, *fake, it)).collect();
    let resident = rss_after_relists(&operators)?;
    for (name, _, operator) in &operators {
        let state: Value = serde_json::from_str(&operator.get("/debug/state")?.1)?;
        ensure!(state["pods"].as_u64() == Some(PODS), "{name} has {} pods", state["pods"]);
    }
    Ok(resident)
}

fn start<'a>(
    testbed: &'a Testbed,
    name: &str,
    program: &Path,
    fake: &FakeApi,
) -> Result<Service<'a>> {
    let kubeconfig = fake.kubeconfig(testbed.folder())?;
    let service = testbed.service(name, program).kubeconfig(&kubeconfig).start()?;
    wait_ready(&service)?;
    Ok(service)
}

/// The resident memory of each after relists, in MiB. That before and the highest are printed as
/// well.
fn rss_after_relists(services: &[(&str, &FakeApi, &Service<'_>)]) -> Result<Vec<f64>> {
    thread::sleep(SETTLING);
    let mut before = Vec::new();
    for (_, fake, service) in services {
        before.push(service.memory_mib()?.0);
        relist(fake, service, RELISTS)?;
    }
    thread::sleep(SETTLING);
    let mut resident = Vec::new();
    for ((name, _, service), before) in services.iter().zip(before) {
        let (now, peak) = service.memory_mib()?;
        say(&format!(
            "{name}: {before:.1} MiB resident, after {RELISTS} relists {now:.1}, {peak:.1} at most"
        ));
        resident.push(now);
    }
    Ok(resident)
}
