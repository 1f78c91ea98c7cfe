//! The demo's last step: two replicas of policy-watcher, and scores that follow what is applied.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::{Service, Testbed};
use serde_json::Value;

use super::print;

const SOON: Duration = Duration::from_secs(60);

/// The replicas, which run as long as this is there.
pub(super) struct Watchers<'a> {
    testbed: &'a Testbed,
    replicas: [Service<'a>; 2],
}

impl<'a> Watchers<'a> {
    /// Starts them, with no more rights than deploy/kustomize/base gives them.
    pub(super) fn start(testbed: &'a Testbed, program: &Path) -> Result<Self> {
        testbed.install_base()?;
        let kubeconfig = testbed.account_kubeconfig("kube-devops", "policy-watcher")?;
        let start = |name| testbed.service(name, program).kubeconfig(&kubeconfig).start();
        let watchers = Self { testbed, replicas: [start("watcher-a")?, start("watcher-b")?] };
        for replica in &watchers.replicas {
            replica.wait_ready(SOON)?;
        }
        Ok(watchers)
    }

    /// Names the leader.
    pub(super) fn introduce(&self) -> Result<()> {
        let leader = self.leader()?;
        for replica in &self.replicas {
            let role = if replica.addr() == leader.addr() { "leads" } else { "stands by" };
            print(&format!("{} at http://{} {role}\n", replica.name(), replica.addr()))?;
        }
        Ok(())
    }

    /// Shows the scores once the cluster has so many pods, so many of shop restarting.
    pub(super) fn show_scores(&self, what: &str, pods: u64, restarting: u64) -> Result<()> {
        let leader = self.leader()?;
        let mut scores = Value::Null;
        self.testbed.wait_for("the scores to follow", SOON, || {
            scores = serde_json::from_str(&leader.get("/scores")?.1)?;
            let namespaces = scores["namespaces"].as_array().into_iter().flatten();
            let mut shop = namespaces.filter(|namespace| namespace["namespace"] == "shop");
            let restarts = shop.next().map(|shop| &shop["violationsByCheck"]["high-restarts"]);
            let has_settled = restarts.is_some_and(|restarts| *restarts == restarting);
            Ok(scores["cluster"]["pods"] == pods && has_settled)
        })?;
        print(&format!("\n{what}\n"))?;
        let row = |name: &str, of: &Value| {
            let number = |field: &str| of[field].as_u64().unwrap_or_default();
            print(&format!(
                "  {name:<10} score {:>3}  {:>2} pods  {:>2} compliant  {:>2} violations\n",
                number("score"),
                number("pods"),
                number("compliantPods"),
                number("totalViolations"),
            ))
        };
        for namespace in scores["namespaces"].as_array().into_iter().flatten() {
            row(namespace["namespace"].as_str().unwrap_or_default(), namespace)?;
        }
        row("cluster", &scores["cluster"])
    }

    /// How many pods are scored now.
    pub(super) fn pods(&self) -> Result<u64> {
        let scores: Value = serde_json::from_str(&self.leader()?.get("/scores")?.1)?;
        scores["cluster"]["pods"].as_u64().context("no number of pods")
    }

    /// A command that shows the same.
    pub(super) fn hint(&self) -> String {
        format!("curl -s http://{}/metrics | grep health_score", self.replicas[0].addr())
    }

    fn leader(&self) -> Result<&Service<'a>> {
        let mut leader = None;
        self.testbed.wait_for("one of the watchers to lead", SOON, || {
            for replica in &self.replicas {
                if replica.metrics()?.value("leader", &[]) == Some(1.0) {
                    leader = Some(replica);
                }
            }
            Ok(leader.is_some())
        })?;
        leader.context("no watcher leads")
    }
}
