//! The monitoring step of the demo: a real Prometheus with the alerts.

use std::fs;

use anyhow::{Context as _, Result};
use e2e::{ProcessKubelet, Prometheus, Run, Surroundings, hold_briefly, policyctl};
use policy_manifests::monitoring::prometheus_rule;
use policy_manifests::promql::{Expr, gauge};
use policy_metrics::watcher;
use serde_json::Value;

use super::component::SOON;
use super::{Demo, print};

/// A namespace in class Critical.
const POOR: &str = include_str!("poor.yaml");
const ALERT: &str = "KubeDevopsNamespaceCritical";
/// Two replicas of three services.
const TARGETS: f64 = 6.0;

pub(super) fn show<'a>(demo: &'a Demo, kubelet: &ProcessKubelet<'_>) -> Result<Prometheus<'a>> {
    print(
        "\nA real Prometheus finds the pods by the API server and scrapes them, the webhook by HTTPS with its own\n\
         authority. Its alerts are those of the chart; here each waits for two seconds instead of minutes.\n",
    )?;
    demo.show("policyctl observability generate-all | grep -E '^kind|alert:' | sort | uniq -c", 0)?;
    let mut rules = serde_json::to_value(prometheus_rule())?["spec"].take();
    hold_briefly(&mut rules);
    let prometheus = demo.testbed.start_prometheus(kubelet, &rules, Surroundings::default())?;
    demo.testbed.wait_for("the targets of Prometheus", SOON, || {
        Ok(prometheus.value("count(up == 1)")? == Some(TARGETS))
    })?;
    print("\nTargets that are up:\n")?;
    for url in prometheus.targets()?.keys() {
        print(&format!("  {url}\n"))?;
    }
    compare(demo, &prometheus)?;
    fire(demo, &prometheus)?;
    Ok(prometheus)
}

/// Prints what the first row of the dashboard shows beside what policyctl finds by itself.
fn compare(demo: &Demo, prometheus: &Prometheus<'_>) -> Result<()> {
    let all = || gauge(&watcher::NAMESPACE_VIOLATIONS).value();
    let numbers: [(&str, Expr, &str); 5] = [
        ("cluster score", gauge(&watcher::CLUSTER_SCORE).value(), "/score"),
        ("pods", gauge(&watcher::CLUSTER_PODS).value(), "/pods"),
        ("compliant pods", gauge(&watcher::CLUSTER_COMPLIANT).value(), "/compliantPods"),
        ("violations", all().sum(), "/totalViolations"),
        (
            "images that are not pinned",
            gauge(&watcher::NAMESPACE_VIOLATIONS).equal("check", "latest-tag").value().sum(),
            "/violationsByCheck/latest-tag",
        ),
    ];
    let mut rows = Vec::new();
    let agree = demo.testbed.wait_for("Prometheus and policyctl to agree", SOON, || {
        let report = analysis(demo)?;
        rows.clear();
        for (name, query, field) in &numbers {
            let found = report["summary"].pointer(field).and_then(Value::as_f64);
            rows.push((*name, prometheus.value(&query.to_string())?, found.unwrap_or_default()));
        }
        Ok(rows.iter().all(|(_, scraped, found)| *scraped == Some(*found)))
    });
    print(&format!("\n{:<28}  {:>10}  policyctl analyze\n", "", "Prometheus"))?;
    for (name, scraped, found) in &rows {
        let scraped = scraped.map_or_else(|| "no data".to_owned(), |value| value.to_string());
        print(&format!("{name:<28}  {scraped:>10}  {found:>17}\n"))?;
    }
    agree
}

fn analysis(demo: &Demo) -> Result<Value> {
    let mut analyze = std::process::Command::new(policyctl()?);
    analyze.args(["analyze", "-o", "json"]).env("KUBECONFIG", demo.testbed.kubeconfig());
    serde_json::from_str(&Run::of(&mut analyze, None)?.succeeded()?).context("no JSON")
}

/// Makes an alert fire and resolve.
fn fire(demo: &Demo, prometheus: &Prometheus<'_>) -> Result<()> {
    fs::write(demo.testbed.folder().join("poor.yaml"), POOR)?;
    demo.show("kubectl apply -f poor.yaml", 0)?;
    let alert = || -> Result<Option<Value>> {
        let alerts = prometheus.api("alerts")?;
        let alerts = alerts["alerts"].as_array().context("no list of alerts")?;
        let is_it = |alert: &&Value| {
            let labels = &alert["labels"];
            labels["alertname"] == ALERT && labels["namespace"] == "poor"
        };
        Ok(alerts.iter().find(is_it).cloned())
    };
    let mut firing = Value::Null;
    demo.testbed.wait_for("the alert", SOON, || {
        firing = alert()?.unwrap_or_default();
        Ok(firing["state"] == "firing")
    })?;
    let text = |field: &str| firing["annotations"][field].as_str().unwrap_or_default();
    print(&format!(
        "\nFIRING    {ALERT} ({})\n          {}\n          {}\n          {}\n",
        firing["labels"]["severity"].as_str().unwrap_or_default(),
        text("summary"),
        text("description"),
        text("runbook_url"),
    ))?;
    demo.show("kubectl delete -f poor.yaml", 0)?;
    demo.testbed.wait_for("the alert to resolve", SOON, || Ok(alert()?.is_none()))?;
    print(&format!("\nRESOLVED  {ALERT}\n"))
}
