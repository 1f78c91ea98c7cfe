//! Scores the pods of a cluster as they change.
//!
//! ```text
//! watch of all pods ─ PodView ─ PodFacts ─ evaluate ─ ScoredPod ─ Index
//!                                                                   │ at each scrape
//! Lease ─ Gate ──── only the leader's scores become metrics ─ Publisher
//! ```

mod config;
mod publish;
mod scores;

use std::process::ExitCode;

use policy_core::view::PodView;
use policy_runtime::client;
use policy_runtime::config::About;
use policy_runtime::service::{self, Service};
use policy_runtime::watch::{self, Target, WatchStatus};

pub use config::Config;
use publish::Publisher;
use scores::Scores;

const ABOUT: About = About {
    name: "policy-watcher",
    version: env!("CARGO_PKG_VERSION"),
    about: "Scores the pods of a cluster as they change",
};

/// Runs the watcher until it is told to stop.
#[must_use]
pub fn run() -> ExitCode {
    service::main::<Config>(ABOUT, start)
}

async fn start(service: &mut Service<Config>) -> anyhow::Result<()> {
    let config = service.config.clone();
    let policy = config.judgement()?;
    let client = client::connect(&config.runtime.kube).await?;
    let scores = Scores::new(policy, config.excluded());
    let status = WatchStatus::new("Pod");
    let gate = service.elect(client.clone())?;
    let target = Target { kind: "Pod", path: "/api/v1/pods".to_owned() };
    let listed = service.readiness.hold("the first list of pods");
    let stop = service.stop.clone();
    service.spawn(
        "watch of pods",
        watch::run::<PodView, _>(client, target, scores.sink(), status.clone(), listed, stop),
    );
    let publisher = Publisher { scores, gate, watch: status, profile: config.profile() };
    let at_scrape = publisher.clone();
    service.metrics.write_at_scrape(move |to| at_scrape.metrics(to));
    let answering = publisher.clone();
    service.endpoints.get("/scores", move || answering.scores());
    service.endpoints.get("/debug/state", move || publisher.state());
    Ok(())
}
