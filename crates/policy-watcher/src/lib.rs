//! Scores the pods of a cluster as they change.
//!
//! ```text
//! watch of all pods ─ PodView ─ PodFacts ─ evaluate ─ ScoredPod ─ Index
//!                                                                   │ at each scrape
//! Lease ─ leader gate ──── only the leader's scores become metrics ─ Publisher
//! ```

mod config;
mod profile;
mod publish;
mod scores;

use std::process::ExitCode;

use policy_core::view::PodView;
use policy_runtime::client;
use policy_runtime::config::About;
use policy_runtime::service::{self, Service};
use policy_runtime::watch::Target;

pub use config::Config;
use profile::ProfileFollower;
use publish::Publisher;
use scores::Scores;

const ABOUT: About = About {
    name: "policy-watcher",
    version: env!("CARGO_PKG_VERSION"),
    about: "Scores the pods of a cluster as they change",
    histograms: &[],
};

const PODS: Target =
    Target { kind: "Pod", plural: "pods", path: "/api/v1/pods", is_optional: false };

/// Runs the watcher until it is stopped.
#[must_use]
pub fn run() -> ExitCode {
    service::main::<Config>(ABOUT, start)
}

async fn start(service: &mut Service<Config>) -> anyhow::Result<()> {
    let config = service.config.clone();
    let policy = config.compile_policy()?;
    let client = client::connect(&config.runtime.kube).await?;
    let scores = Scores::new(policy, config.excluded());
    let gate = service.elect(client.clone(), &config.lease)?;
    let watch = service.watch::<PodView, _>(&client, PODS, scores.sink());
    if let Some(file) = config.policy.clone() {
        let follower = ProfileFollower::new(file, scores.clone(), watch.clone());
        service.spawn_until_stop("policy file", follower.run());
    }
    let publisher = Publisher { scores, gate, watch, profile: config.profile() };
    let at_scrape = publisher.clone();
    service.metrics.write_at_scrape(move |to| at_scrape.metrics(to));
    let answering = publisher.clone();
    service.endpoints.get("/scores", move || answering.scores());
    service.endpoints.get("/debug/state", move || publisher.state());
    Ok(())
}
