//! Why a request is allowed without a complete verdict.

use std::fmt;

use strum::VariantArray as _;

use super::line::Line;
use super::verdict::ANNOTATION;

/// Why a request is allowed although it was not judged, or not by all policies. Each reason has its
/// own count in `webhook_failopen_total`, so that a webhook that allows everything differs visibly
/// from one that finds nothing.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum FailOpenReason {
    /// The object, the old object or another part of the request has the wrong type.
    UnreadableObject,
    /// The initial list of policies is not complete yet.
    NotSynced,
    /// Deciding panicked.
    Panic,
    /// The decision took longer than the deadline.
    Deadline,
    /// A policy is invalid. The others were applied.
    InvalidPolicy,
    /// A custom check of a policy is refused, or has no result for the object. The others were
    /// applied.
    CustomCheck,
    /// The body holds no request, or one without a uid (HTTP 400).
    Unreadable,
    /// There were too many concurrent requests (HTTP 503).
    Overload,
    /// The body exceeds the limit (HTTP 413).
    TooLarge,
    /// The body did not arrive in time, or not completely.
    SlowBody,
    /// The caller did not present the API server's client certificate.
    Unauthenticated,
}

impl FailOpenReason {
    /// All reasons.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The reason as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The value of the audit annotation: the metric label, then the detail.
    pub(super) fn annotation(self, detail: &str) -> String {
        let line = Line { characters: ANNOTATION.bytes, bytes: ANNOTATION.bytes };
        line.cut(format!("{}: {detail}", self.as_str()))
    }
}

/// The reason as a clause for messages.
impl fmt::Display for FailOpenReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnreadableObject => "the object cannot be read",
            Self::NotSynced => "the policies have not been read yet",
            Self::Panic => "the policy webhook had an internal error",
            Self::Deadline => "the decision took too long",
            Self::InvalidPolicy => "a policy is invalid",
            Self::CustomCheck => "a custom check has no result",
            Self::Unreadable => "the request cannot be read",
            Self::Overload => "there are too many concurrent requests",
            Self::TooLarge => "the request is too large",
            Self::SlowBody => "the request did not arrive in time",
            Self::Unauthenticated => "the caller is not authenticated as the API server",
        })
    }
}
