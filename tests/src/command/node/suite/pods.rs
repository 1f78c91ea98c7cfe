//! The pods of the chart, as the kubelets run them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use e2e::{NODES, Testbed};
use serde_json::Value;

use super::super::chart::NAMESPACE;
use super::SURELY;

/// The components, with two pods each.
pub(super) const COMPONENTS: [&str; 3] = ["policy-operator", "policy-watcher", "policy-webhook"];
pub(super) const REPLICAS: usize = 2;
/// In MiB, of all pods together.
const MOST_MEMORY: f64 = 45.0;
const MIB: f64 = 1_048_576.0;

/// A pod of the chart.
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) component: String,
    pub(super) node: String,
    restarts: u64,
    is_ready: bool,
}

/// The pods that are not being deleted.
pub(super) fn list(testbed: &Testbed) -> Result<Vec<Pod>> {
    let get = ["get", "pods", "--namespace", NAMESPACE, "-o", "json"];
    let list: Value = serde_json::from_str(&testbed.kubectl(&get)?.succeeded()?)?;
    let pods = list["items"].as_array().context("kubectl lists no pods")?;
    let pods = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let pods = pods.map(|pod| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let status = &pod["status"]["containerStatuses"][0];
        Pod {
            name: text(&pod["metadata"]["name"]),
            component: text(&pod["metadata"]["labels"]["app.kubernetes.io/name"]),
            node: text(&pod["spec"]["nodeName"]),
            restarts: status["restartCount"].as_u64().unwrap_or_default(),
            is_ready: status["ready"] == true,
        }
    });
    Ok(pods.filter(|pod| COMPONENTS.contains(&&*pod.component)).collect())
}

/// Waits until each component has its pods, and no other ones.
pub(super) fn wait_until_ready(testbed: &Testbed) -> Result<Vec<Pod>> {
    let mut pods = Vec::new();
    testbed.wait_for("all pods to be ready", SURELY, || {
        pods = list(testbed)?;
        Ok(pods.len() == COMPONENTS.len() * REPLICAS && pods.iter().all(|pod| pod.is_ready))
    })?;
    Ok(pods)
}

/// Waits until no pod is being deleted any more.
pub(super) fn wait_until_gone(testbed: &Testbed) -> Result<()> {
    let times = "-o=jsonpath={.items[*].metadata.deletionTimestamp}";
    let get = ["get", "pods", "--namespace", NAMESPACE, times];
    testbed.wait_for("the end of the replaced pods", SURELY, || {
        Ok(testbed.kubectl(&get)?.succeeded()?.is_empty())
    })
}

pub(super) fn ready(testbed: &Testbed) -> Result<String> {
    let pods = wait_until_ready(testbed)?;
    for component in COMPONENTS {
        let of = pods.iter().filter(|pod| pod.component == component);
        let nodes: BTreeSet<_> = of.map(|pod| &*pod.node).collect();
        ensure!(nodes.len() == NODES.len(), "all pods of {component} are on one node");
    }
    let restarts: u64 = pods.iter().map(|pod| pod.restarts).sum();
    ensure!(restarts == 0, "{restarts} restarts");
    Ok(format!("{} pods, no restart", pods.len()))
}

/// A pod without a security context is refused where the pods of the chart run.
pub(super) fn restricted(testbed: &Testbed) -> Result<String> {
    let run = ["run", "other", "--image=other:1", "--dry-run=server", "--namespace", NAMESPACE];
    let run = testbed.kubectl(&run)?;
    ensure!(run.stderr.contains("violates PodSecurity \"restricted"), "{}", run.stderr);
    Ok("another pod is refused".to_owned())
}

/// Reads the kubelets' own counters of probes.
pub(super) fn probed(testbed: &Testbed) -> Result<String> {
    let pods = list(testbed)?;
    let mut probes = 0.0;
    testbed.wait_for("probes of each pod", SURELY, || {
        probes = 0.0;
        for pod in &pods {
            let path = format!("/api/v1/nodes/{}/proxy/metrics/probes", pod.node);
            let metrics = testbed.kubectl(&["get", "--raw", &path])?.succeeded()?;
            for kind in ["Liveness", "Readiness"] {
                let count = successes(&metrics, &pod.name, kind);
                if count == 0.0 {
                    return Ok(false);
                }
                probes += count;
            }
        }
        Ok(true)
    })?;
    Ok(format!("{probes} successful liveness and readiness probes"))
}

fn successes(metrics: &str, pod: &str, kind: &str) -> f64 {
    let labels =
        [format!("pod=\"{pod}\""), format!("probe_type=\"{kind}\""), "\"successful\"".to_owned()];
    let lines = metrics.lines().filter(|line| line.starts_with("prober_probe_total{"));
    let lines = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// The working sets of all containers, as the kubelets report them.
pub(super) fn memory(testbed: &Testbed) -> Result<String> {
    let mut of: BTreeMap<&str, f64> = BTreeMap::new();
    testbed.wait_for("the statistics of all pods", SURELY, || {
        of = BTreeMap::from(COMPONENTS.map(|component| (component, 0.0)));
        let mut found = 0;
        for node in NODES {
            let path = format!("/api/v1/nodes/{node}/proxy/stats/summary");
            let summary: Value =
                serde_json::from_str(&testbed.kubectl(&["get", "--raw", &path])?.succeeded()?)?;
            let pods = summary["pods"].as_array().into_iter().flatten();
            for container in pods.flat_map(|pod| pod["containers"].as_array().into_iter().flatten())
            {
                let name = container["name"].as_str().unwrap_or_default();
                let bytes = container["memory"]["workingSetBytes"].as_f64();
                if let (Some(sum), Some(bytes)) = (of.get_mut(name), bytes) {
                    *sum += bytes / MIB;
                    found += 1;
                }
            }
        }
        Ok(found == COMPONENTS.len() * REPLICAS)
    })?;
    let sum: f64 = of.values().sum();
    let each = of.iter().map(|(name, mib)| format!("{name} {mib:.1}"));
    let text = format!(
        "{sum:.1} MiB in {} pods ({})",
        COMPONENTS.len() * REPLICAS,
        each.collect::<Vec<_>>().join(", ")
    );
    ensure!(sum <= MOST_MEMORY, "{text}");
    Ok(text)
}
