//! `e2e monitoring`: the Prometheus operator configures Prometheus by the objects of the chart, and one
//! alert of each group is made to fire.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{
    OPERATOR_DEFINITIONS, Parts, ProcessKubelet, Program, Prometheus, Run, Testbed, policyctl,
    root, say, service_binary,
};
use policy_manifests::alerts::{Group, groups};

const NAMESPACE: &str = "kube-devops";
/// For what takes a moment, on a busy machine.
const SURELY: Duration = Duration::from_secs(120);
const CRITICAL: &str = "KubeDevopsNamespaceCritical";
const ERRORS: &str = "KubeDevopsReconcileErrors";
const STOPPED: &str = "KubeDevopsRemediationStopped";
const FAILING_OPEN: &str = "KubeDevopsWebhookFailingOpen";
const ABSENT: &str = "KubeDevopsWatcherAbsent";
/// One of each group, in their order.
const ALERTS: [&str; 5] = [CRITICAL, ERRORS, STOPPED, FAILING_OPEN, ABSENT];
/// Policies whose status nobody may write in the end, each one error.
const POLICIES: usize = 8;

pub(crate) fn run() -> Result<()> {
    // Not within the deadlines below.
    service_binary("policy-webhook")?;
    policyctl()?;
    for program in [Program::Prometheus, Program::PrometheusOperator, Program::Helm] {
        program.path()?;
    }
    let parts = Parts::new("monitoring").with_controllers().with_nodes(1).with_pods_as_processes();
    let testbed = &Testbed::start(&parts)?;
    testbed.run_pods(|kubelet| monitored(testbed, kubelet))
}

fn monitored(testbed: &Testbed, kubelet: &ProcessKubelet<'_>) -> Result<()> {
    testbed.install_published(&[OPERATOR_DEFINITIONS])?;
    install(testbed)?;
    let objects = ["get", "servicemonitors,prometheusrules", "-n", NAMESPACE, "-o", "name"];
    say(&format!("the chart has made\n{}", testbed.kubectl(&objects)?.succeeded()?));
    testbed.start_prometheus_operator()?;
    let prometheus = testbed.start_generated_prometheus(kubelet)?;
    testbed.wait_for("six targets that are up", SURELY, || {
        Ok(prometheus.value("count(up == 1)")? == Some(6.0))
    })?;
    for url in prometheus.targets()?.keys() {
        say(&format!("up: {url}"));
    }
    let groups = groups();
    let has = |(group, name): (&Group, &str)| group.alerts.iter().any(|alert| alert.name == name);
    let is_complete = groups.len() == ALERTS.len() && groups.iter().zip(ALERTS).all(has);
    ensure!(is_complete, "the alerts that are made to fire are not one of each group");
    spoil(testbed, kubelet)?;
    for alert in [CRITICAL, STOPPED, FAILING_OPEN] {
        await_alert(testbed, &prometheus, alert)?;
    }
    take_rights(testbed)?;
    await_alert(testbed, &prometheus, ERRORS)?;
    let scale = ["scale", "deployment/policy-watcher", "-n", NAMESPACE, "--replicas=0"];
    testbed.kubectl(&scale)?.succeeded()?;
    await_alert(testbed, &prometheus, ABSENT)
}

fn install(testbed: &Testbed) -> Result<()> {
    let mut helm = testbed.helm()?;
    helm.args(["install", "kube-devops"]).arg(root().join("charts/kube-devops"));
    helm.args(["--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout=60s"]);
    helm.args(["--set", "serviceMonitor.interval=1s"]);
    Run::of(&mut helm, None)?.succeeded()?;
    Ok(())
}

fn await_alert(testbed: &Testbed, prometheus: &Prometheus<'_>, alert: &str) -> Result<()> {
    let fires =
        testbed.wait_for(alert, SURELY, || Ok(prometheus.firing()?.contains(&alert.to_owned())));
    fires.with_context(|| format!("{:?}", prometheus.firing()))?;
    say(&format!("fires: {alert}"));
    Ok(())
}

/// Makes what the services find bad.
fn spoil(testbed: &Testbed, kubelet: &ProcessKubelet<'_>) -> Result<()> {
    testbed.apply(include_str!("demo/poor.yaml"))?;
    // In enforce mode, without the rights of that mode.
    for _ in 0..POLICIES {
        let namespace = testbed.namespace("team")?;
        testbed.apply(&format!(
            "{{apiVersion: devops.stochastic.io/v1, kind: DevOpsPolicy, \
             metadata: {{name: p, namespace: {namespace}}}, \
             spec: {{requireLivenessProbe: true, enforcementMode: enforce, \
             defaultProbe: {{tcpPort: 8080}}}}}}"
        ))?;
        testbed.apply(&format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web, namespace: {namespace}}}, \
             spec: {{selector: {{matchLabels: {{app: web}}}}, template: \
             {{metadata: {{labels: {{app: web}}}}, spec: {{containers: [{{name: web, image: 'nginx:1.27'}}]}}}}}}}}"
        ))?;
    }
    // What is no review, to the webhook.
    let webhook = kubelet.ready_pods("policy-webhook");
    let pod = webhook.first().context("no pod of policy-webhook")?.name().to_owned();
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/https:{pod}:8443/proxy/validate");
    testbed.kubectl_stdin(&["create", "--raw", &path, "-f", "-"], "{}")?;
    Ok(())
}

/// Lets the operator write no status any more, and changes what every status says.
fn take_rights(testbed: &Testbed) -> Result<()> {
    let rules = r#"[{"op": "replace", "path": "/rules", "value": [
        {"apiGroups": ["devops.stochastic.io"], "resources": ["*"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]}]"#;
    let role = "clusterrole/kube-devops-policy-operator";
    testbed.kubectl(&["patch", role, "--type=json", "-p", rules])?.succeeded()?;
    let names = ["get", "dop", "-A", "-o=jsonpath={.items[*].metadata.namespace}"];
    for namespace in testbed.kubectl(&names)?.succeeded()?.split(' ') {
        let patch = "{\"spec\": {\"forbidLatestTag\": true}}";
        let arguments = ["patch", "dop", "p", "-n", namespace, "--type=merge", "-p", patch];
        testbed.kubectl(&arguments)?.succeeded()?;
    }
    Ok(())
}
