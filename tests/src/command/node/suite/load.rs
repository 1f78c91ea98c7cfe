//! Creations at a constant rate while something happens, each of which has one right answer.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use e2e::Testbed;
use futures::future::join;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::PostParams;
use kube::{Api, Client, Error};
use tokio::time::{MissedTickBehavior, interval};

use super::super::super::bench_live::client;
use super::{SHOP, deployment, pods};

/// 25 a second of each kind.
const PERIOD: Duration = Duration::from_millis(40);
/// The load goes on for this long before and after what happens.
const AROUND: Duration = Duration::from_secs(1);

/// What became of the creations.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Of those that must be denied, the ones that were, and those that were not.
    denied: usize,
    let_through: usize,
    /// Of those that must be admitted, the ones that were, and those that were not.
    admitted: usize,
    refused: usize,
    slowest: Duration,
}

/// Creates Deployments without storing them, until `action` has ended and `least` creations of each
/// kind were answered. Fails if one answer is wrong.
pub(super) fn during(
    testbed: &Testbed,
    least: usize,
    action: impl FnOnce() -> Result<()>,
) -> Result<String> {
    let ended = AtomicBool::new(false);
    let (acted, answers) = thread::scope(|scope| {
        let load = scope.spawn(|| run(testbed.kubeconfig(), least, &ended));
        thread::sleep(AROUND);
        // Also while the replaced pods end, which may be after the new ones are ready.
        let acted = action().and_then(|()| pods::wait_until_gone(testbed));
        thread::sleep(AROUND);
        ended.store(true, Ordering::Relaxed);
        (acted, load.join())
    });
    let answers = answers.map_err(|_| anyhow!("the load panicked"))??;
    acted?;
    let Answers { denied, let_through, admitted, refused, slowest } = answers;
    let bad = denied + let_through;
    let good = admitted + refused;
    let text = format!(
        "{let_through} of {bad} bad ones let through, {refused} of {good} good ones refused, \
         slowest {} ms",
        slowest.as_millis()
    );
    ensure!(let_through + refused == 0, "{text}\n{}", unanswered(testbed)?);
    Ok(text)
}

/// What the API server logged about requests that it admitted because the webhook did not answer.
fn unanswered(testbed: &Testbed) -> Result<String> {
    let log = fs::read_to_string(testbed.folder().join("logs/kube-apiserver.log"))?;
    let lines = log.lines().filter(|line| line.contains("failing open"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn run(kubeconfig: &Path, least: usize, ended: &AtomicBool) -> Result<Answers> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = client(kubeconfig).await?;
        let bad: Deployment = serde_json::from_value(deployment("latest"))?;
        let good: Deployment = serde_json::from_value(deployment("v1.2.3"))?;
        let mut answers = Answers::default();
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !ended.load(Ordering::Relaxed) || answers.denied + answers.let_through < least {
            ticks.tick().await;
            let start = Instant::now();
            let (bad, good) = join(create(&client, &bad), create(&client, &good)).await;
            match bad {
                Ok(()) => answers.let_through += 1,
                Err(Error::Api(status)) if status.message.contains("denied the request") => {
                    answers.denied += 1;
                }
                Err(error) => return Err(error).context("a creation was not answered"),
            }
            match good {
                Ok(()) => answers.admitted += 1,
                Err(Error::Api(_)) => answers.refused += 1,
                Err(error) => return Err(error).context("a creation was not answered"),
            }
            answers.slowest = answers.slowest.max(start.elapsed());
        }
        Ok(answers)
    })
}

async fn create(client: &Client, deployment: &Deployment) -> Result<(), Error> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), SHOP);
    let options = PostParams { dry_run: true, ..PostParams::default() };
    api.create(&options, deployment).await.map(|_| ())
}
