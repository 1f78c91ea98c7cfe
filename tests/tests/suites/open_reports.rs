//! The reports of `analyze -o openreports` are what the definition of openreports.io takes.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use e2e::{Testbed, shared};
use serde_json::{Value, json};

use crate::cli;

pub(crate) const DEFINITION: &str = include_str!("open_reports/reports.yaml");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/policyctl.md");
const POLICY: &str = "{forbidLatestTag: true, requireReadinessProbe: true, requireLivenessProbe: true, \
    severityOverrides: {latestTag: high}, exemptions: [{checks: [missing-readiness], \
    workload: {kind: Deployment, name: web}, reason: it has no traffic}]}";

/// A testbed that serves Reports.
fn testbed() -> &'static Testbed {
    let testbed = shared();
    testbed.apply_definitions(DEFINITION).unwrap();
    testbed
}

#[test]
fn the_largest_report_is_taken_by_the_command_of_the_page() {
    let testbed = testbed();
    let bulk = testbed.namespace("bulk").unwrap();
    let pod = |number: usize| {
        json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": format!("pod-{number}"), "namespace": bulk },
            "spec": { "containers": [{ "name": "web", "image": "nginx" }] } })
    };
    let pods: Vec<Value> = (0..300).map(pod).collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": pods }).to_string();
    let reports = cli::expect(testbed, 0, &["analyze", "-f", "-", "-o", "openreports"], &list);
    let page = std::fs::read_to_string(PAGE).unwrap();
    let command = page.split_once("$ policyctl analyze -o openreports | kubectl ").unwrap().1;
    let command: Vec<&str> = command.lines().next().unwrap().split(' ').collect();
    testbed.kubectl_stdin(&command, &reports).unwrap().succeeded().unwrap();
    let get = ["get", "reports.openreports.io", "policyctl", "-n", &bulk, "-o", "json"];
    let stored = testbed.kubectl(&get).unwrap().succeeded().unwrap();
    let stored: Value = serde_json::from_str(&stored).unwrap();
    assert_eq!(stored["results"].as_array().unwrap().len(), 1_000);
}

#[test]
fn the_api_server_takes_the_reports_of_analyze_unchanged() {
    let testbed = testbed();
    let [shop, quiet] = ["shop", "quiet"].map(|name| testbed.namespace(name).unwrap());
    let labels = json!({ "app": "web" });
    let containers =
        json!([{ "name": "web", "image": "nginx" }, { "name": "log", "image": "log" }]);
    let web = json!({ "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "web", "namespace": shop },
        "spec": { "selector": { "matchLabels": labels }, "template": {
            "metadata": { "labels": labels }, "spec": { "containers": containers } } } });
    let job = json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "job", "namespace": quiet },
        "spec": { "restartPolicy": "Never", "containers": [{ "name": "job", "image": "job:1" }] } });
    let policy = testbed.folder().join("open-reports.yaml");
    std::fs::write(&policy, cli::policy(&shop, "strict", POLICY)).unwrap();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [web, job] }).to_string();
    let analyze = ["analyze", "-f", "-", "--policy", policy.to_str().unwrap(), "-o", "openreports"];
    let reports = cli::expect(testbed, 0, &analyze, &list);
    testbed.apply(&reports).unwrap();

    let read = |namespace: &str| -> Value {
        let get = ["get", "reports.openreports.io", "policyctl", "-n", namespace, "-o", "json"];
        let text = testbed.kubectl(&get).unwrap().succeeded().unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let (of_shop, of_quiet) = (read(&shop), read(&quiet));
    let sent: Value = serde_json::from_str(&reports).unwrap();
    for stored in [&of_shop, &of_quiet] {
        let items = sent["items"].as_array().unwrap();
        let name = &stored["metadata"]["namespace"];
        let sent = items.iter().find(|item| item["metadata"]["namespace"] == *name).unwrap();
        for field in ["source", "summary", "results", "scope", "configuration"] {
            assert_eq!(stored.get(field), sent.get(field), "nothing is pruned: {field}");
        }
    }
    let found: Vec<_> = of_shop["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| {
            let text = |field: &str| result[field].as_str().unwrap().to_owned();
            (text("rule"), text("result"), text("severity"))
        })
        .collect();
    let expected = [
        ("latest-tag", "fail", "high"),
        ("missing-liveness", "fail", "medium"),
        ("missing-readiness", "skip", "medium"),
    ]
    .map(|(rule, result, severity)| (rule.to_owned(), result.to_owned(), severity.to_owned()));
    assert_eq!(found, expected);
    assert_eq!(of_shop["results"][0]["resources"][0]["name"], "web");
    assert_eq!(of_shop["summary"]["fail"], 2);
    assert_eq!(
        of_quiet["summary"],
        json!({ "pass": 3, "fail": 0, "warn": 0, "error": 0, "skip": 0 })
    );
    // Again the same: an apply of the same report changes nothing.
    assert!(testbed.apply(&reports).is_ok());
    assert_eq!(read(&shop)["metadata"]["resourceVersion"], of_shop["metadata"]["resourceVersion"]);
}
