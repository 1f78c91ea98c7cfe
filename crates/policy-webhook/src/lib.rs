//! Judges pods and workloads at the door of the cluster.
//!
//! ```text
//! watch of policies ─ PolicyView ─ PolicySet, swapped whole ─┐ one load for each request
//! POST /validate ─ Review ─ Request ─────────────────────────┴─ admit ─ Verdict ─ answer
//! ```
//!
//! Beside that it issues its own certificate, where nobody brings one along, and tells the API server
//! which authority to trust it by.
//!
//! Whatever goes wrong, the answer is to allow: a webhook that cannot judge must not keep a cluster
//! from healing itself. Each such answer says so, and has its own reason in the metrics.

mod certificate;
mod config;
mod policies;
mod publish;
#[cfg(feature = "testing")]
pub mod testing;
mod validate;

use std::process::ExitCode;

use policy_core::view::PolicyView;
use policy_runtime::client;
use policy_runtime::config::About;
use policy_runtime::service::{self, Service};
use policy_runtime::watch::Target;

use certificate::SelfManaged;
pub use config::{AdmissionConfig, CertificateConfig, Config};
use policies::Policies;
use publish::{Counters, Publisher};
use validate::{Engine, Judge, Validator};

const ABOUT: About = About {
    name: "policy-webhook",
    version: env!("CARGO_PKG_VERSION"),
    about: "Judges pods and workloads at the door of the cluster",
    histograms: publish::HISTOGRAMS,
};

const POLICIES: Target = Target {
    kind: "DevOpsPolicy",
    plural: "policies",
    path: "/apis/devops.stochastic.io/v1/devopspolicies",
};

/// Runs the webhook until it is told to stop.
#[must_use]
pub fn run() -> ExitCode {
    run_with(Engine)
}

/// The same, with somebody else to decide.
fn run_with(judge: impl Judge) -> ExitCode {
    service::main::<Config>(ABOUT, async |service| start(service, judge).await)
}

async fn start(service: &mut Service<Config>, judge: impl Judge) -> anyhow::Result<()> {
    let config = service.config.clone();
    let client = client::connect(&config.runtime.kube).await?;
    if let (None, Some(store)) = (&config.tls.cert, &service.certificates) {
        let managed = SelfManaged::new(client.clone(), &config.certificate, store.clone());
        service.spawn_until_stop("own certificate", managed.run());
    }
    let counters = Counters::new();
    let (policies, sink) = Policies::new();
    let watch = service.watch::<PolicyView, _>(&client, POLICIES, sink);
    let publisher = Publisher { policies: policies.clone(), watch };
    service.endpoints.get("/debug/state", move || publisher.state());
    // It is there for as long as the process: a request that counted its use would take a piece of
    // memory away from all others, twice.
    let validator: &'static _ = Box::leak(Box::new(Validator {
        judge,
        policies,
        counters: counters.clone(),
        excluded: config.excluded(),
        needs_certificate: config.tls.client_ca.is_some(),
    }));
    let refused = move |refusal| counters.fail_open(publish::reason(refusal));
    let limits = config.admission.limits();
    service.endpoints.post("/validate", limits, refused, |posted| validator.answer(posted));
    Ok(())
}
