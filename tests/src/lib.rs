//! Real control planes for tests: etcd, kube-apiserver and, on request, controllers and nodes,
//! without containers and without a cluster.
//!
//! ```text
//! go, toolchain   the Go programs, built once into a cache        Program::path
//! processes       programs that end with their testbed            Processes
//! testbed         start and ready, API server killed and back     Testbed::start
//! kubectl         what a suite does to the cluster                 Testbed::kubectl, apply, namespace
//! identity        who it does it as                                service_account, limited_user
//! service         the platform's services beside it                Testbed::service
//! metrics, http   what a service answers                           Service::metrics, get
//! audit           what the API server saw                          Testbed::audit
//! ```
//!
//! All of it is plain, blocking code: suites run `kubectl` and `policyctl` as their users do.
#![expect(clippy::missing_errors_doc, reason = "each text says what can fail where that is news")]

mod api_server;
mod audit;
mod controllers;
mod go;
mod http;
mod identity;
mod keys;
mod kubeconfig;
mod kubectl;
mod metrics;
mod nodes;
mod poll;
mod processes;
mod programs;
mod progress;
mod run;
mod service;
mod testbed;
mod tokens;
mod toolchain;

pub use audit::AuditedCall;
pub use go::Program;
pub use http::{Address, trusting};
pub use keys::WEBHOOK_CLIENT;
pub use metrics::{Metrics, Series};
pub use poll::wait_for;
pub use processes::Signal;
pub use programs::{policyctl, released_policyctl, released_service_binary, service_binary};
pub use progress::say;
pub use run::Run;
pub use service::{Launch, Service};
pub use testbed::{Parts, Testbed, shared};
