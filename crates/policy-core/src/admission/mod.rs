//! Admission: what the webhook says to a request, as a pure function of request and policies.
//!
//! ```text
//! bytes ─ Review::read ─ Request ─┐
//! policies of the namespace ──────┴─ admit ─ Verdict ─ answer ─ bytes
//! ```
//!
//! Whatever goes wrong, the answer is to let the object in and to say so: each such [`Doubt`] has
//! its own reason for the metric, and [`answer_in_doubt`] makes the answer.

mod answer;
mod compact;
mod controllers;
mod doubt;
#[cfg(any(test, feature = "testing"))]
mod fuzz;
mod judge;
mod line;
mod review;
#[cfg(test)]
mod tests;
mod verdict;
mod wire;

pub use controllers::CONTROLLER_MANAGER;

pub use answer::{answer, answer_in_doubt};
pub use doubt::Doubt;
#[cfg(any(test, feature = "testing"))]
pub use fuzz::fuzz;
pub use judge::{NamedPolicy, admit};
pub use review::{Operation, Request, Review, Unreadable};
pub use verdict::{Decision, Verdict};

/// The key of the audit annotation that names what pods and workloads of the cluster's own
/// controllers were let in with.
pub const LET_IN: &str = "let-in";
/// The key of the audit annotation that says why an object was let in without a full verdict.
pub const IN_DOUBT: &str = "in-doubt";
