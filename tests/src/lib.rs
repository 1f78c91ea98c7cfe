//! Real control planes for tests: etcd, kube-apiserver and, on request, controllers and nodes,
//! without containers.
//!
//! ```text
//! go, toolchain   the Go programs, built once into a cache         Program::path
//! processes       processes that end with their testbed            Processes
//! testbed         start of a control plane, kill of its API server Testbed::start
//! kubectl         changes of the cluster                           Testbed::kubectl, apply, namespace
//! identity        users with given permissions                     service_account, limited_user
//! kubelets        what a real kubelet needs                        Testbed::kubelet_kubeconfig
//! process_kubelet the platform's pods as processes                 Testbed::run_pods
//! owners          kubectl, Helm, Flux, Argo CD as they apply       Owner::apply
//! service         the platform's services beside it                Testbed::service
//! metrics, http   requests to a service                            Service::metrics, get
//! load            creations with one right answer each             Load::during
//! audit           requests to the API server                       Testbed::audit
//! rights          what RBAC grants, and what of it is needed        Testbed::rights
//! published       definitions of other projects                    Testbed::install_published
//! prometheus      scrapes the platform, and answers Grafana        Testbed::start_prometheus
//! exporter        kube-state-metrics, to measure ours beside it    Testbed::start_kube_state_metrics
//! flux            kustomize-controller, which applies deploy       Testbed::start_flux
//! ```
//!
//! The code is blocking: suites run `kubectl` and `policyctl` as users do.
#![expect(clippy::missing_errors_doc, reason = "each text says what can fail where that is news")]

mod api_server;
mod audit;
mod controllers;
mod exporter;
mod flux;
mod go;
mod http;
mod identity;
mod keys;
mod kubeconfig;
mod kubectl;
mod kubelets;
mod load;
mod metrics;
mod nodes;
mod owners;
mod poll;
mod process_kubelet;
mod processes;
mod programs;
mod progress;
mod prometheus;
mod published;
mod rights;
mod run;
mod service;
mod testbed;
mod tokens;
mod toolchain;

pub use audit::AuditedCall;
pub use flux::FLUX_DEFINITIONS;
pub use go::{Program, selected_release};
pub use http::{Address, trusting};
pub use keys::WEBHOOK_CLIENT;
pub use kubeconfig::client;
pub use kubelets::NODES;
pub use load::Load;
pub use metrics::{Metrics, Series};
pub use owners::Owner;
pub use poll::wait_for;
pub use process_kubelet::{ProcessKubelet, ReadyPod};
pub use processes::Signal;
pub use programs::{earlier_program, policyctl, released_program, root, service_binary};
pub use progress::say;
pub use prometheus::{
    Choices, OPERATOR_DEFINITIONS, PROMETHEUS_DEFINITIONS, PanelQuery, Prometheus, Surroundings,
    Viewed, hold_briefly,
};
pub use published::Published;
pub use rights::Rights;
pub use run::Run;
pub use service::{Launch, Service};
pub use testbed::{Parts, Testbed, shared};
