//! The counters of enforce mode, with labels from fixed lists.

use metrics::{counter, describe_counter};
use policy_core::remediation::Reason;
use policy_kube::ErrorKind;
use strum::VariantArray as _;

use super::guard::RevertReason;
use crate::write_error::WriteError;

const APPLIED: &str = "enforcement_remediations_applied_total";
const FAILED: &str = "enforcement_remediations_failed_total";
const REVERTED: &str = "enforcement_remediations_reverted_total";
const PROPOSED: &str = "enforcement_remediations_proposed_total";

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
pub(crate) enum Failure {
    /// The workload changed meanwhile, or another field manager owns a field.
    Conflict,
    /// A permission is missing.
    Forbidden,
    /// Another admission plugin, such as a webhook or a quota, refused it.
    Denied,
    /// The API server considers the result invalid.
    Invalid,
    /// No answer.
    Unreachable,
    /// The API server answered, and the fields were not set.
    NotApplied,
    /// Another answer.
    Other,
}

impl Failure {
    pub(crate) fn of(error: &WriteError) -> Self {
        match error.kind() {
            Some(ErrorKind::Conflict) => Self::Conflict,
            Some(ErrorKind::Unauthorized) => Self::Forbidden,
            // As in `User "…" cannot patch resource "deployments" in API group "apps"`.
            Some(ErrorKind::Forbidden) if error.reason().contains(" cannot ") => Self::Forbidden,
            Some(ErrorKind::Forbidden) => Self::Denied,
            Some(ErrorKind::Invalid) if error.reason().contains("admission webhook") => {
                Self::Denied
            }
            Some(ErrorKind::Invalid) => Self::Invalid,
            Some(ErrorKind::Unreachable) => Self::Unreachable,
            _ => Self::Other,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Describes the counters and exports them with 0.
pub(crate) fn describe() {
    describe_counter!(APPLIED, "Workloads that were patched or injected into.");
    describe_counter!(FAILED, "Attempts to patch or release a workload that failed.");
    describe_counter!(REVERTED, "Remediations that were taken back because they did harm.");
    describe_counter!(PROPOSED, "Workloads that are not changed because that would not be safe.");
    counter!(APPLIED).increment(0);
    for failure in Failure::VARIANTS {
        counter!(FAILED, "reason" => failure.as_str()).increment(0);
    }
    for reason in RevertReason::VARIANTS {
        counter!(REVERTED, "reason" => reason.as_str()).increment(0);
    }
    for code in Reason::CODES {
        counter!(PROPOSED, "reason" => *code).increment(0);
    }
}

pub(crate) fn applied() {
    counter!(APPLIED).increment(1);
}

pub(crate) fn failed(failure: Failure) {
    counter!(FAILED, "reason" => failure.as_str()).increment(1);
}

pub(crate) fn reverted(reason: RevertReason) {
    counter!(REVERTED, "reason" => reason.as_str()).increment(1);
}

/// `code` is one of [`Reason::CODES`].
pub(crate) fn proposed(code: &str) {
    if let Some(code) = Reason::CODES.iter().find(|known| **known == code) {
        counter!(PROPOSED, "reason" => *code).increment(1);
    }
}
