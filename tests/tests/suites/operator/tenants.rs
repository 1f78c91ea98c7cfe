//! A tenant that does whatever it may in its own namespace makes no other namespace wait, and does
//! not exhaust the operator.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use e2e::{Parts, Testbed};
use futures::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use policy_core::api::DevOpsPolicy;
use serde_json::{Value, json};

use super::{SURELY, installed, is_leader, start};
use crate::watcher::storm::client;

/// The policies of the tenant.
const POLICIES: usize = 1_000;
/// The policies with [`FINALIZERS`] each.
const HELD: usize = 61;
const FINALIZERS: usize = 2_000;
/// The namespaces of the victims, and the changes of the pods of each.
const VICTIMS: usize = 16;
const CHANGES: usize = 13;
/// The time between two changes of all victims. A status is written once a second at most: each
/// namespace changes less often, so that no change waits for the one before.
const EVERY: Duration = Duration::from_millis(100);
/// The time between two changes of the tenant's pod.
const FLIP: Duration = Duration::from_millis(50);
/// A status is late by this at most.
const PROMISE: Duration = Duration::from_secs(1);
/// The memory limit of the installation.
const MEMORY: f64 = 128.0;
/// The write budget of a namespace: so many at once, and so many a second.
const BURST: usize = 128;
const PER_SECOND: usize = 10;

fn policy(name: &str, finalizers: usize) -> DevOpsPolicy {
    let finalizers: Vec<String> = (0..finalizers)
        .map(|number| format!("example.com/{}-{number:04}", "x".repeat(56)))
        .collect();
    serde_json::from_value(json!({
        "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
        "metadata": { "name": name, "labels": { "of": "victim" }, "finalizers": finalizers },
        "spec": { "forbidLatestTag": true, "requireReadinessProbe": true },
    }))
    .unwrap()
}

fn pod(name: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": { "containers": [{ "name": "c", "image": "nginx:1.27",
            "readinessProbe": { "tcpSocket": { "port": 80 } } }] },
    }))
    .unwrap()
}

async fn set_image(client: &Client, namespace: &str, pod: &str, image: &str) {
    let containers = json!({ "spec": { "containers": [{ "name": "c", "image": image }] } });
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    api.patch(pod, &PatchParams::default(), &Patch::Strategic(containers)).await.unwrap();
}

/// Creates the tenant's policies and its pod, and the policies with thousands of finalizers.
async fn move_in(client: &Client, tenant: &str, hoard: &str) {
    let many = (0..POLICIES).map(|number| {
        let mut policy = policy(&format!("p-{number:04}"), 0);
        policy.metadata.labels = None;
        (tenant, policy)
    });
    let held = (0..HELD).map(|number| {
        let mut policy = policy(&format!("held-{number}"), FINALIZERS);
        policy.metadata.labels = None;
        (hoard, policy)
    });
    stream::iter(many.chain(held))
        .map(Ok::<_, kube::Error>)
        .try_for_each_concurrent(16, |(namespace, policy)| async move {
            let api: Api<DevOpsPolicy> = Api::namespaced(client.clone(), namespace);
            api.create(&PostParams::default(), &policy).await.map(drop)
        })
        .await
        .unwrap();
    let api: Api<Pod> = Api::namespaced(client.clone(), tenant);
    api.create(&PostParams::default(), &pod("flips")).await.unwrap();
}

/// The statuses of the victims' policies as a watch shows them: namespace, pods, violations, when.
type Seen = Arc<Mutex<Vec<(String, u64, u64, Instant)>>>;

async fn watch_victims(client: &Client) -> Seen {
    let watch = "/apis/devops.stochastic.io/v1/devopspolicies?watch=true&labelSelector=of%3Dvictim";
    let request = http::Request::get(watch).body(Vec::new()).unwrap();
    let mut stream = client.request_stream(request).await.unwrap();
    let seen = Seen::default();
    let shown = Arc::clone(&seen);
    tokio::spawn(async move {
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
            let at = Instant::now();
            let event: Value = serde_json::from_slice(&line).unwrap();
            let (namespace, status) =
                (&event["object"]["metadata"]["namespace"], &event["object"]["status"]);
            let count = |field: &str| status[field].as_u64();
            if let (Some(namespace), Some(pods), Some(violations)) =
                (namespace.as_str(), count("podsEvaluated"), count("totalViolations"))
            {
                shown.lock().unwrap().push((namespace.to_owned(), pods, violations, at));
            }
            line.clear();
        }
    });
    seen
}

