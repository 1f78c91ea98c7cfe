//! Why something is let in without a full verdict.

use std::fmt;

/// A reason to let an object in although nobody knows whether it is wanted. Each is counted for
/// itself: a webhook that lets everything in shall not look like one that finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Doubt {
    /// The object, the one it replaces or the rest of the request is not of its type.
    UnreadableObject,
    /// The policies were not read yet.
    NotSynced,
    /// Judging panicked.
    Panic,
    /// There was no answer in time.
    Deadline,
    /// A policy is invalid and was left out; the others were judged by.
    InvalidPolicy,
    /// There is no request in the body, or none that says to whom to answer (HTTP 400).
    Unreadable,
    /// There were too many requests at once (HTTP 503).
    Overload,
    /// The body is over the limit (HTTP 413).
    TooLarge,
    /// The body did not come in time, or not whole.
    SlowBody,
    /// The caller did not show that it is the API server.
    Unauthenticated,
}

impl Doubt {
    /// All reasons.
    pub const ALL: [Self; 10] = [
        Self::UnreadableObject,
        Self::NotSynced,
        Self::Panic,
        Self::Deadline,
        Self::InvalidPolicy,
        Self::Unreadable,
        Self::Overload,
        Self::TooLarge,
        Self::SlowBody,
        Self::Unauthenticated,
    ];

    /// The reason as a metric's label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnreadableObject => "unreadable_object",
            Self::NotSynced => "not_synced",
            Self::Panic => "panic",
            Self::Deadline => "deadline",
            Self::InvalidPolicy => "invalid_policy",
            Self::Unreadable => "unreadable",
            Self::Overload => "overload",
            Self::TooLarge => "too_large",
            Self::SlowBody => "slow_body",
            Self::Unauthenticated => "unauthenticated",
        }
    }
}

/// The reason as a sentence for people, without the full stop.
impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnreadableObject => "the object cannot be read",
            Self::NotSynced => "the policies are not known yet",
            Self::Panic => "the policy webhook failed",
            Self::Deadline => "judging it took too long",
            Self::InvalidPolicy => "a policy is invalid",
            Self::Unreadable => "the request cannot be read",
            Self::Overload => "there are too many requests",
            Self::TooLarge => "the request is too large",
            Self::SlowBody => "the request did not come in time",
            Self::Unauthenticated => "the caller is not known as the API server",
        })
    }
}
