//! Requests a second of `/mutate`, which injects, against `/validate` for the same pod.

use anyhow::{Result, ensure};
use e2e::say;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::super::bench_webhook::{ACCOUNT, Bench, Connection, Load, PLATFORM, in_turn, review};
use super::super::measure::{median, wait};
use super::repair::SPEC;

const NAMESPACE: &str = "injected";
const CONNECTIONS: usize = 32;
/// Repeats of the ratio, after one that warms up.
const PAIRS: usize = 30;
const ROUND: usize = 8_000;

pub(super) fn ratio() -> Result<f64> {
    let bench = Bench::new()?;
    bench.testbed.install_definitions()?;
    bench.testbed.install_base()?;
    bench.testbed.apply(&policy().to_string())?;
    let status = json!({ "status": { "remediation": { "workloads": [{
        "workload": "Deployment/payment", "state": "Injecting", "since": "2026-01-01T00:00:00Z",
        "fields": [
            "web: readinessProbe=tcp:8080,delay=5,period=10,failures=3 \
             livenessProbe=tcp:8080,delay=5,period=10,failures=9 requests.cpu=100m \
             requests.memory=128Mi",
        ],
    }] } } })
    .to_string();
    let patch = [
        "patch",
        "dop",
        "strict",
        "-n",
        NAMESPACE,
        "--subresource=status",
        "--type=merge",
        "-p",
        &status,
    ];
    bench.testbed.kubectl(&patch)?.succeeded()?;
    let kubeconfig = bench.testbed.account_kubeconfig(PLATFORM, ACCOUNT)?;
    let webhook = bench.webhook("webhook", &kubeconfig)?;
    let review = review::of_pod(NAMESPACE, &pod());
    let tls = bench.certificates.client()?;
    let runtime = Runtime::new()?;
    let ask = |path: &str| -> Result<Vec<u8>> {
        runtime.block_on(async {
            let mut connection = Connection::open(&tls, webhook.addr()).await?;
            Ok(connection.ask(&review::request_to(path, &review)).await?.to_vec())
        })
    };
    let mut injecting = Vec::new();
    wait(|| {
        injecting = ask("/mutate")?;
        let answer: Value = serde_json::from_slice(&injecting)?;
        Ok(answer["response"]["patch"].is_string())
    })?;
    let judged = ask("/validate")?;
    ensure!(String::from_utf8_lossy(&judged).contains("\"allowed\":true"));
    let load = |path: &str, answer| {
        let requests = vec![review::request_to(path, &review)];
        Load::of(tls.clone(), requests, answer)
    };
    let sides = [load("/mutate", injecting), load("/validate", judged)];
    let mut ratios = Vec::new();
    for pair in 0..=PAIRS {
        let round = |side: usize| Ok(sides[side].round(&webhook, CONNECTIONS, ROUND)?.rate);
        let [mutate, validate] = in_turn(pair, round)?;
        if pair > 0 {
            ratios.push(mutate / validate);
        } else {
            say(&format!("/mutate {mutate:.0}, /validate {validate:.0} requests a second"));
        }
    }
    Ok(median(ratios))
}

fn policy() -> Value {
    let spec: Value = serde_json::from_str(SPEC).unwrap_or_default();
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    let policy = json!({ "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
        "metadata": { "name": "strict", "namespace": NAMESPACE }, "spec": spec });
    json!({ "apiVersion": "v1", "kind": "List", "items": [namespace, policy] })
}

/// A pod of a Deployment that lacks everything, as its controller creates it.
fn pod() -> Value {
    let mut pod = review::pod();
    pod["metadata"]["name"] = Value::Null;
    pod["metadata"]["generateName"] = "payment-7d4b9c6f58-".into();
    pod["metadata"]["labels"]["pod-template-hash"] = "7d4b9c6f58".into();
    pod["metadata"]["ownerReferences"] = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "name": "payment-7d4b9c6f58", "uid": "0e6f7a8b-1c2d-4e5f-9a0b-1c2d3e4f5a6b",
        "controller": true, "blockOwnerDeletion": true }]);
    let container = &mut pod["spec"]["containers"][0];
    container["name"] = "web".into();
    container["resources"] = json!({});
    if let Some(container) = container.as_object_mut() {
        container.remove("livenessProbe");
        container.remove("readinessProbe");
    }
    pod
}
