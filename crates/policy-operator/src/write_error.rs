//! Writes that failed, and when they are retried.

use std::time::Duration;

use policy_kube::{ClusterError, ErrorKind};
use policy_runtime::backoff::Backoff;

/// A write that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The lease expired or was lost. Has the operation.
    #[error("{0}: this replica does not hold the lease")]
    NotLeader(String),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// The classes of failures, by when a retry makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum ErrorClass {
    /// The object was changed at the same time.
    Conflict,
    /// A permission is missing.
    Forbidden,
    /// The API server will never accept this object.
    Invalid,
    /// Anything else, which a retry may resolve.
    Transient,
    /// Another replica is the leader.
    NotLeader,
}

impl ErrorClass {
    /// The value of the label `class`.
    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }

    /// The delays between retries.
    pub(crate) fn backoff(self) -> Backoff {
        let (first, longest) = match self {
            Self::Conflict => (Duration::from_millis(100), Duration::from_secs(15)),
            // A suspended process may hold the lease again without a notification.
            Self::Transient | Self::NotLeader => (Duration::from_secs(1), Duration::from_secs(90)),
            Self::Forbidden => (Duration::from_secs(10), Duration::from_secs(300)),
            Self::Invalid => (Duration::from_secs(30), Duration::from_secs(300)),
        };
        Backoff::new(first, longest)
    }
}

impl WriteError {
    pub(crate) fn class(&self) -> ErrorClass {
        match self.kind() {
            None => ErrorClass::NotLeader,
            Some(ErrorKind::Conflict) => ErrorClass::Conflict,
            Some(ErrorKind::Forbidden | ErrorKind::Unauthorized) => ErrorClass::Forbidden,
            Some(ErrorKind::Invalid) => ErrorClass::Invalid,
            Some(_) => ErrorClass::Transient,
        }
    }

    /// The cause in the words of the API server.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::NotLeader(_) => "this replica does not hold the lease",
            Self::Cluster(error) => error.reason(),
        }
    }

    /// The kind of the API error; `None` if no request was sent.
    pub(crate) fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::NotLeader(_) => None,
            Self::Cluster(error) => Some(error.kind),
        }
    }

    /// Whether the object or its namespace is gone or being deleted, so that nothing is left to
    /// write.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.kind(), Some(ErrorKind::NotFound | ErrorKind::NamespaceTerminating))
    }
}
