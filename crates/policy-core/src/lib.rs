//! The verdict engine of kube-devops.
//!
//! A verdict is a pure function of facts, policy and time:
//!
//! ```text
//! manifest bytes ─ manifest::read ─┐
//! API server JSON ─ view::PodView ─┴─ PodFacts ─┐
//! DevOpsPolicySpec ─ CompiledPolicy::compile ───┼─ evaluate ─ Evaluation ─ Tally ─ Score
//! now ──────────────────────────────────────────┘     │            └─ Verdict, Index
//!                                                     ├─ report: the model that policyctl renders
//! AdmissionReview ─ admission::Review ─ admit ────────┴─ admission::Verdict, answer
//! ```
//!
//! Nothing in this crate does I/O, waits, reads a clock, logs, or keeps global state. Bad input
//! is a value (an image that is not a reference, a document that cannot be read), so evaluating
//! cannot fail.

pub mod admission;
pub mod api;
pub mod bundle;
mod capped;
pub mod checks;
mod classification;
pub mod custom;
pub mod evaluate;
pub mod facts;
pub mod image;
pub mod index;
pub mod installation;
pub mod labels;
mod managed_fields;
pub mod manifest;
pub mod namespaces;
pub mod policy;
pub mod quantity;
pub mod remediation;
pub mod replicas;
pub mod report;
pub mod score;
pub mod severity;
pub mod text;
pub mod verdict;
pub mod view;
pub mod workload;

pub use k8s_openapi::jiff::Timestamp;
