//! Drains that a `PodDisruptionBudget` blocks, on real controllers.

use e2e::{Parts, Testbed};
use serde_json::{Value, json};

use super::{apply_policy, condition, deploy_web, installed, list, start, wait_for_status};
use crate::cli;

const SPEC: &str = "{forbidBlockedDrain: true, severityOverrides: {drainBlocked: high}}";
const FINDING: &str = "Deployment/web: PodDisruptionBudget careful allows no eviction: a drain of its \
                       node never ends (2 pods)";

/// A Deployment of two pods, and a budget that they must all be available.
fn deploy(testbed: &Testbed, namespace: &str) {
    deploy_web(testbed, namespace);
    let other = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "other", "namespace": namespace },
        "spec": { "containers": [{ "name": "c", "image": "nginx:1.27" }] },
    });
    testbed.apply(&other.to_string()).unwrap();
}

fn apply_budget(testbed: &Testbed, namespace: &str, min_available: u32) {
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": { "name": "careful", "namespace": namespace },
        "spec": { "minAvailable": min_available, "selector": { "matchLabels": { "app": "web" } } },
    });
    testbed.apply(&budget.to_string()).unwrap();
}

/// What the API server answers to the eviction of a pod of the Deployment.
fn evict(testbed: &Testbed, namespace: &str) -> e2e::Run {
    let pods = list(testbed, namespace, "pods");
    let pod = pods.iter().find(|pod| pod["metadata"]["labels"]["app"] == "web").unwrap();
    let name = pod["metadata"]["name"].as_str().unwrap();
    let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": { "name": name, "namespace": namespace } });
    let file = testbed.folder().join("eviction.json");
    std::fs::write(&file, eviction.to_string()).unwrap();
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction");
    testbed.kubectl(&["create", "--raw", &path, "-f", file.to_str().unwrap()]).unwrap()
}

#[test]
fn a_budget_that_never_allows_an_eviction_is_found_until_it_does() {
    let (testbed, kubeconfig) = installed(&Parts::new("drains").with_controllers().with_nodes(1));
    let operator = start(&testbed, "operator", &kubeconfig);
    let shop = testbed.namespace("shop").unwrap();
    let drains = (shop.as_str(), "drains");
    apply_policy(&testbed, &shop, "drains", SPEC);
    deploy(&testbed, &shop);
    wait_for_status(&testbed, &operator, drains, |status| {
        status["podsEvaluated"] == 3 && status["totalViolations"] == 0
    });
    apply_budget(&testbed, &shop, 2);
    let blocked = wait_for_status(&testbed, &operator, drains, |status| {
        status["violations"] == json!([FINDING])
    });
    assert_eq!(blocked["status"]["healthScore"], 100, "it has no weight");
    assert_eq!(blocked["status"]["violationsBySeverity"]["high"], 2);
    assert_eq!(condition(&blocked, "Admission"), ("False", "NothingDenied"));
    let refused = evict(&testbed, &shop);
    assert!(refused.code != Some(0) && refused.stderr.contains("disruption budget"), "{refused:?}");

    // policyctl finds the same.
    let policy = testbed.folder().join("drains.yaml");
    std::fs::write(&policy, cli::policy(&shop, "drains", SPEC)).unwrap();
    let policy = policy.to_str().unwrap();
    let analysis = cli::analysis(&testbed, &["-n", &shop, "--policy", policy]);
    let found = &analysis["findings"][0];
    let expected = json!({ "kind": "Deployment", "name": "web" });
    assert_eq!((&found["check"], &found["workload"]), (&json!("drain-blocked"), &expected));
    assert_eq!(analysis["summary"]["violationsByCheck"]["drain-blocked"], 2, "{analysis:#}");
    let explain = ["explain", "drains", "-n", &shop, "-o", "json"];
    let explained: Value = serde_json::from_str(&cli::expect(&testbed, 0, &explain, "")).unwrap();
    assert_eq!(explained["status"]["differences"], json!([]), "{explained:#}");

    apply_budget(&testbed, &shop, 1);
    wait_for_status(&testbed, &operator, drains, |status| status["totalViolations"] == 0);
    evict(&testbed, &shop).succeeded().unwrap();
}
