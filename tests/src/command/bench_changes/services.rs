//! Waits until a service says what it should after a change.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::Service;
use futures::AsyncBufReadExt as _;
use http::Request;
use kube::Client;
use serde_json::Value;
use tokio::sync::watch;

use super::super::bench_webhook::{Connection, review};
use super::objects::{self, NAMESPACES, OF_CLUSTER, Policy};
use super::steps::Step;

/// Deadline of a change that should take milliseconds.
const LONGEST: Duration = Duration::from_secs(30);
/// The services have the same processors as what asks them.
const PAUSE: Duration = Duration::from_millis(2);

/// The verdicts of the webhook on the violating pod of a namespace.
pub(super) struct Verdicts {
    connection: Connection,
    request: Vec<u8>,
}

impl Verdicts {
    pub(super) fn new(connection: Connection, policy: Policy) -> Self {
        let namespace = policy.namespace();
        let review = review::of_pod(&namespace, &objects::violating(&namespace));
        Self { connection, request: review::request_to("/validate", &review) }
    }

    /// The time until the verdict is that after a step.
    pub(super) async fn wait_for(&mut self, step: Step) -> Result<Duration> {
        let start = Instant::now();
        loop {
            let answer = self.connection.ask(&self.request).await?;
            let took = start.elapsed();
            let answer: Value = serde_json::from_slice(answer)?;
            let allowed = answer["response"]["allowed"].as_bool().context("no verdict")?;
            if allowed != step.is_violation() {
                return Ok(took);
            }
            ensure!(took < LONGEST, "the webhook answers {answer} after {took:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The generation that a status is about, and its violations.
type Status = (i64, u64);

/// The statuses of all policies, by [`Policy::key`].
pub(super) struct Statuses(watch::Receiver<HashMap<String, Status>>);

impl Statuses {
    /// Watches them.
    pub(super) async fn watch(client: &Client) -> Result<Self> {
        let (send, statuses) = watch::channel(HashMap::new());
        for plural in ["devopspolicies", "clusterdevopspolicies"] {
            let path = format!("/apis/devops.stochastic.io/v1/{plural}?watch=true");
            let mut stream = client.request_stream(Request::get(path).body(Vec::new())?).await?;
            let send = send.clone();
            tokio::spawn(async move {
                let mut line = Vec::new();
                while stream.read_until(b'\n', &mut line).await? > 0 {
                    let policy = serde_json::from_slice::<Value>(&line)?["object"].take();
                    if let Some(status) = status(&policy["status"]) {
                        let key = policy["metadata"]["namespace"].as_str().unwrap_or_default();
                        send.send_modify(|all| {
                            all.insert(key.to_owned(), status);
                        });
                    }
                    line.clear();
                }
                anyhow::Ok(())
            });
        }
        Ok(Self(statuses))
    }

    /// How many policies have a status.
    pub(super) fn known(&self) -> usize {
        self.0.borrow().len()
    }

    /// The time until the status of a policy is that of a generation.
    pub(super) async fn wait_for(
        &self,
        policy: Policy,
        generation: i64,
        step: Step,
    ) -> Result<Duration> {
        let start = Instant::now();
        let (key, expected) = (policy.key(), (generation, policy.violations(step)));
        let mut statuses = self.0.clone();
        let is_there = statuses.wait_for(|all| all.get(&key) == Some(&expected));
        let is_there = tokio::time::timeout(LONGEST, is_there).await;
        is_there.with_context(|| format!("no status of {key:?} with {expected:?}"))??;
        Ok(start.elapsed())
    }
}

fn status(status: &Value) -> Option<Status> {
    Some((status["observedGeneration"].as_i64()?, status["totalViolations"].as_u64()?))
}

/// The time until the scores of the watcher are those after a step.
pub(super) fn watcher_says(watcher: &Service<'_>, step: Step) -> Result<Duration> {
    let all = (NAMESPACES + OF_CLUSTER) as u64;
    let [found, exempted] = match step {
        Step::Disable | Step::Accept => [0, 0],
        Step::Enable | Step::Count | Step::Refuse => [all, 0],
        Step::Exempt => [0, all],
    };
    let start = Instant::now();
    loop {
        let scores: Value = serde_json::from_str(&watcher.get("/scores")?.1)?;
        let took = start.elapsed();
        let cluster = &scores["cluster"];
        let [now, now_exempted] = ["totalViolations", "exemptedViolations"]
            .map(|field| cluster[field].as_u64().unwrap_or_default());
        if [now, now_exempted] == [found, exempted] {
            return Ok(took);
        }
        ensure!(took < LONGEST, "the watcher says {cluster} after {took:?}");
        thread::sleep(PAUSE);
    }
}
