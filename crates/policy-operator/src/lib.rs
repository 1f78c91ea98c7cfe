//! Keeps the status of every policy true, and writes down each verdict that is another one.
//!
//! ```text
//! watch of all pods ─ PodView ─ PodFacts ─ Index ── changed namespaces ─┐
//! watch of policies ─ PolicyView ─ store, memory ── changed policies ───┤ Controller
//! moments: Pending for too long, end of a minute, heartbeat ────────────┘     │
//!                                                                         reconcile
//! watch of audit results ─ what was written down ─┐                           │ judge: pure
//!                                                 └ trail ── Judgement ───────┤
//! Lease ─ Gate ── only the leader writes: status, Event, audit results ───────┘
//! ```

mod audit;
mod config;
mod control;
mod herald;
mod judgement;
mod key;
mod memory;
mod names;
mod pods;
mod policies;
mod publish;
mod reconcile;
#[cfg(feature = "testing")]
pub mod testing;
mod trail;
mod write;

use std::process::ExitCode;

use audit::{AuditView, Results};
pub use config::Config;
use pods::Pods;
use policies::Policies;
use policy_core::Timestamp;
use policy_core::view::{PodView, PolicyView};
use policy_runtime::client;
use policy_runtime::config::About;
use policy_runtime::service::{self, Service};
use policy_runtime::watch::Target;
use publish::Publisher;
use reconcile::Reconciler;
use write::Writer;

const ABOUT: About = About {
    name: "policy-operator",
    version: env!("CARGO_PKG_VERSION"),
    about: "Keeps the status of every policy true",
    histograms: publish::HISTOGRAMS,
};

const PODS: Target = Target { kind: "Pod", plural: "pods", path: "/api/v1/pods" };
const POLICIES: Target = Target {
    kind: "DevOpsPolicy",
    plural: "policies",
    path: "/apis/devops.stochastic.io/v1/devopspolicies",
};
const RESULTS: Target = Target {
    kind: "PolicyAuditResult",
    plural: "audit results",
    path: "/apis/devops.stochastic.io/v1/policyauditresults",
};

/// Runs the operator until it is told to stop.
#[must_use]
pub fn run() -> ExitCode {
    service::main::<Config>(ABOUT, start)
}

async fn start(service: &mut Service<Config>) -> anyhow::Result<()> {
    let config = service.config.clone();
    let client = client::connect(&config.runtime.kube).await?;
    publish::describe();
    let pods = Pods::new(config.excluded());
    let (policies, policy_sink) = Policies::new();
    let results = Results::default();
    let gate = service.elect(client.clone())?;
    let watches = [
        service.watch::<PodView, _>(&client, PODS, pods.sink()),
        service.watch::<PolicyView, _>(&client, POLICIES, policy_sink),
        service.watch::<AuditView, _>(&client, RESULTS, results.sink()),
    ];
    let reconciler = Reconciler {
        pods: pods.clone(),
        policies: policies.clone(),
        results,
        writer: Writer::new(client, gate.clone()),
        cluster_name: config.cluster_name,
        retention: config.audit_results.retention,
        now: Box::new(Timestamp::now),
    };
    let stop = service.stop.clone();
    service.spawn("controller", control::run(reconciler, gate.clone(), watches.clone(), stop));
    let publisher = Publisher { pods, policies, gate, watches };
    let at_scrape = publisher.clone();
    service.metrics.write_at_scrape(move |to| at_scrape.metrics(to));
    service.endpoints.get("/debug/state", move || publisher.state());
    Ok(())
}
