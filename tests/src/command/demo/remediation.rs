//! The step of the demo about enforce mode: one workload patched, one injected into at admission, one
//! whose patch is taken back, one proposed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::Testbed;
use serde_json::Value;

use super::{Demo, install};

const NAMESPACE: &str = "store";
/// The chart of a Deployment like `api`.
const CHART: [(&str, &str); 2] = [
    ("Chart.yaml", "apiVersion: v2\nname: shop\nversion: 0.1.0\n"),
    ("templates/shop.yaml", include_str!("shop.yaml")),
];
/// The first workload of a policy is observed alone, so that the others wait for it.
const DECIDED: Duration = Duration::from_secs(180);

/// Switches enforce mode on, and shows what it does.
pub(super) fn show(demo: &Demo) -> Result<()> {
    let folder = demo.testbed.folder();
    write_chart(&folder.join("shop"))?;
    fs::write(folder.join("store.yaml"), include_str!("store.yaml"))?;
    fs::write(folder.join("enforce.yaml"), include_str!("enforce.yaml"))?;
    demo.show(&format!("kubectl create namespace {NAMESPACE}"), 0)?;
    demo.show("kubectl apply -f store.yaml", 0)?;
    demo.show(&format!("helm install shop ./shop -n {NAMESPACE} | head -3"), 0)?;
    install::switch_on(demo, "enforcement.enabled")?;
    for workload in ["deployment/api", "deployment/worker", "deployment/shop", "statefulset/db"] {
        let status = ["rollout", "status", workload, "-n", NAMESPACE, "--timeout=120s"];
        demo.testbed.kubectl(&status)?.succeeded()?;
    }
    demo.show("kubectl apply -f enforce.yaml", 0)?;
    let expected = [
        ("Deployment/api", "Patched"),
        ("Deployment/worker", "Reverted"),
        ("Deployment/shop", "Injecting"),
        ("StatefulSet/db", "Proposed"),
    ];
    let mut states = Vec::new();
    let decided = demo.testbed.wait_for("enforce mode to decide", DECIDED, || {
        states = self::states(&demo.testbed)?;
        Ok(expected.iter().all(|(workload, state)| {
            states.iter().any(|found| found.0 == *workload && found.1 == *state)
        }))
    });
    decided.with_context(|| format!("the states are {states:?}"))?;
    demo.show(&format!("policyctl remediations -n {NAMESPACE}"), 0)?;
    let events = format!("kubectl describe dop enforced -n {NAMESPACE} | sed -n '/^Events/,$p'");
    demo.show(&events, 0)?;
    // The Deployment of the release stays as it is; its next pods are changed.
    demo.show(&format!("kubectl delete pod -l app=shop -n {NAMESPACE}"), 0)?;
    let ready = ["rollout", "status", "deployment/shop", "-n", NAMESPACE, "--timeout=120s"];
    demo.testbed.kubectl(&ready)?.succeeded()?;
    let fields = r"{.items[0].metadata.annotations.devops\.stochastic\.io/injected-fields}";
    let get =
        format!("kubectl get pod -l app=shop -n {NAMESPACE} -o jsonpath='{fields}{{\"\\n\"}}'");
    demo.show(&get, 0)?;
    demo.show(&format!("helm upgrade shop ./shop -n {NAMESPACE} | head -1"), 0)
}

fn write_chart(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder.join("templates"))?;
    for (name, text) in CHART {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}

/// The workloads in the status of the policy, each with its state.
fn states(testbed: &Testbed) -> Result<Vec<(String, String)>> {
    let get = ["get", "dop", "enforced", "-n", NAMESPACE, "-o", "json"];
    let policy: Value = serde_json::from_str(&testbed.kubectl(&get)?.succeeded()?)?;
    let workloads = policy["status"]["remediation"]["workloads"].as_array();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let states = workloads.into_iter().flatten();
    Ok(states.map(|found| (text(&found["workload"]), text(&found["state"]))).collect())
}
