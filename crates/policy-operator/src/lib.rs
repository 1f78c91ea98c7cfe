//! Keeps the status of every policy current, and records each verdict that differs from the one
//! before.
//!
//! ```text
//! watch of pods ─ PodView ─ PodFacts ─ Index ── changed namespaces ─┐
//! watch of namespaces ─ Namespaces ─────────── changed labels ─────┤
//! watch of Deployments ─ Rollouts ──────────── changed notes ──────┤
//! watch of budgets ─ Drains ────────────────── changed budgets ────┤
//! watch of pods, lists ─ CustomStore: results of custom checks ─────┤
//! watches of workloads ─ WorkloadLabels ────── changed labels ─────┤
//! watches of policies ─ PolicyView ─ Policies ─ changed policies ───┤
//!                                                            ReconcileQueue ◄───────┐
//!                                                                   │               │
//!                                                               reconcile      requeue after
//!                                                                   │               │
//! watch of audit results ─ AuditStore ──────────────────── ReconcileContext ────────┘
//!                                                                   │ what is due: pure
//! Lease ─ leader gate ── only the leader writes ───────────────── Writer: status, Event, audit result,
//!                                                                         workloads in enforce mode,
//!                                                                         Report of openreports.io
//! ```

mod audit_queue;
mod audit_result;
mod audit_store;
mod cluster;
mod config;
mod context;
mod controller;
mod custom;
mod drains;
mod event_throttle;
mod exporter;
mod finalizer;
mod interner;
mod judgement;
mod kept;
mod limits;
mod metrics;
mod notes;
mod open_reports;
mod pods;
mod policies;
mod policy_key;
mod policy_state;
mod queue;
mod reconcile;
mod remediation;
mod rollouts;
mod status;
#[cfg(feature = "testing")]
pub mod testing;
mod workload_labels;
mod write_budget;
mod write_error;
mod writer;

use std::process::ExitCode;

use audit_store::{AuditResultView, AuditStore};
use cluster::Namespaces;
pub use config::Config;
use custom::PodLists;
use drains::Drains;
use exporter::Exporter;
use open_reports::OpenReports;
use pods::Pods;
use policies::Policies;
use policy_core::Timestamp;
use policy_core::view::{
    BudgetView, ClusterPolicyView, DeploymentView, NamespaceView, PodView, PolicyView,
};
use policy_runtime::client;
use policy_runtime::config::About;
use policy_runtime::service::{self, Service};
use policy_runtime::watch::Target;
use reconcile::Reconciler;
use remediation::{Budgets, Executor};
use rollouts::Rollouts;
use workload_labels::WorkloadLabels;
use writer::Writer;

const ABOUT: About = About {
    name: "policy-operator",
    version: env!("CARGO_PKG_VERSION"),
    about: "Keeps the status of every policy current",
    histograms: metrics::HISTOGRAMS,
};

/// So many namespaces are listed at a time for custom checks.
const CUSTOM_LISTS: usize = 2;

const PODS: Target =
    Target { kind: "Pod", plural: "pods", path: "/api/v1/pods", is_optional: false };
const POLICIES: Target = Target {
    kind: "DevOpsPolicy",
    plural: "policies",
    path: "/apis/devops.stochastic.io/v1/devopspolicies",
    is_optional: false,
};
const CLUSTER_POLICIES: Target = Target {
    kind: "ClusterDevOpsPolicy",
    plural: "cluster policies",
    path: "/apis/devops.stochastic.io/v1/clusterdevopspolicies",
    // An installation of an earlier version has no definition of it.
    is_optional: true,
};
const NAMESPACES: Target = Target {
    kind: "Namespace",
    plural: "namespaces",
    path: "/api/v1/namespaces",
    is_optional: false,
};
const DEPLOYMENTS: Target = Target {
    kind: "Deployment",
    plural: "Deployments",
    path: "/apis/apps/v1/deployments",
    is_optional: false,
};
const BUDGETS: Target = Target {
    kind: "PodDisruptionBudget",
    plural: "disruption budgets",
    path: "/apis/policy/v1/poddisruptionbudgets",
    is_optional: false,
};
const AUDIT_RESULTS: Target = Target {
    kind: "PolicyAuditResult",
    plural: "audit results",
    path: "/apis/devops.stochastic.io/v1/policyauditresults",
    is_optional: false,
};

/// Runs the operator until it is stopped.
#[must_use]
pub fn run() -> ExitCode {
    service::main::<Config>(ABOUT, start)
}

async fn start(service: &mut Service<Config>) -> anyhow::Result<()> {
    let config = service.config.clone();
    let client = client::connect(&config.runtime.kube).await?;
    exporter::describe();
    remediation::describe();
    let policies = Policies::default();
    let pods = Pods::new(config.excluded(), policies.clone());
    let namespaces = Namespaces::new(config.excluded(), policies.clone());
    let rollouts = Rollouts::new(config.excluded(), policies.clone());
    let drains = Drains::new(config.excluded(), policies.clone(), client.clone());
    let labels = WorkloadLabels::new(&config.excluded(), &policies);
    labels.watch(service, &client);
    let audit_store = AuditStore::new(&config.lease.namespace);
    let gate = service.elect(client.clone(), &config.lease)?;
    let watches = [
        service.watch::<PodView, _>(&client, PODS, pods.sink()),
        service.watch::<PolicyView, _>(&client, POLICIES, policies.sink()),
        service.watch::<ClusterPolicyView, _>(&client, CLUSTER_POLICIES, policies.cluster_sink()),
        service.watch::<NamespaceView, _>(&client, NAMESPACES, namespaces.sink()),
        service.watch::<DeploymentView, _>(&client, DEPLOYMENTS, rollouts.sink()),
        service.watch::<BudgetView, _>(&client, BUDGETS, drains.sink()),
        service.watch::<AuditResultView, _>(&client, AUDIT_RESULTS, audit_store.sink()),
    ];
    let lists = PodLists { client: client.clone(), pods: pods.clone(), policies: policies.clone() };
    for number in 1..=CUSTOM_LISTS {
        let task = format!("lists for custom checks {number}");
        service.spawn_until_stop(task, lists.clone().run());
    }
    let open_reports = config.open_reports.enabled.then(OpenReports::new);
    if let Some(reports) = open_reports.clone() {
        let follow = reports.follow(client.clone(), policies.clone());
        service.spawn_until_stop("definition of Reports", follow);
    }
    let writer = Writer::new(client, gate.clone(), policies.queue.budget());
    let budgets = Budgets::new(config.remediation.clone(), service.stop.clone());
    let reconciler = Reconciler {
        pods: pods.clone(),
        namespaces: namespaces.clone(),
        rollouts: rollouts.clone(),
        drains: drains.clone(),
        labels: labels.clone(),
        policies: policies.clone(),
        audit_store,
        executor: Executor::new(writer.clone(), budgets),
        writer,
        open_reports: open_reports.clone(),
        cluster_name: config.cluster_name,
        retention: config.audit_results.retention,
        now: Box::new(Timestamp::now),
    };
    let stop = service.stop.clone();
    service.spawn("controller", controller::run(reconciler, gate.clone(), watches.clone(), stop));
    let exporter = Exporter {
        pods,
        namespaces,
        rollouts,
        drains,
        labels,
        policies,
        open_reports,
        gate,
        watches,
    };
    let at_scrape = exporter.clone();
    service.metrics.write_at_scrape(move |to| at_scrape.write_metrics(to));
    service.endpoints.get("/debug/state", move || exporter.state());
    Ok(())
}
