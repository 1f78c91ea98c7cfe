//! Custom checks of pods that run: one verdict in files and of the cluster.

use e2e::{Parts, Testbed};
use serde_json::{Value, json};

use super::installed;
use crate::cli;

/// Finds something in some pods; one of the checks is broken, and harms nothing else.
const SPEC: &str = "{requireReadinessProbe: true, custom: [\
    {name: host, severity: high, weight: 20, expression: '!has(object.spec.hostNetwork)', \
     messageExpression: \"object.metadata.name + ' is in the network of its node'\"}, \
    {name: team, expression: 'has(object.metadata.labels.team)'}, \
    {name: broken, expression: 'object.spec.containers[0].ports[0].containerPort > 1024'}]}";

/// Pods for each combination that the checks tell apart.
fn pods(namespace: &str) -> Vec<Value> {
    let pods = (0..12).map(|number: u32| {
        let mut labels = json!({ "app": "x" });
        if number.is_multiple_of(3) {
            labels["team"] = json!("a");
        }
        let mut container = json!({ "name": "c", "image": "r.example.com/a:1" });
        if number.is_multiple_of(4) {
            container["ports"] = json!([{ "containerPort": 80 + number }]);
        }
        let mut spec = json!({ "containers": [container] });
        if number.is_multiple_of(2) {
            spec["hostNetwork"] = json!(true);
        }
        json!({ "apiVersion": "v1", "kind": "Pod", "spec": spec,
            "metadata": { "name": format!("p-{number}"), "namespace": namespace, "labels": labels } })
    });
    pods.collect()
}

fn apply_pods(testbed: &Testbed, namespace: &str) {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": pods(namespace) });
    testbed.apply(&list.to_string()).unwrap();
}

#[test]
fn pods_of_a_cluster_have_the_findings_of_files() {
    let (testbed, _) = installed(&Parts::new("custom-analyze"));
    let shop = testbed.namespace("shop").unwrap();
    apply_pods(&testbed, &shop);
    let policy = cli::policy(&shop, "own", SPEC);
    testbed.apply(&policy).unwrap();
    let path = testbed.folder().join("own.yaml");
    std::fs::write(&path, policy).unwrap();
    let by = ["--policy", path.to_str().unwrap()];
    let get = ["get", "pods", "-n", &shop, "-o", "json"];
    let stored = testbed.kubectl(&get).unwrap().succeeded().unwrap();
    let files = cli::json(&testbed, &[&["analyze", "-f", "-"], &by[..]].concat(), &stored);
    let live = cli::analysis(&testbed, &[&["-n", &shop], &by[..]].concat());
    let all = cli::analysis(&testbed, &["--policies", "cluster"]);
    let report = &all.as_array().unwrap()[0];
    let explained = cli::json(&testbed, &["explain", "own", "-n", &shop], "");
    let preview = cli::json(&testbed, &["preview", path.to_str().unwrap()], "");
    let preview = &preview["policies"][0];
    let summary = &files["summary"];
    assert_eq!(summary["violationsByCheck"]["custom"], 6 + 8 + 3, "{summary:#}");
    for other in [&live["summary"], &report["summary"], &preview["summary"]] {
        assert_eq!(summary, other);
    }
    assert_eq!(explained["score"], summary["score"]);
    let checks = preview["comparisons"][0]["checks"].as_array().unwrap();
    let host = checks.iter().find(|check| check["check"] == "custom/host").unwrap();
    let side = json!({ "severity": "high", "findings": 6, "points": 120 });
    assert_eq!((&host["today"], &host["then"]), (&side, &side));
    let denied = preview["admission"]["denied"].as_array().unwrap();
    assert_eq!(denied.len(), 6, "{denied:#?}");
    let notes = live["coverage"]["notes"].to_string();
    let broken = "check custom/broken has no result for 9 objects, such as Pod/p-1: ";
    assert!(notes.contains(broken), "{notes}");
    // The labels of the namespace count, and are read where an expression needs them.
    let spec = "{custom: [{name: tier, expression: 'has(namespaceObject.metadata.labels.tier)'}]}";
    std::fs::write(&path, cli::policy(&shop, "own", spec)).unwrap();
    let found = || cli::analysis(&testbed, &by)["summary"]["totalViolations"].clone();
    assert_eq!(found(), 12);
    testbed.kubectl(&["label", "ns", &shop, "tier=web"]).unwrap().succeeded().unwrap();
    assert_eq!(found(), 0);
}
