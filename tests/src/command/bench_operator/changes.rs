//! Changes of pods on a real API server, and the statuses that report them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::latency::{NAMESPACES, PODS, name, pod_name};

const CHANGES: usize = 1_200;
/// Twenty a second.
const EVERY: Duration = Duration::from_millis(50);

/// A change that the API server accepted.
pub(super) struct Change {
    pub(super) namespace: usize,
    /// The violations in the namespace after it.
    pub(super) violations: u64,
    pub(super) sent: Instant,
    pub(super) answered: Instant,
}

/// Changes the image of one pod after the other to one that is not pinned, then back, in all
/// namespaces by turns.
pub(super) async fn make_changes(client: &Client) -> Result<Vec<Change>> {
    let start = tokio::time::Instant::now();
    let changes = (0..CHANGES).map(|number| {
        let client = client.clone();
        // A task for each, so that no change waits for the answer to an earlier one.
        tokio::spawn(async move {
            tokio::time::sleep_until(start + EVERY * u32::try_from(number)?).await;
            change(&client, number % NAMESPACES, number / NAMESPACES).await
        })
    });
    let changes: Vec<_> = changes.collect();
    stream::iter(changes).then(|change| async { change.await? }).try_collect().await
}

async fn change(client: &Client, namespace: usize, round: usize) -> Result<Change> {
    let pod = round % PODS;
    let is_bad = (round / PODS).is_multiple_of(2);
    let tag = if is_bad { "latest" } else { "v1.24.3" };
    let image = format!("registry.example.com/shop/payment-service:{tag}");
    let containers = json!([{ "name": "payment-service", "image": image }]);
    let patch = Patch::Strategic(json!({ "spec": { "containers": containers } }));
    let api: Api<Pod> = Api::namespaced(client.clone(), &name(namespace));
    let sent = Instant::now();
    api.patch(&pod_name(pod), &PatchParams::default(), &patch).await?;
    let violations = if is_bad { pod + 1 } else { PODS - 1 - pod };
    Ok(Change { namespace, violations: violations as u64, sent, answered: Instant::now() })
}

/// A status that the watch showed.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) namespace: usize,
    pub(super) violations: u64,
    pub(super) at: Instant,
    /// Whether it differs from the one before.
    pub(super) is_changed: bool,
}

/// A watch of the policies.
pub(super) struct Watching(Arc<Mutex<Vec<Seen>>>);

impl Watching {
    pub(super) async fn start(client: &Client) -> Result<Self> {
        let watch = "/apis/devops.stochastic.io/v1/devopspolicies?watch=true";
        let request = http::Request::get(watch).body(Vec::new())?;
        let mut stream = client.request_stream(request).await?;
        let watching = Self(Arc::default());
        let seen = Arc::clone(&watching.0);
        tokio::spawn(async move {
            let (mut line, mut last) = (Vec::new(), HashMap::new());
            while stream.read_until(b'\n', &mut line).await? > 0 {
                let at = Instant::now();
                let event: Value = serde_json::from_slice(&line)?;
                if let Some(status) = status(event, at, &mut last) {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(status);
                }
                line.clear();
            }
            anyhow::Ok(())
        });
        Ok(watching)
    }

    /// The number of namespaces whose pods have all been judged.
    pub(super) fn judged(&self) -> usize {
        let mut namespaces: Vec<_> = self.lock().iter().map(|seen| seen.namespace).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        namespaces.len()
    }

    /// Whether the last status is older than that: those after the start come in a row.
    pub(super) fn is_quiet_for(&self, time: Duration) -> bool {
        self.lock().last().is_some_and(|seen| seen.at.elapsed() > time)
    }

    /// Whether the last change of each namespace has been reported.
    pub(super) fn shows_last_of(&self, changes: &[Change]) -> bool {
        let seen = self.lock();
        let mut last: HashMap<usize, &Change> = HashMap::new();
        last.extend(changes.iter().map(|change| (change.namespace, change)));
        let is_shown = |change: &Change| {
            let status = seen.iter().rfind(|seen| seen.namespace == change.namespace);
            status.is_some_and(|seen| seen.violations == change.violations)
        };
        last.into_values().all(is_shown)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The status of a watch event, where it includes all pods of the namespace.
fn status(mut event: Value, at: Instant, last: &mut HashMap<usize, Value>) -> Option<Seen> {
    let policy = &mut event["object"];
    let namespace =
        policy["metadata"]["namespace"].as_str()?.strip_prefix("team-")?.parse().ok()?;
    let mut status = policy["status"].take();
    status.as_object_mut()?.remove("lastEvaluated");
    if status["podsEvaluated"] != PODS {
        return None;
    }
    let violations = status["totalViolations"].as_u64()?;
    let is_changed = last.get(&namespace) != Some(&status);
    last.insert(namespace, status);
    Some(Seen { namespace, violations, at, is_changed })
}
