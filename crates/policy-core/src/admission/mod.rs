//! Admission: the answer of the webhook to a review, as a pure function of request and policies.
//!
//! ```text
//! bytes ─ Review::decode ─ Request ─┐
//! policies of the namespace ────────┴─ admit ─ AdmissionVerdict ─ answer ─ bytes
//! ```
//!
//! Where a request cannot be judged it is allowed, and the answer says so: each [`FailOpenReason`]
//! has its own metric label, and [`answer_fail_open`] makes the answer. One exception: what
//! whoever makes the request has caused ([`SelfCaused`]) is denied by its [`ReviewHead`].

mod admit;
mod compact;
mod custom;
mod elsewhere;
mod fail_open;
#[cfg(any(test, feature = "testing"))]
mod fuzz;
mod head;
mod introduced;
mod line;
mod mutation;
mod objects;
mod own_fields;
mod owner;
mod policies;
mod raw;
mod recreation;
mod request;
mod requester;
mod response;
mod review;
#[cfg(test)]
mod tests;
mod verdict;
mod wire;

pub use admit::{Creation, admit};
pub use fail_open::FailOpenReason;
#[cfg(any(test, feature = "testing"))]
pub use fuzz::fuzz;
pub use head::ReviewHead;
pub use mutation::{Injection, MutationRequest, MutationReview};
pub use policies::{NamedPolicy, NamespacePolicies};
pub use recreation::Recreation;
pub use request::{Operation, Request};
pub use requester::{CONTROLLER_ACCOUNTS, CONTROLLER_MANAGER, NODE_USERS, controllers_of};
pub use response::{
    SelfCaused, answer, answer_fail_open, answer_mutation, answer_self_caused, answer_unchanged,
};
pub use review::{Review, Undecodable};
pub use verdict::{AdmissionVerdict, Decision};

/// The key of the audit annotation with findings that were only recorded ([`Decision::Recorded`]).
pub const RECORDED: &str = "recorded-findings";
/// The key of the audit annotation with findings that are exempted ([`Decision::Exempted`]).
pub const EXEMPTED: &str = "exempted-findings";
/// The key of the audit annotation with the reason why a request was allowed without a complete
/// verdict.
pub const FAIL_OPEN: &str = "fail-open";

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