/// Changes one pod after the other in all victims by turns, and returns how late each status was.
async fn lateness(client: &Client, victims: &[String], seen: &Seen) -> Vec<Duration> {
    // Nor for the first status of the namespace.
    let start = tokio::time::Instant::now() + PROMISE;
    let changes = (0..CHANGES * victims.len()).map(|number| {
        let (client, victim) = (client.clone(), victims[number % victims.len()].clone());
        tokio::spawn(async move {
            tokio::time::sleep_until(start + EVERY * u32::try_from(number).unwrap()).await;
            let violations = number / VICTIMS + 1;
            set_image(&client, &victim, &format!("web-{violations}"), "nginx").await;
            (victim, violations as u64, Instant::now())
        })
    });
    let changes: Vec<_> = changes.collect();
    let changes: Vec<_> =
        stream::iter(changes).then(|change| async { change.await.unwrap() }).collect().await;
    let is_current = |victim: &String| {
        let seen = seen.lock().unwrap();
        let last = seen.iter().rfind(|(namespace, ..)| namespace == victim);
        last.is_some_and(|(_, _, violations, _)| *violations == CHANGES as u64)
    };
    let end = Instant::now() + SURELY;
    while !victims.iter().all(is_current) && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let seen = seen.lock().unwrap();
    let late = changes.into_iter().map(|(victim, violations, made)| {
        let mut of_victim = seen.iter().filter(|(namespace, ..)| *namespace == victim);
        let shown = of_victim.find(|(_, _, found, _)| *found >= violations);
        shown.map_or(SURELY, |(.., at)| at.saturating_duration_since(made))
    });
    late.collect()
}

/// What the operator wrote for a namespace.
fn writes(testbed: &Testbed, namespace: &str) -> usize {
    let calls = testbed.audit("system:serviceaccount:kube-devops:policy-operator").unwrap();
    let is_write = |verb: &str| ["create", "patch", "delete"].contains(&verb);
    calls.iter().filter(|call| call.namespace == namespace && is_write(&call.verb)).count()
}

#[test]
fn a_tenant_with_a_thousand_policies_makes_no_other_namespace_wait() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (testbed, kubeconfig) = installed(&Parts::new("tenants"));
    let [tenant, hoard] = ["tenant", "hoard"].map(|name| testbed.namespace(name).unwrap());
    let victims: Vec<String> = (0..VICTIMS).map(|_| testbed.namespace("victim").unwrap()).collect();
    let client = runtime.block_on(client(&testbed));
    runtime.block_on(async {
        move_in(&client, &tenant, &hoard).await;
        for victim in &victims {
            let api: Api<Pod> = Api::namespaced(client.clone(), victim);
            for number in 1..=CHANGES {
                let pod = pod(&format!("web-{number}"));
                api.create(&PostParams::default(), &pod).await.unwrap();
            }
            let api: Api<DevOpsPolicy> = Api::namespaced(client.clone(), victim);
            api.create(&PostParams::default(), &policy("strict", 0)).await.unwrap();
        }
    });
    let seen = runtime.block_on(watch_victims(&client));
    let began = Instant::now();
    let operator = start(&testbed, "operator", &kubeconfig);
    testbed.wait_for("the leader", SURELY, || Ok(is_leader(&operator))).unwrap();
    let is_judged = |victim: &String| {
        let seen = seen.lock().unwrap();
        seen.iter().any(|(namespace, pods, ..)| namespace == victim && *pods == CHANGES as u64)
    };
    testbed
        .wait_for("the victims' statuses", SURELY, || Ok(victims.iter().all(is_judged)))
        .unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let flips = {
        let (client, tenant, stop) = (client.clone(), tenant.clone(), Arc::clone(&stop));
        runtime.spawn(async move {
            let mut flips = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                flips += 1;
                let image = if flips.is_multiple_of(2) { "nginx:1.27" } else { "nginx" };
                set_image(&client, &tenant, "flips", image).await;
                tokio::time::sleep(FLIP).await;
            }
            flips
        })
    };
    let mut late = runtime.block_on(lateness(&client, &victims, &seen));
    stop.store(true, Ordering::Relaxed);
    let flips = runtime.block_on(flips).unwrap();
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    late.sort();
    let (median, worst) = (late[late.len() / 2], late[late.len() - 1]);
    let (written, (_, peak)) = (writes(&testbed, &tenant), operator.memory_mib().unwrap());
    let metrics = operator.metrics().unwrap();
    let deferred = metrics.value("devopspolicy_reconciles_deferred_total", &[]).unwrap();
    let told = format!(
        "{} changes: {median:?} late in the median, {worst:?} at most; {flips} flips of the tenant; \
         {written} writes for it in {seconds} s, {deferred} reconciles deferred; {peak:.0} MiB at most",
        late.len()
    );
    e2e::say(&told);
    assert!(worst <= PROMISE, "{told}\n{}", operator.logs().unwrap());
    // Some writes were under way when the budget was used up.
    assert!(written <= BURST + PER_SECOND * seconds + 8, "{told}");
    assert!(written > BURST && deferred > 0.0, "the tenant wrote less than it could: {told}");
    assert!(peak <= MEMORY, "{told}");
    // Where the tenant waits is visible.
    let state: Value = serde_json::from_str(&operator.get("/debug/state").unwrap().1).unwrap();
    assert!(state["deferred"][&tenant].as_u64() > Some(0), "{state:#}");
    assert_eq!(state["policiesNotJudged"], POLICIES - 64);
}
