//! A thousand workloads that violate a policy: what a missing right costs, and that everything is
//! repaired once it is there.

use std::path::Path;
use std::time::Duration;

use e2e::{Parts, Service, Testbed};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::operator::{self, condition, policy};
use crate::watcher::storm::client;
use crate::{cli, operator::program};

const NAMESPACE: &str = "crowd";
const WORKLOADS: usize = 1_000;
/// Requests at a time.
const AT_A_TIME: usize = 16;
/// How long the right is missing.
const REVOKED: Duration = Duration::from_secs(45);
/// The most attempts in that time.
const MOST_WRITES: usize = 12;
/// All are repaired within that time: the budgets of this test allow 350 at a time.
const REPAIRED: Duration = Duration::from_secs(300);
const SURELY: Duration = Duration::from_secs(90);
const OPERATOR: &str = "system:serviceaccount:kube-devops:policy-operator";
/// Requests alone, so that a rollout is proven after seconds.
const SPEC: &str = "{enforcementMode: enforce, requireResources: true, \
                    defaultResources: {cpuRequest: 1m, memoryRequest: 1Mi}}";

fn name(number: usize) -> String {
    format!("web-{number}")
}

fn deployment(number: usize) -> Value {
    let labels = json!({ "app": name(number) });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": name(number), "namespace": NAMESPACE },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "containers": [{ "name": "c", "image": "nginx:1.27" }],
                    "terminationGracePeriodSeconds": 1,
                },
            },
        },
    })
}

/// A pod of that Deployment, as a `ReplicaSet` creates it.
fn pod(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("web-{number}-5d4f8c7b9-x2k9p"), "namespace": NAMESPACE,
            "labels": { "pod-template-hash": "5d4f8c7b9" },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
                "name": format!("web-{number}-5d4f8c7b9"), "uid": format!("uid-{number}"),
            }],
        },
        "spec": { "containers": [{ "name": "c", "image": "nginx:1.27" }] },
    })
}

/// The status of a Deployment whose rollout is complete.
async fn complete(deployments: &Api<Deployment>, name: &str, generation: i64) {
    let status = json!({ "status": {
        "observedGeneration": generation, "replicas": 1, "updatedReplicas": 1,
        "readyReplicas": 1, "availableReplicas": 1,
    } });
    let parameters = PatchParams::default();
    deployments.patch_status(name, &parameters, &Patch::Merge(status)).await.unwrap();
}

async fn create(client: &Client) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let parameters = PostParams::default();
    let each = stream::iter(0..WORKLOADS).map(|number| {
        let (deployments, pods, parameters) = (&deployments, &pods, &parameters);
        async move {
            let object = serde_json::from_value(deployment(number)).unwrap();
            deployments.create(parameters, &object).await.unwrap();
            complete(deployments, &name(number), 1).await;
            let object = serde_json::from_value(pod(number)).unwrap();
            pods.create(parameters, &object).await.unwrap();
        }
    });
    each.buffer_unordered(AT_A_TIME).collect::<Vec<_>>().await;
}

/// Completes the rollouts that the operator has caused, as controllers do. Returns how many
/// Deployments are patched.
async fn roll_out(client: &Client) -> usize {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let all = deployments.list(&kube::api::ListParams::default()).await.unwrap();
    let patched: Vec<(String, i64, bool)> = all
        .into_iter()
        .filter_map(|deployment| {
            let observed = deployment.status.and_then(|status| status.observed_generation);
            let metadata = deployment.metadata;
            let generation = metadata.generation.unwrap_or_default();
            let is_patched = metadata
                .annotations
                .unwrap_or_default()
                .contains_key("devops.stochastic.io/patched-by");
            is_patched.then(|| {
                (metadata.name.unwrap_or_default(), generation, observed == Some(generation))
            })
        })
        .collect();
    let late = patched.iter().filter(|(.., is_complete)| !is_complete);
    let each =
        stream::iter(late).map(|(name, generation, _)| complete(&deployments, name, *generation));
    each.buffer_unordered(AT_A_TIME).collect::<Vec<_>>().await;
    patched.len()
}

