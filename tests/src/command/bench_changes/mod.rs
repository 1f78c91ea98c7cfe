//! `e2e bench-changes`: how soon a changed policy, a changed exemption and a changed custom check count in
//! each service, on a real API server.
//!
//! ```text
//! steps       what is changed, and what the services say then
//! objects     namespaces with pods and policies
//! services    waits until a service says so
//! delays      the times
//! ```

mod delays;
mod objects;
mod services;
mod steps;

use std::io::{self, Write as _};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::{Service, released_program};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::Client;
use serde_json::{Map, Value};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::bench_live;
use super::bench_webhook::{Bench, Connection, PLATFORM};
use super::measure::{wait, wait_ready};
use delays::{Delays, Place};
use objects::{NAMESPACES, Policy};
use services::{Statuses, Verdicts, watcher_says};
use steps::Step;

/// A policy is changed once in that time, so that its changes do not wait for each other.
const EVERY: Duration = Duration::from_secs(2);
/// A hundred changes of the policy, as many of its exemptions, and as many of its custom check.
const CHANGES: usize = 300;
/// Of each of many policies.
const CHANGES_OF_MANY: usize = 24;

pub(crate) fn run() -> Result<()> {
    let bench = Bench::new()?;
    let [operator, watcher] = ["policy-operator", "policy-watcher"].map(released_program);
    let (operator, watcher) = (operator?, watcher?);
    let testbed = &bench.testbed;
    testbed.install_definitions()?;
    testbed.install_base()?;
    testbed.apply(&objects::all().to_string())?;
    let account = |name| testbed.account_kubeconfig(PLATFORM, name);
    let webhook = bench.webhook("webhook", &account("policy-webhook")?)?;
    let operator = testbed.service("operator", &operator).kubeconfig(&account("policy-operator")?);
    let operator = operator.start()?;
    let file = testbed.folder().join("profile.yaml");
    objects::write_profile(&file, Step::LAST)?;
    let watcher = testbed.service("watcher", &watcher).kubeconfig(&account("policy-watcher")?);
    let watcher = watcher.variable("GOV_POLICY", &file).start()?;
    for service in [&operator, &watcher] {
        wait_ready(service)?;
    }
    let runtime = Runtime::new()?;
    let client = runtime.block_on(bench_live::client(testbed.kubeconfig()))?;
    let statuses = runtime.block_on(Statuses::watch(&client))?;
    wait(|| Ok(statuses.known() == NAMESPACES + 1))?;

    let mut results = Map::new();
    let changing = Changing { bench: &bench, client: &client, webhook: &webhook, statuses };
    let (of_watcher, of_one) = thread::scope(|threads| {
        let of_watcher = threads.spawn(|| change_profile(&watcher, &file));
        let one = [(Policy::Namespaced(0), CHANGES), (Policy::Cluster, CHANGES)];
        let of_one = runtime.block_on(changing.change_all(&one));
        (of_watcher.join(), of_one)
    });
    let of_watcher = of_watcher.ok().context("the thread for the watcher ended early")??;
    let [namespaced, cluster] =
        <[Delays; 2]>::try_from(of_one?).ok().context("two policies were changed")?;
    namespaced.report("", &mut results);
    cluster.report("cluster_", &mut results);
    of_watcher.report("", &mut results);
    let many: Vec<_> = (0..NAMESPACES).map(|n| (Policy::Namespaced(n), CHANGES_OF_MANY)).collect();
    let of_many = runtime.block_on(changing.change_all(&many))?;
    of_many.into_iter().fold(Delays::default(), Delays::and).report("many_", &mut results);
    writeln!(io::stdout(), "{}", Value::Object(results))?;
    Ok(())
}

/// What changes of policies need.
struct Changing<'a> {
    bench: &'a Bench,
    client: &'a Client,
    webhook: &'a Service<'a>,
    statuses: Statuses,
}

impl Changing<'_> {
    /// Changes policies so often, all at the same time, each a moment after the one before.
    async fn change_all(&self, policies: &[(Policy, usize)]) -> Result<Vec<Delays>> {
        let (start, count) = (Instant::now(), u32::try_from(policies.len())?);
        let each = policies.iter().zip(0..).map(|((policy, changes), number)| {
            self.change(*policy, *changes, start + EVERY * number / count)
        });
        stream::iter(each).buffered(policies.len()).try_collect().await
    }

    async fn change(&self, policy: Policy, changes: usize, start: Instant) -> Result<Delays> {
        let tls = self.bench.certificates.client()?;
        let mut delays = Delays::default();
        for (step, number) in Step::ALL.into_iter().cycle().take(changes).zip(0..) {
            tokio::time::sleep_until(start + EVERY * number).await;
            // The server ends each connection after some minutes.
            let connection = Connection::open(&tls, self.webhook.addr()).await?;
            let mut verdicts = Verdicts::new(connection, policy);
            let generation = policy.change(self.client, step).await?;
            let (webhook, operator) = tokio::try_join!(
                verdicts.wait_for(step),
                self.statuses.wait_for(policy, generation, step)
            )?;
            delays.add(Place::Webhook, step, webhook);
            delays.add(Place::Operator, step, operator);
        }
        Ok(delays)
    }
}

/// Changes the file with the policy of the watcher.
fn change_profile(watcher: &Service<'_>, file: &std::path::Path) -> Result<Delays> {
    let (start, mut delays) = (std::time::Instant::now(), Delays::default());
    for (step, number) in Step::ALL.into_iter().cycle().take(CHANGES).zip(0..) {
        thread::sleep((EVERY * number).saturating_sub(start.elapsed()));
        objects::write_profile(file, step)?;
        delays.add(Place::Watcher, step, watcher_says(watcher, step)?);
    }
    Ok(delays)
}
