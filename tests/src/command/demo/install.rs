//! The installation step of the demo, and the settings that later steps switch on.

use anyhow::{Context as _, Result, ensure};
use e2e::ProcessKubelet;
use serde_json::Value;

use super::{Demo, print};

const NAMESPACE: &str = "kube-devops";
const RELEASE: &str = "kube-devops charts/kube-devops -n kube-devops";

/// Installs the chart, and shows what is ready.
pub(super) fn show(demo: &Demo, kubelet: &ProcessKubelet<'_>) -> Result<()> {
    print(
        "\nThere is no container runtime here, so each pod of the chart runs as a process: with the arguments,\n\
         the environment and the token of the pod, called by its probes, and reached through its Service by\n\
         a proxy of the demo in place of the pod network. The nodes and all other pods are simulated.\n\
         For now, admission is off: nothing is denied or changed.\n",
    )?;
    let off = "--set admission.enabled=false";
    demo.show(&format!("helm install {RELEASE} --create-namespace {off} --wait | head -4"), 0)?;
    let get = ["get", "deployments", "-n", NAMESPACE, "-o", "json"];
    let deployments: Value = serde_json::from_str(&demo.testbed.kubectl(&get)?.succeeded()?)?;
    let deployments = deployments["items"].as_array().context("no Deployments")?;
    ensure!(!deployments.is_empty(), "helm has installed no Deployment");
    print("\n")?;
    deployments.iter().try_for_each(|deployment| show_deployment(deployment, kubelet))?;
    demo.show("kubectl get pods -n kube-devops", 0)
}

/// Changes a setting of the installed chart.
pub(super) fn switch_on(demo: &Demo, setting: &str) -> Result<()> {
    let values = format!("--reset-then-reuse-values --set {setting}=true");
    demo.show(&format!("helm upgrade {RELEASE} {values} | head -1"), 0)
}

fn show_deployment(deployment: &Value, kubelet: &ProcessKubelet<'_>) -> Result<()> {
    let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
    let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or_default();
    let ready = kubelet.ready_pods(name).len();
    ensure!(u64::try_from(ready)? == wanted, "of {name}, {ready} of {wanted} pods are ready");
    let probe = &deployment["spec"]["template"]["spec"]["containers"][0]["readinessProbe"];
    let get = &probe["httpGet"];
    print(&format!(
        "{name:<15}  {ready}/{wanted} ready, probed by the kubelet's rules: {} GET {} at port {}, every {} s\n",
        get["scheme"].as_str().unwrap_or_default(),
        get["path"].as_str().unwrap_or_default(),
        get["port"].as_str().unwrap_or_default(),
        probe["periodSeconds"],
    ))
}
