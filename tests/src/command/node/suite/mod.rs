//! The checks, and the table that they print.

mod availability;
mod confined;
mod load;
mod pods;
mod release;

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::Testbed;
use serde_json::{Value, json};

/// For what takes a moment, on a busy machine.
const SURELY: Duration = Duration::from_secs(120);
/// The namespace of the workloads that are judged.
const SHOP: &str = "shop";

/// Runs all checks on an empty cluster, whose nodes took this time to get ready.
pub(super) fn run(testbed: &Testbed, nodes_ready: Duration) -> Result<()> {
    let mut suite = Suite { testbed, failed: 0, checks: 0 };
    suite.row("both nodes are Ready", || Ok(seconds(nodes_ready)))?;
    suite.row("helm install --wait; at most 15 s", || release::install(testbed))?;
    ensure!(suite.failed == 0, "the other checks need the chart");
    suite.row("all replicas are Ready, on both nodes", || pods::ready(testbed))?;
    suite.row("Pod Security restricted is enforced", || pods::restricted(testbed))?;
    suite.row("the kubelets probe every pod", || pods::probed(testbed))?;
    suite.row("the containers are confined", confined::processes)?;
    suite.row("working sets at rest; at most 45 MiB", || pods::memory(testbed))?;
    suite.row("the webhook denies through its Service", || denied(testbed))?;
    suite.row("helm test", || release::test(testbed))?;
    suite.row("the last replica is not evicted", || availability::last_replica(testbed))?;
    suite.row("rollout restart of the webhook", || availability::restart(testbed))?;
    suite.row("drain of a node", || availability::drain(testbed))?;
    suite.row("helm upgrade, 1 000 creations", || release::upgrade(testbed))?;
    suite.row("helm upgrade --rollback-on-failure", || release::failed_upgrade(testbed))?;
    let Suite { failed, checks, .. } = suite;
    ensure!(failed == 0, "{failed} of {checks} checks failed");
    Ok(())
}

struct Suite<'a> {
    testbed: &'a Testbed,
    failed: u32,
    checks: u32,
}

impl Suite<'_> {
    /// Runs a check, and prints its row with what it measured.
    fn row(&mut self, what: &str, check: impl FnOnce() -> Result<String>) -> Result<()> {
        let (mark, measured) = match check() {
            Ok(measured) => ("ok", measured),
            Err(error) => {
                self.failed += 1;
                ("FAILED", format!("{error:#}"))
            }
        };
        self.checks += 1;
        let mut out = io::stdout().lock();
        writeln!(out, "{mark:<8}{what:<42}{measured}")?;
        if mark != "ok" {
            let list = ["get", "pods,events", "--namespace", super::chart::NAMESPACE];
            writeln!(out, "{}", self.testbed.kubectl(&list)?.stdout)?;
        }
        Ok(out.flush()?)
    }
}

/// A policy, and a Deployment that it denies.
fn denied(testbed: &Testbed) -> Result<String> {
    testbed.kubectl(&["create", "namespace", SHOP])?.succeeded()?;
    testbed.apply(
        &json!({
            "apiVersion": "devops.stochastic.io/v1",
            "kind": "DevOpsPolicy",
            "metadata": { "name": "strict", "namespace": SHOP },
            "spec": { "forbidLatestTag": true, "severityOverrides": { "latestTag": "critical" } },
        })
        .to_string(),
    )?;
    let mut message = String::new();
    // The policy reaches the webhook's pods a moment later.
    testbed.wait_for("a denial", SURELY, || {
        let create = ["create", "--dry-run=server", "-f", "-"];
        let run = testbed.kubectl_stdin(&create, &deployment("latest").to_string())?;
        message = run.stderr;
        Ok(run.code != Some(0))
    })?;
    let sentence = message.split_once("denied the request: ");
    let (_, reason) = sentence.ok_or_else(|| anyhow::anyhow!("{message}"))?;
    Ok(reason.trim().to_owned())
}

/// A Deployment of an image with this tag.
fn deployment(tag: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "web", "namespace": SHOP },
        "spec": {
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": format!("shop/web:{tag}") }] },
            },
        },
    })
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f32())
}
