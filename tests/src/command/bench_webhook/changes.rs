//! The time until a changed policy applies, with a real API server.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::{Service, say};
use http::Request;
use kube::Client;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::client::Connection;
use super::{Bench, review};

const CHANGES: usize = 200;
const NAMESPACE: &str = "changes";
/// Deadline of a change that should take milliseconds.
const LONGEST: Duration = Duration::from_secs(30);

/// The time from the API server's response to a change until the webhook applies it, in
/// milliseconds: the 99th percentile.
pub(super) fn visible_ms(
    bench: &Bench,
    runtime: &Runtime,
    client: &Client,
    webhook: &Service<'_>,
) -> Result<f64> {
    bench.testbed.apply(&objects().to_string())?;
    let tls = bench.certificates.client()?;
    let request = review::request(&review::denied(NAMESPACE));
    let mut delays = runtime.block_on(async {
        let mut connection = Connection::open(&tls, webhook.addr()).await?;
        until(&mut connection, &request, false).await?;
        let mut delays = Vec::new();
        for number in 0..CHANGES {
            // The changes alternate between allowing and denying.
            let allows = number.is_multiple_of(2);
            change(client, if allows { "warn" } else { "deny" }).await?;
            delays.push(until(&mut connection, &request, allows).await?);
        }
        anyhow::Ok(delays)
    })?;
    delays.sort_unstable();
    let ms = |part: usize| delays[delays.len() * part / 100].as_secs_f64() * 1e3;
    say(&format!(
        "{CHANGES} changes of a policy: they count after {:.2} ms in the median, 99 of 100 within \
         {:.2} ms",
        ms(50),
        ms(99)
    ));
    Ok(ms(99))
}

fn objects() -> Value {
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    let policy = json!({ "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
        "metadata": { "name": "strict", "namespace": NAMESPACE },
        "spec": { "forbidLatestTag": true, "severityOverrides": { "latestTag": "critical" } } });
    json!({ "apiVersion": "v1", "kind": "List", "items": [namespace, policy] })
}

async fn change(client: &Client, mode: &str) -> Result<()> {
    let policy =
        format!("/apis/devops.stochastic.io/v1/namespaces/{NAMESPACE}/devopspolicies/strict");
    let patch = json!({ "spec": { "admission": { "mode": mode } } });
    let request = Request::patch(policy)
        .header("content-type", "application/merge-patch+json")
        .body(patch.to_string().into_bytes())?;
    client.request_text(request).await?;
    Ok(())
}

/// Sends reviews of the violating pod until it is allowed, or denied, and returns the time that took.
/// It sends at least one.
async fn until(connection: &mut Connection, request: &[u8], is_allowed: bool) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let answer = connection.ask(request).await?;
        let took = start.elapsed();
        let answer: Value = serde_json::from_slice(answer)?;
        let allowed = answer["response"]["allowed"].as_bool().context("no verdict")?;
        if allowed == is_allowed {
            return Ok(took);
        }
        ensure!(took < LONGEST, "the policy does not apply after {took:?}");
    }
}