/// The attempts to write a workload, without and with success.
fn attempts(testbed: &Testbed) -> [usize; 2] {
    let calls = testbed.audit(OPERATOR).unwrap();
    let writes = calls.iter().filter(|call| call.resource == "deployments" && call.verb == "patch");
    let (failed, done): (Vec<_>, Vec<_>) = writes.partition(|call| call.code >= 400);
    [failed.len(), done.len()]
}

fn start<'a>(testbed: &'a Testbed, kubeconfig: &Path) -> Service<'a> {
    let operator = testbed
        .service("operator", program())
        .kubeconfig(kubeconfig)
        .variable("GOV_REMEDIATION__MAX_CONCURRENT_PER_POLICY", "350")
        .variable("GOV_REMEDIATION__MAX_CONCURRENT", "350")
        .variable("GOV_REMEDIATION__MAX_STARTED", "100000")
        .start()
        .unwrap();
    operator.wait_ready(SURELY).unwrap();
    operator
}

/// Changes the first rule of the remediation role, that of workloads.
fn allow(testbed: &Testbed, verbs: &str) {
    let patch = format!(r#"[{{"op": "replace", "path": "/rules/0/verbs", "value": {verbs}}}]"#);
    let role = "kube-devops-policy-operator-remediation";
    let arguments = ["patch", "clusterrole", role, "--type=json", "-p", &patch];
    testbed.kubectl(&arguments).unwrap().succeeded().unwrap();
}

#[test]
fn a_missing_right_costs_little_and_then_all_are_repaired_within_the_budgets() {
    let (testbed, kubeconfig) = operator::installed(&Parts::new("crowd"));
    testbed.install_operator_remediation().unwrap();
    testbed.install_empty_mutating_configuration().unwrap();
    testbed.kubectl(&["create", "namespace", NAMESPACE]).unwrap().succeeded().unwrap();
    let runtime = Runtime::new().unwrap();
    let client = runtime.block_on(client(&testbed));
    runtime.block_on(create(&client));
    allow(&testbed, r#"["get"]"#);
    let operator = start(&testbed, &kubeconfig);
    testbed.apply(&cli::policy(NAMESPACE, "p", SPEC)).unwrap();
    let remediating = || {
        let policy = policy(&testbed, NAMESPACE, "p");
        let (status, reason) = condition(&policy, "Remediating");
        format!("{status} {reason}")
    };
    let refused = || Ok(remediating() == "False NotPermitted");
    let waited = testbed.wait_for("the right to be missed", SURELY, refused);
    assert!(waited.is_ok(), "{waited:?} {}\n{}", remediating(), operator.logs().unwrap());
    let (memory, _) = operator.memory_mib().unwrap();
    std::thread::sleep(REVOKED);
    let [failed, done] = attempts(&testbed);
    assert!((1..=MOST_WRITES).contains(&failed) && done == 0, "{failed} attempts, {done} done");
    let (now, _) = operator.memory_mib().unwrap();
    assert!(now < memory + 8.0, "{memory} MiB, then {now} MiB: something grows");
    assert_eq!(policy(&testbed, NAMESPACE, "p")["status"]["podsEvaluated"], WORKLOADS);

    allow(&testbed, r#"["get", "patch"]"#);
    let mut patched = 0;
    let all = || {
        patched = runtime.block_on(roll_out(&client));
        Ok(patched == WORKLOADS)
    };
    let waited = testbed.wait_for("all to be repaired", REPAIRED, all);
    let logs = operator.logs().unwrap();
    assert!(waited.is_ok(), "{patched} patched, {}: {waited:?}\n{logs}", remediating());
    // The audit log is written after the response.
    let mut done = 0;
    let logged = testbed.wait_for("all patches in the audit log", SURELY, || {
        [_, done] = attempts(&testbed);
        Ok(done >= 2 * WORKLOADS)
    });
    assert!(logged.is_ok(), "{done} patches");
    assert_eq!(done, 2 * WORKLOADS, "a dry run and a patch for each, once");
}
