//! The live scores of the demo: two replicas of policy-watcher.

use anyhow::{Context as _, Result};
use e2e::Testbed;
use serde_json::Value;

use super::print;
use super::replicas::{Replicas, SOON};

/// The replicas. They run until this is dropped.
pub(super) struct Watchers<'a> {
    testbed: &'a Testbed,
    replicas: Replicas<'a>,
}

impl<'a> Watchers<'a> {
    /// Starts the replicas and prints their roles.
    pub(super) fn start(testbed: &'a Testbed) -> Result<Self> {
        let replicas = Replicas::start(testbed, "policy-watcher")?;
        replicas.introduce()?;
        Ok(Self { testbed, replicas })
    }

    /// Prints the scores once the cluster has `pods` pods and `restarting` findings of high-restarts
    /// in shop.
    pub(super) fn show_scores(&self, what: &str, pods: u64, restarting: u64) -> Result<()> {
        let leader = self.replicas.leader()?;
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

    /// The number of pods that are scored now.
    pub(super) fn pods(&self) -> Result<u64> {
        let scores: Value = serde_json::from_str(&self.replicas.leader()?.get("/scores")?.1)?;
        scores["cluster"]["pods"].as_u64().context("no number of pods")
    }

    /// A command that prints the scores as metrics.
    pub(super) fn hint(&self) -> Result<String> {
        let leader = self.replicas.leader()?;
        Ok(format!("curl -s http://{}/metrics | grep health_score", leader.addr()))
    }
}
