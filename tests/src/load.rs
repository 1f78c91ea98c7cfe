//! Creations at a constant rate while something happens, each of which has one right answer.

use std::fmt::{Display, Formatter};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use futures::future::join;
use kube::api::PostParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, Error};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use crate::{Testbed, client};

/// 25 a second of each kind.
const PERIOD: Duration = Duration::from_millis(40);
/// The load goes on for this long before and after what happens.
const AROUND: Duration = Duration::from_secs(1);

/// What is created.
#[derive(Debug, Clone, Default)]
pub struct Load {
    /// Objects that have to be denied and admitted, in pairs, which take turns.
    pub pairs: Vec<[Value; 2]>,
    /// Nothing is stored, so an object may keep its name.
    pub dry_run: bool,
    /// Creations of each kind, at least.
    pub least: usize,
}

/// What became of the creations.
#[derive(Debug, Default)]
struct Answers {
    /// Of those that must be denied, the ones that were, and those that were not.
    denied: usize,
    let_through: usize,
    /// Of those that must be admitted, the ones that were, and those that were not.
    admitted: usize,
    refused: usize,
    slowest: Duration,
}

impl Display for Answers {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { denied, let_through, admitted, refused, slowest } = self;
        let (bad, good) = (denied + let_through, admitted + refused);
        write!(
            f,
            "{let_through} of {bad} bad ones let through, {refused} of {good} good ones refused, \
             slowest {} ms",
            slowest.as_millis()
        )
    }
}

impl Load {
    /// Creates these objects until `action` has ended and the least were answered. Fails if one
    /// answer is wrong.
    pub fn during<T>(
        &self,
        testbed: &Testbed,
        action: impl FnOnce() -> Result<T>,
    ) -> Result<(T, String)> {
        let ended = AtomicBool::new(false);
        let (acted, answers) = thread::scope(|scope| {
            let load = scope.spawn(|| self.run(testbed.kubeconfig(), &ended));
            thread::sleep(AROUND);
            let acted = action();
            thread::sleep(AROUND);
            ended.store(true, Ordering::Relaxed);
            (acted, load.join())
        });
        let answers = answers.map_err(|_| anyhow!("the load panicked"))??;
        let wrong = answers.let_through + answers.refused;
        ensure!(wrong == 0, "{answers}\n{}", unanswered(testbed)?);
        Ok((acted?, answers.to_string()))
    }

    fn run(&self, kubeconfig: &Path, ended: &AtomicBool) -> Result<Answers> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = client(kubeconfig).await?;
            let pairs = self.pairs.iter();
            let pairs = pairs
                .map(|[bad, good]| anyhow::Ok((creation(&client, bad)?, creation(&client, good)?)));
            let pairs = pairs.collect::<Result<Vec<_>>>()?;
            let mut answers = Answers::default();
            let mut ticks = interval(PERIOD);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for (bad, good) in pairs.iter().cycle() {
                if ended.load(Ordering::Relaxed)
                    && answers.denied + answers.let_through >= self.least
                {
                    break;
                }
                ticks.tick().await;
                let start = Instant::now();
                let (bad, good) = join(self.create(bad), self.create(good)).await;
                answers.count(bad, good)?;
                answers.slowest = answers.slowest.max(start.elapsed());
            }
            Ok(answers)
        })
    }

    async fn create(&self, (api, object): &Creation) -> Result<(), Error> {
        let options = PostParams { dry_run: self.dry_run, ..PostParams::default() };
        api.create(&options, object).await.map(|_| ())
    }
}

/// An object, and where it is created.
type Creation = (Api<DynamicObject>, DynamicObject);

fn creation(client: &Client, object: &Value) -> Result<Creation> {
    let object: DynamicObject = serde_json::from_value(object.clone())?;
    let types = object.types.as_ref().context("an object without a kind")?;
    let kind = ApiResource::from_gvk(&GroupVersionKind::try_from(types)?);
    let namespace = object.metadata.namespace.as_deref().context("an object of no namespace")?;
    Ok((Api::namespaced_with(client.clone(), namespace, &kind), object))
}

impl Answers {
    fn count(&mut self, bad: Result<(), Error>, good: Result<(), Error>) -> Result<()> {
        match bad {
            Ok(()) => self.let_through += 1,
            Err(Error::Api(status)) if status.message.contains("denied the request") => {
                self.denied += 1;
            }
            Err(error) => return Err(error).context("a creation was not answered"),
        }
        match good {
            Ok(()) => self.admitted += 1,
            Err(Error::Api(_)) => self.refused += 1,
            Err(error) => return Err(error).context("a creation was not answered"),
        }
        Ok(())
    }
}

/// What the API server logged about requests that it admitted because the webhook did not answer.
fn unanswered(testbed: &Testbed) -> Result<String> {
    let log = fs::read_to_string(testbed.folder().join("logs/kube-apiserver.log"))?;
    let lines = log.lines().filter(|line| line.contains("failing open"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}
