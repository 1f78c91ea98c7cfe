//! The reconciler by itself, without an API server.

use std::time::Instant;

use anyhow::Result;
use policy_operator::testing::ReconcileBench;
use serde_json::{Value, json};

use super::super::measure::median;

/// Policies, each of one namespace: with that many the pods exceed the processor's cache.
const NAMESPACES: usize = 100;
const PODS: usize = 100;
/// One pod in so many lacks a probe and restarts too often.
const FAILING: usize = 5;
const ROUNDS: usize = 50;
const REPEATS: usize = 9;
/// Reconciles per second on one core, where each policy is judged and nothing is to be written.
pub(super) fn per_second() -> Result<f64> {
    let spec = json!({
        "forbidLatestTag": true, "requireLivenessProbe": true, "requireReadinessProbe": true,
        "requireResources": true, "maxRestartCount": 3, "forbidPendingDuration": 300,
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let bench = ReconcileBench::new(NAMESPACES, &spec, pods)?;
        let mut rates = Vec::new();
        for _ in 0..REPEATS {
            let (start, mut done) = (Instant::now(), 0);
            for _ in 0..ROUNDS {
                done += bench.reconcile_all().await?;
            }
            rates.push(done as f64 / start.elapsed().as_secs_f64());
        }
        Ok(median(rates))
    })
}

fn pods(namespace: &str) -> Vec<Value> {
    (0..PODS).map(|number| pod(namespace, number)).collect()
}

fn pod(namespace: &str, number: usize) -> Value {
    let is_failing = number.is_multiple_of(FAILING);
    let probe = json!({ "httpGet": { "path": "/readyz", "port": 8080 } });
    let container = |name: &str| {
        json!({
            "name": name, "image": format!("registry.example.com/shop/{name}:v1.24.3"),
            "resources": { "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } },
            "livenessProbe": if is_failing { Value::Null } else { probe.clone() }, "readinessProbe": probe,
        })
    };
    let status = |name: &str| {
        json!({ "name": name, "image": "i", "imageID": "i", "ready": true,
            "restartCount": if is_failing { 4 } else { 0 } })
    };
    let replica_set = format!("payment-service-{}-7d4b9c6f58", number % 10);
    json!({
        "metadata": { "name": format!("{replica_set}-{number:05}"), "namespace": namespace,
            "labels": { "pod-template-hash": "7d4b9c6f58" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": replica_set,
                "uid": "u", "controller": true }] },
        "spec": { "containers": [container("payment-service"), container("envoy-proxy")] },
        "status": { "phase": "Running",
            "containerStatuses": [status("payment-service"), status("envoy-proxy")] },
    })
}
