//! The live scores of the demo, of policy-watcher.

use anyhow::{Context as _, Result};
use e2e::{ProcessKubelet, wait_for};
use serde_json::Value;

use super::component::{Component, SOON};
use super::print;

pub(super) struct Watchers<'a>(Component<'a>);

impl<'a> Watchers<'a> {
    /// Prints the role of each pod.
    pub(super) fn introduce(kubelet: &'a ProcessKubelet<'a>) -> Result<Self> {
        let component = Component { kubelet, name: "policy-watcher" };
        component.introduce()?;
        Ok(Self(component))
    }

    /// Prints the scores once the cluster has `pods` pods and `restarting` findings of high-restarts
    /// in shop.
    pub(super) fn show_scores(&self, what: &str, pods: u64, restarting: u64) -> Result<()> {
        let leader = self.0.leader()?;
        let scores = wait_for("the scores to follow", SOON, || {
            let scores: Value = serde_json::from_str(&leader.get("/scores")?.1)?;
            let namespaces = scores["namespaces"].as_array().into_iter().flatten();
            let mut shop = namespaces.filter(|namespace| namespace["namespace"] == "shop");
            let restarts = shop.next().map(|shop| &shop["violationsByCheck"]["high-restarts"]);
            let has_settled = restarts.is_some_and(|restarts| *restarts == restarting);
            let is_so = scores["cluster"]["pods"] == pods && has_settled;
            Ok(is_so.then_some(scores))
        })?;
        print(&format!("\n{what}\n"))?;
        let row = |name: &str, of: &Value| {
            let number = |field: &str| of[field].as_u64().unwrap_or_default();
            print(&format!(
                "  {name:<11} score {:>3}  {:>2} pods  {:>2} compliant  {:>2} violations\n",
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
        let scores: Value = serde_json::from_str(&self.0.leader()?.get("/scores")?.1)?;
        scores["cluster"]["pods"].as_u64().context("no number of pods")
    }

    /// A command that prints the scores as metrics.
    pub(super) fn hint(&self) -> Result<String> {
        let pod = format!("pods/http:{}:8080", self.0.leader()?.name());
        let metrics = format!("/api/v1/namespaces/kube-devops/{pod}/proxy/metrics");
        Ok(format!("kubectl get --raw {metrics} | grep health_score"))
    }
}
