//! The admission webhook: judges pods and workloads before the API server stores them.
//!
//! ```text
//! watches of policies and namespaces ─ PolicySet, swapped atomically ─┬─ loaded once per request
//! POST /validate ─ Review ─ Request ──────────────────────────────────┤─ admit ─ verdict ─ answer
//! POST /mutate ─ MutationReview ─ MutationRequest ────────────────────┴─ patch ─ answer
//! ```
//!
//! It also issues its own certificate, unless one is configured, and publishes its CA in the webhook
//! configuration.
//!
//! It fails open: a webhook that cannot judge must not keep a cluster from healing itself. Each such
//! answer names its reason, which is also a metric label.

mod certificate;
mod config;
mod debug;
mod lane;
mod metrics;
mod mutate;
mod policies;
#[cfg(feature = "testing")]
pub mod testing;
mod validate;

use std::process::ExitCode;

use policy_core::view::{ClusterPolicyView, NamespaceView, PolicyView};
use policy_core::workload;
use policy_runtime::client;
use policy_runtime::config::About;
use policy_runtime::service::{self, Service};
use policy_runtime::watch::Target;

use certificate::CertificateRotation;
pub use config::{AdmissionConfig, CertificateConfig, Config};
use lane::Lane;
use metrics::Counters;
use policies::Policies;
use validate::{Engine, Judge, Validator};

const ABOUT: About = About {
    name: "policy-webhook",
    version: env!("CARGO_PKG_VERSION"),
    about: "Judges pods and workloads at admission",
    histograms: metrics::HISTOGRAMS,
};

const POLICIES: Target = Target {
    kind: "DevOpsPolicy",
    plural: "policies",
    path: "/apis/devops.stochastic.io/v1/devopspolicies",
    is_optional: false,
};

/// A cluster whose definitions are older has none of them.
const CLUSTER_POLICIES: Target = Target {
    kind: "ClusterDevOpsPolicy",
    plural: "cluster policies",
    path: "/apis/devops.stochastic.io/v1/clusterdevopspolicies",
    is_optional: true,
};

const NAMESPACES: Target = Target {
    kind: "Namespace",
    plural: "namespaces",
    path: "/api/v1/namespaces",
    is_optional: false,
};

/// Runs the webhook until a signal stops it.
#[must_use]
pub fn run() -> ExitCode {
    run_with(Engine)
}

/// The same with another judge.
fn run_with(judge: impl Judge) -> ExitCode {
    service::main::<Config>(ABOUT, async |service| start(service, judge).await)
}

async fn start(service: &mut Service<Config>, judge: impl Judge) -> anyhow::Result<()> {
    let config = service.config.clone();
    // Before the first request.
    workload::configure(&config.workload_kinds)?;
    let client = client::connect(&config.runtime.kube).await?;
    if let (None, Some(store)) = (&config.tls.cert, &service.certificates) {
        let rotation = CertificateRotation::new(client.clone(), &config.certificate, store.clone());
        service.spawn_until_stop("certificate rotation", rotation.run());
    }
    let counters = Counters::new();
    let (policies, sinks) = Policies::new(config.excluded());
    let watches = [
        service.watch::<PolicyView, _>(&client, POLICIES, sinks.policies),
        service.watch::<ClusterPolicyView, _>(&client, CLUSTER_POLICIES, sinks.cluster),
        service.watch::<NamespaceView, _>(&client, NAMESPACES, sinks.namespaces),
    ];
    let shown = policies.clone();
    service.endpoints.get("/debug/state", move || debug::state(&shown, &watches));
    // Leaked, as it lives as long as the process: the reference count of an `Arc` would be contended
    // by all requests.
    let validator: &'static _ = Box::leak(Box::new(Validator {
        judge,
        policies,
        counters: counters.clone(),
        excluded: config.excluded(),
        lane: Lane::new(config.admission.concurrency.into()),
        needs_certificate: config.tls.client_ca.is_some(),
    }));
    let refused = move |refusal| counters.fail_open(metrics::fail_open_reason(refusal));
    let limits = config.admission.limits();
    service.endpoints.post("/validate", limits, refused.clone(), |posted| validator.answer(posted));
    service.endpoints.post("/mutate", limits, refused, |posted| validator.mutate(posted));
    Ok(())
}
