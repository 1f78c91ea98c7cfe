//! Thousands of changes at once, with cuts in the middle; then the numbers have to be right.

use std::time::{Duration, Instant};

use e2e::{Parts, Signal, Testbed};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{SURELY, assert_agrees, installed, json_of, start, wait_until_leads};

const NAMESPACES: usize = 6;
/// Names to a namespace, so that most changes meet a pod.
const NAMES: usize = 60;
const PARALLEL: usize = 24;

/// A change of one pod.
#[derive(Debug)]
enum Change {
    Create(Box<Pod>),
    Delete,
    /// A merge patch of the status.
    Status(Value),
    /// A merge patch of labels, on which no check depends.
    Label(Value),
}

fn change(random: &mut fastrand::Rng, name: &str) -> Change {
    match random.u32(..10) {
        0..5 => Change::Create(Box::new(serde_json::from_value(pod(random, name)).unwrap())),
        5 => Change::Delete,
        6 => Change::Label(json!({ "metadata": { "labels": { "n": random.u8(..).to_string() } } })),
        _ => Change::Status(status(random)),
    }
}

fn pod(random: &mut fastrand::Rng, name: &str) -> Value {
    let containers: Vec<Value> = (0..=random.usize(..3))
        .map(|place| {
            let image = random.choice(["nginx", "nginx:1.27", "r.example.com/a:latest"]);
            let mut container = json!({ "name": format!("c{place}"), "image": image });
            for probe in ["livenessProbe", "readinessProbe"] {
                if random.bool() {
                    container[probe] = json!({ "tcpSocket": { "port": 80 } });
                }
            }
            if random.bool() {
                let size = json!({ "cpu": "1m", "memory": "1Mi" });
                container["resources"] = json!({ "requests": size, "limits": size });
            }
            container
        })
        .collect();
    let policy = if random.u8(..8) == 0 { "Never" } else { "Always" };
    let spec = json!({ "containers": containers, "restartPolicy": policy });
    json!({ "metadata": { "name": name }, "spec": spec })
}

/// Findings come and go with time: some in the seconds of the storm, by the limits of the default
/// profile and by those of a few seconds.
fn status(random: &mut fastrand::Rng) -> Value {
    let phase = random.choice(["Pending", "Running", "Running", "Succeeded", "Failed"]);
    let statuses: Vec<Value> = (0..3)
        .map(|place| {
            let mut status = json!({ "name": format!("c{place}"), "image": "i", "imageID": "i",
                "ready": random.bool(), "restartCount": random.u32(..9) });
            if random.u8(..3) > 0 {
                let at = around(random, 86_400);
                let end = json!({ "exitCode": random.choice([0, 1, 137]), "finishedAt": at });
                status["lastState"] = json!({ "terminated": end });
            }
            status
        })
        .collect();
    let ready = json!({ "type": "Ready", "status": random.choice(["True", "False", "False"]),
                        "lastTransitionTime": around(random, 300) });
    json!({ "status": { "phase": phase, "containerStatuses": statuses, "conditions": [ready] } })
}

/// A time so many seconds ago, or just now, give or take some seconds.
fn around(random: &mut fastrand::Rng, seconds_ago: i64) -> String {
    let ago = random.choice([seconds_ago, 0]).unwrap() + random.i64(-10..10);
    let at = Timestamp::now().as_second() - ago;
    Timestamp::from_second(at).unwrap().to_string()
}

pub(crate) async fn client(testbed: &Testbed) -> Client {
    e2e::client(testbed.kubeconfig()).await.unwrap()
}

async fn try_change(pods: &Api<Pod>, name: &str, change: &Change) -> kube::Result<()> {
    let patch = PatchParams::default();
    match change {
        Change::Create(pod) => pods.create(&PostParams::default(), pod).await.map(drop),
        Change::Delete => {
            let now = DeleteParams::default().grace_period(0);
            pods.delete(name, &now).await.map(drop)
        }
        Change::Status(status) => {
            pods.patch_status(name, &patch, &Patch::Strategic(status)).await.map(drop)
        }
        Change::Label(label) => pods.patch(name, &patch, &Patch::Merge(label)).await.map(drop),
    }
}

/// Applies so many random changes, and says how many the server took.
pub(crate) async fn storm(
    client: Client,
    namespaces: &[String],
    changes: usize,
    seed: u64,
) -> usize {
    let mut random = fastrand::Rng::with_seed(seed);
    let changes = (0..changes).map(|_| {
        let namespace = random.choice(namespaces).unwrap().clone();
        let name = format!("p{}", random.usize(..NAMES));
        let change = change(&mut random, &name);
        (namespace, name, change)
    });
    let changes: Vec<_> = changes.collect();
    let taken = stream::iter(changes).map(|(namespace, name, change)| {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        async move {
            let start = Instant::now();
            loop {
                match try_change(&pods, &name, &change).await {
                    Err(error)
                        if !matches!(error, kube::Error::Api(_)) && start.elapsed() < SURELY =>
                    {
                        // The server is away. It comes back, and the storm goes on.
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    done => return usize::from(done.is_ok()),
                }
            }
        }
    });
    taken.buffer_unordered(PARALLEL).fold(0, |sum, taken| async move { sum + taken }).await
}

#[test]
fn the_numbers_are_those_of_a_recount_after_any_storm() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (testbed, kubeconfig) = installed(&Parts::new("storm"));
    let namespaces: Vec<String> =
        (0..NAMESPACES).map(|_| testbed.namespace("storm").unwrap()).collect();
    let client = runtime.block_on(client(&testbed));
    let watcher = start(&testbed, "watcher", &kubeconfig);
    wait_until_leads(&testbed, &watcher, SURELY);
    let blow = |changes: usize, seed: u64| {
        let taken = runtime.block_on(storm(client.clone(), &namespaces, changes, seed));
        assert!(taken > changes / 5, "{taken} of {changes} changes were taken");
    };
    let restarts = || json_of(&watcher, "/debug/state")["watches"][0]["restarts"].clone();

    blow(3000, 1);
    assert_agrees(&testbed, &watcher);
    let scores = json_of(&watcher, "/scores");
    assert!(scores["cluster"]["pods"].as_u64().unwrap() > 100, "{scores}");
    assert!(scores["cluster"]["totalViolations"].as_u64().unwrap() > 100, "{scores}");
    assert_eq!(restarts(), 0);

    // The API server is killed in the middle, and comes back.
    std::thread::scope(|threads| {
        let storm = threads.spawn(|| blow(3000, 2));
        std::thread::sleep(Duration::from_secs(2));
        testbed.kill_api_server().unwrap();
        testbed.restart_api_server().unwrap();
        storm.join().unwrap();
    });
    assert_agrees(&testbed, &watcher);

    let before = restarts();
    // The watcher is stopped and its connection is closed. When it continues, the server no longer has
    // its resourceVersion.
    watcher.signal(Signal::Stop).unwrap();
    testbed.kill_api_server().unwrap();
    testbed.restart_api_server().unwrap();
    blow(600, 3);
    testbed.compact().unwrap();
    testbed.kill_api_server().unwrap();
    testbed.restart_api_server().unwrap();
    watcher.signal(Signal::Cont).unwrap();
    assert_agrees(&testbed, &watcher);
    assert!(restarts().as_u64() > before.as_u64(), "it did not list anew: {before} times");
    let metrics = watcher.metrics().unwrap();
    assert!(metrics.value("watch_restarts_total", &[("kind", "Pod")]) >= Some(1.0));
}
