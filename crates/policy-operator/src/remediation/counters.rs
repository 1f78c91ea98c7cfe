//! The counters of enforce mode, with labels from fixed lists.

use metrics::counter;
use policy_core::remediation::Reason;
use policy_kube::ErrorKind;
use strum::VariantArray as _;

use super::guard::RevertReason;
use crate::write_error::WriteError;
use policy_metrics::operator::{APPLIED, FAILED, PROPOSED, REVERTED};

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
    [APPLIED, FAILED, REVERTED, PROPOSED].iter().for_each(policy_runtime::metrics::describe);
    counter!(APPLIED.name).increment(0);
    for failure in Failure::VARIANTS {
        counter!(FAILED.name, "reason" => failure.as_str()).increment(0);
    }
    for reason in RevertReason::VARIANTS {
        counter!(REVERTED.name, "reason" => reason.as_str()).increment(0);
    }
    for code in Reason::CODES {
        counter!(PROPOSED.name, "reason" => *code).increment(0);
    }
}

pub(crate) fn applied() {
    counter!(APPLIED.name).increment(1);
}

pub(crate) fn failed(failure: Failure) {
    counter!(FAILED.name, "reason" => failure.as_str()).increment(1);
}

pub(crate) fn reverted(reason: RevertReason) {
    counter!(REVERTED.name, "reason" => reason.as_str()).increment(1);
}

/// `code` is one of [`Reason::CODES`].
pub(crate) fn proposed(code: &str) {
    if let Some(code) = Reason::CODES.iter().find(|known| **known == code) {
        counter!(PROPOSED.name, "reason" => *code).increment(1);
    }
}
