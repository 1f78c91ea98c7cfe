//! Custom checks of pods that run: one verdict in files and of the cluster.

use std::time::Instant;

use e2e::{Parts, Testbed};
use serde_json::{Value, json};

use super::{SURELY, apply_policy, condition, installed, list, start, wait_for_status};
use crate::{cli, watcher};

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

/// The same in each place: numbers of findings, score and pods.
fn numbers(of: &Value, score: &str, pods: &str) -> Value {
    json!([of["violationsByCheck"], of[score], of[pods]])
}

#[test]
fn the_status_of_a_policy_has_the_findings_of_files() {
    let (testbed, kubeconfig) = installed(&Parts::new("custom-operator"));
    let operator = start(&testbed, "operator", &kubeconfig);
    let shop = testbed.namespace("shop").unwrap();
    let own = (shop.as_str(), "own");
    // The pods are there before the policy: their results come from a list.
    apply_pods(&testbed, &shop);
    let policy = cli::policy(&shop, "own", SPEC);
    testbed.apply(&policy).unwrap();
    let path = testbed.folder().join("own.yaml");
    std::fs::write(&path, policy).unwrap();
    let get = ["get", "pods", "-n", &shop, "-o", "json"];
    let stored = testbed.kubectl(&get).unwrap().succeeded().unwrap();
    let by = ["--policy", path.to_str().unwrap()];
    let files = cli::json(&testbed, &[&["analyze", "-f", "-"], &by[..]].concat(), &stored);
    let expected = numbers(&files["summary"], "score", "pods");
    let is_judged = |status: &Value| numbers(status, "healthScore", "podsEvaluated") == expected;
    let judged = wait_for_status(&testbed, &operator, own, is_judged);
    let violations = judged["status"]["violations"].to_string();
    assert!(
        violations.contains("pod/p-0: host: p-0 is in the network of its node"),
        "{violations}"
    );
    assert_eq!(condition(&judged, "Custom"), ("False", "NoResult"));
    let metrics = operator.metrics().unwrap();
    let labels = [("namespace", shop.as_str()), ("policy", "own")];
    let total = files["summary"]["totalViolations"].as_f64();
    assert_eq!(metrics.value("devopspolicy_violations_total", &labels), total);
    // A pod that changes is judged by its event.
    let label = ["label", "pod", "p-1", "-n", &shop, "team=a"];
    testbed.kubectl(&label).unwrap().succeeded().unwrap();
    let fewer = json!(files["summary"]["violationsByCheck"]["custom"].as_u64().unwrap() - 1);
    wait_for_status(&testbed, &operator, own, |status| {
        status["violationsByCheck"]["custom"] == fewer
    });
    // What the audit result says.
    let results = || list(&testbed, &shop, "par");
    testbed
        .wait_for("an audit result", 2 * SURELY, || {
            Ok(results().iter().any(|of| of["spec"].to_string().contains("\"custom/host\"")))
        })
        .unwrap();

    // Another expression, and another label of the namespace, reach the status soon.
    let tier = |expression: &str| {
        format!("{{custom: [{{name: tier, expression: '{expression}', weight: 50}}]}}")
    };
    let mut times = Vec::new();
    let mut reaches = |what: &str, change: &dyn Fn(), custom: u64| {
        let start = Instant::now();
        change();
        let is_there = |status: &Value| status["totalViolations"] == custom;
        let judged = wait_for_status(&testbed, &operator, own, is_there);
        assert_eq!(condition(&judged, "Custom"), ("True", "Judged"));
        times.push(format!("{what}: {:.2} s", start.elapsed().as_secs_f64()));
    };
    let apply = |expression: &str| apply_policy(&testbed, &shop, "own", &tier(expression));
    let relabel = |label: &str| {
        testbed.kubectl(&["label", "ns", &shop, label]).unwrap().succeeded().unwrap();
    };
    reaches("an expression", &|| apply("has(namespaceObject.metadata.labels.tier)"), 12);
    reaches("a label of the namespace", &|| relabel("tier=web"), 0);
    reaches("the label again", &|| relabel("tier-"), 12);
    reaches("another expression", &|| apply("has(object.spec.hostNetwork)"), 6);
    e2e::say(&times.join(", "));

    // A cluster policy judges by its own.
    let fleet = "{apiVersion: devops.stochastic.io/v1, kind: ClusterDevOpsPolicy, \
        metadata: {name: fleet}, spec: {custom: [{name: team, \
        expression: 'has(object.metadata.labels.team)'}]}}";
    testbed.apply(fleet).unwrap();
    let mut last = Value::Null;
    let judged = testbed.wait_for("the cluster policy", SURELY, || {
        let text = testbed.kubectl(&["get", "cdop", "fleet", "-o", "json"])?.succeeded()?;
        last = serde_json::from_str(&text)?;
        Ok(last["status"]["violationsByCheck"]["custom"] == 7)
    });
    assert!(judged.is_ok(), "{last:#}\n{}", operator.logs().unwrap());
    assert_eq!(condition(&last, "Custom"), ("True", "Judged"));
    let first = &last["status"]["violations"][0];
    assert_eq!(first, &json!(format!("{shop}/pod/p-10: custom check team failed")));
}

#[test]
fn the_watcher_scores_by_custom_checks_as_policyctl_does() {
    let (testbed, _) = installed(&Parts::new("custom-watcher"));
    let shop = testbed.namespace("shop").unwrap();
    apply_pods(&testbed, &shop);
    let kubeconfig = testbed.account_kubeconfig("kube-devops", "policy-watcher").unwrap();
    let watcher = watcher::start_with(&testbed, &kubeconfig, SPEC);
    let path = testbed.folder().join("policy.yaml");
    let by = ["--policy", path.to_str().unwrap()];
    let agrees = |found: u64| {
        let mut last = (Value::Null, Value::Null);
        let waited = testbed.wait_for("the same numbers", SURELY, || {
            let report = cli::analysis(&testbed, &by);
            last = (
                watcher::json_of(&watcher, "/scores")["cluster"].take(),
                report["summary"].clone(),
            );
            Ok(last.0 == last.1 && last.0["violationsByCheck"]["custom"] == found)
        });
        assert!(waited.is_ok(), "{last:#?}\n{}", watcher.logs().unwrap());
    };
    agrees(17);
    let label = ["label", "pod", "p-1", "-n", &shop, "team=a"];
    testbed.kubectl(&label).unwrap().succeeded().unwrap();
    agrees(16);
    // The file has another expression: all pods are evaluated by it.
    let spec = "{custom: [{name: host, expression: '!has(object.spec.hostNetwork)'}]}";
    std::fs::write(&path, cli::policy("default", "scores", spec)).unwrap();
    agrees(6);
}
