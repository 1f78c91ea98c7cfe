//! How soon a status is current, and how much is written for it, on a real API server.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::{Service, Testbed, say};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::PostParams;
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::super::bench_live;
use super::super::measure::{wait, wait_ready};
use super::changes::{Change, Seen, Watching, make_changes};

/// The status of a policy is written at most once in that time.
const PACE: Duration = Duration::from_secs(1);
/// With that many, each changes once in two seconds, so that no change waits for the pace.
pub(super) const NAMESPACES: usize = 40;
/// The pods of each namespace.
pub(super) const PODS: usize = 10;
/// The operator gathers the changes of a namespace that long after the first one.
const GATHERING: Duration = Duration::from_millis(100);
const ACCOUNT: &str = "policy-operator";
const PLATFORM: &str = "kube-devops";

pub(super) struct Changes {
    pub(super) status_ms: f64,
    pub(super) writes_per_verdict: f64,
}

pub(super) fn measure(testbed: &Testbed, program: &Path) -> Result<Changes> {
    testbed.install_definitions()?;
    testbed.install_base()?;
    let runtime = Runtime::new()?;
    let client = runtime.block_on(bench_live::client(testbed.kubeconfig()))?;
    runtime.block_on(fill(testbed, &client))?;
    let kubeconfig = testbed.account_kubeconfig(PLATFORM, ACCOUNT)?;
    let operator = testbed.service("operator", program).kubeconfig(&kubeconfig).start()?;
    wait_ready(&operator)?;
    let watching = runtime.block_on(Watching::start(&client))?;
    wait(|| Ok(watching.judged() == NAMESPACES && watching.is_quiet_for(PACE)))?;
    let before = writes(testbed)?;
    let changes = runtime.block_on(make_changes(&client))?;
    wait(|| Ok(watching.shows_last_of(&changes)))?;
    let seen = watching.seen();
    let status_ms = delay(&changes, &seen)?;
    Ok(Changes { status_ms, writes_per_verdict: per_verdict(testbed, &operator, before, &seen)? })
}

/// Namespaces with compliant pods, and a policy that counts images that are not pinned.
async fn fill(testbed: &Testbed, client: &Client) -> Result<()> {
    let mut policies = Vec::new();
    for namespace in (0..NAMESPACES).map(name) {
        let object = json!({ "metadata": { "name": namespace } });
        create(&Api::<Namespace>::all(client.clone()), object).await?;
        for number in 0..PODS {
            // Every fifth pod of that helper has an image that is not pinned.
            let mut pod = bench_live::pod(number * 5 + 1);
            pod["metadata"]["name"] = json!(pod_name(number));
            create(&Api::<Pod>::namespaced(client.clone(), &namespace), pod).await?;
        }
        policies.push(json!({
            "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
            "metadata": { "name": "strict", "namespace": namespace },
            // A pod costs six points, so that the class changes as well.
            "spec": { "forbidLatestTag": true, "requireReadinessProbe": true, "maxRestartCount": 3,
                "weights": { "latestTag": 60 } },
        }));
    }
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": policies });
    testbed.apply(&list.to_string())
}

async fn create<K: DeserializeOwned + Clone + std::fmt::Debug + serde::Serialize>(
    api: &Api<K>,
    object: Value,
) -> Result<()> {
    api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}

pub(super) fn name(namespace: usize) -> String {
    format!("team-{namespace}")
}

pub(super) fn pod_name(number: usize) -> String {
    format!("payment-service-7d4b9c6f58-{number:05}")
}

/// The time from the answer to a change until the watch shows a status with it, less the time of
/// gathering: the 99th percentile.
fn delay(changes: &[Change], seen: &[Seen]) -> Result<f64> {
    let mut delays = Vec::new();
    for namespace in 0..NAMESPACES {
        let mut statuses = seen.iter().filter(|seen| seen.namespace == namespace);
        let mut last = statuses.next();
        let changes: Vec<_> = changes.iter().filter(|c| c.namespace == namespace).collect();
        for (number, change) in changes.iter().enumerate() {
            // A late status may include the next change.
            let next = changes.get(number + 1).map(|next| next.violations);
            let includes_it = |seen: &Seen| {
                seen.at >= change.sent
                    && (seen.violations == change.violations || Some(seen.violations) == next)
            };
            while last.is_some_and(|seen| !includes_it(seen)) {
                last = statuses.next();
            }
            let newest = last.context("a change that no status reports")?;
            delays.push(newest.at.saturating_duration_since(change.answered));
        }
    }
    delays.sort();
    let beyond = |part: usize| {
        let delay = delays[delays.len() * part / 100].as_secs_f64();
        (delay - GATHERING.as_secs_f64()) * 1e3
    };
    say(&format!(
        "{} changes: status {:.1} ms after gathering in the median, 99 of 100 within {:.1} ms",
        delays.len(),
        beyond(50),
        beyond(99)
    ));
    Ok(beyond(99))
}

/// The written statuses, audit results and Events so far.
fn writes(testbed: &Testbed) -> Result<[usize; 3]> {
    let calls = testbed.audit(&format!("system:serviceaccount:{PLATFORM}:{ACCOUNT}"))?;
    let written =
        calls.iter().filter(|call| matches!(&*call.verb, "create" | "update" | "patch" | "delete"));
    let mut counts = [0; 3];
    for call in written {
        match &*call.resource {
            "devopspolicies" => counts[0] += 1,
            "policyauditresults" => counts[1] += 1,
            "events" => counts[2] += 1,
            _ => {}
        }
    }
    Ok(counts)
}

/// The writes since then, for each status that changed.
fn per_verdict(
    testbed: &Testbed,
    operator: &Service<'_>,
    before: [usize; 3],
    seen: &[Seen],
) -> Result<f64> {
    // The verdict of a minute is written at its end.
    std::thread::sleep(Duration::from_secs(63));
    let after = writes(testbed)?;
    let written = [0, 1, 2].map(|sort| after[sort] - before[sort]);
    // The first status of each namespace is from before.
    let changed = seen.iter().filter(|seen| seen.is_changed).count() - NAMESPACES;
    let metrics = operator.metrics()?;
    let reconciles = metrics.value("devopspolicy_reconcile_total", &[]).unwrap_or_default();
    say(&format!(
        "{changed} changed verdicts: {written:?} of statuses, audit results, Events; {reconciles} reconciles"
    ));
    Ok(written.iter().sum::<usize>() as f64 / changed as f64)
}
