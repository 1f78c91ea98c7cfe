//! `e2e bench-clusters`: the time of `policyctl multi-cluster analyze` of four clusters against that of
//! the slowest of them alone.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Result, ensure};
use e2e::{released_program, say};
use serde_json::{Value, json};

use super::fake_api::{FakeApi, Shape};
use super::measure::median;

const CLUSTERS: usize = 4;
const PODS: usize = 5000;
const NAMESPACES: usize = 20;
/// What an API server elsewhere takes to read a page of 500 pods (7 MB) and to send it: 56 ms at
/// 1 Gbit/s alone. Servers on this machine would take the processors that policyctl is measured on.
const PAUSE: Duration = Duration::from_millis(100);
const REPEATS: usize = 7;

pub(crate) fn run() -> Result<()> {
    let policyctl = released_program("policyctl")?;
    let shape = Shape::even(PODS, NAMESPACES);
    let fakes = (0..CLUSTERS).map(|_| FakeApi::start(shape)).collect::<Result<Vec<_>>>()?;
    let file = env::temp_dir().join(format!("bench-clusters-{}.kubeconfig", std::process::id()));
    fs::write(&file, kubeconfig(&fakes).to_string())?;
    let measured = measure(&policyctl, &file, &fakes);
    fs::remove_file(&file)?;
    writeln!(io::stdout(), "{}", measured?)?;
    Ok(())
}

fn measure(policyctl: &Path, kubeconfig: &Path, fakes: &[FakeApi]) -> Result<Value> {
    // The first call renders the pages.
    round(policyctl, kubeconfig)?;
    let local = ratio(policyctl, kubeconfig, "no pause")?;
    for fake in fakes {
        fake.answer_pages_after(PAUSE);
    }
    let remote = ratio(policyctl, kubeconfig, "a pause of each page")?;
    Ok(json!({ "multi_ratio": remote, "multi_ratio_local": local }))
}

/// The median of several rounds.
fn ratio(policyctl: &Path, kubeconfig: &Path, what: &str) -> Result<f64> {
    let mut ratios = Vec::new();
    for _ in 0..REPEATS {
        let (alone, together) = round(policyctl, kubeconfig)?;
        say(&format!("{what}: the slowest alone {alone:.2?}, four {together:.2?}"));
        ratios.push(together.as_secs_f64() / alone.as_secs_f64());
    }
    Ok(median(ratios))
}

/// The time of the slowest cluster alone, and of all in one call.
fn round(policyctl: &Path, kubeconfig: &Path) -> Result<(Duration, Duration)> {
    let mut slowest = Duration::ZERO;
    for cluster in 0..CLUSTERS {
        slowest = slowest.max(analyze(policyctl, kubeconfig, &name(cluster), PODS)?);
    }
    Ok((slowest, analyze(policyctl, kubeconfig, "*", CLUSTERS * PODS)?))
}

fn analyze(policyctl: &Path, kubeconfig: &Path, contexts: &str, pods: usize) -> Result<Duration> {
    let start = Instant::now();
    let output = Command::new(policyctl)
        .args(["multi-cluster", "analyze", "-o", "json", "--contexts", contexts])
        .env("KUBECONFIG", kubeconfig)
        .output()?;
    let elapsed = start.elapsed();
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "policyctl ended with {}: {error}", output.status);
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let analysed = &report["summary"]["pods"];
    ensure!(*analysed == pods, "{analysed} pods were analysed, not {pods}");
    Ok(elapsed)
}

fn name(cluster: usize) -> String {
    format!("cluster-{cluster}")
}

fn kubeconfig(fakes: &[FakeApi]) -> Value {
    let contexts = (0..fakes.len()).map(|cluster| {
        let name = name(cluster);
        json!({ "name": name, "context": { "cluster": name, "user": "u" } })
    });
    let clusters = fakes.iter().enumerate().map(|(cluster, fake)| {
        let server = format!("http://{}", fake.addr);
        json!({ "name": name(cluster), "cluster": { "server": server } })
    });
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": name(0),
        "contexts": contexts.collect::<Vec<_>>(), "clusters": clusters.collect::<Vec<_>>(),
        "users": [{ "name": "u", "user": { "token": "t" } }],
    })
}
