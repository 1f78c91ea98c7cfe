//! Writes that failed, and when they are retried.

use std::time::Duration;

use policy_runtime::backoff::Backoff;
use policy_runtime::client::reason;

use crate::policy_key::PolicyKey;

/// A write that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} policy {policy}: {cause}")]
pub(crate) struct WriteError {
    /// Such as `write the status of`.
    pub(crate) operation: &'static str,
    pub(crate) policy: PolicyKey,
    pub(crate) cause: Cause,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error("{}", reason(.0))]
    Request(Box<kube::Error>),
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    #[error("this replica does not hold the lease")]
    NotLeader,
}

/// The classes of failures, by when a retry makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ErrorClass {
    /// The object was changed at the same time.
    Conflict,
    /// A permission is missing.
    Forbidden,
    /// The API server will never accept this object.
    Invalid,
    /// Anything that may be over soon.
    Transient,
    /// Another replica is the leader.
    NotLeader,
}

impl ErrorClass {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::Conflict, Self::Forbidden, Self::Invalid, Self::Transient, Self::NotLeader];

    /// The value of the label `class`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Forbidden => "forbidden",
            Self::Invalid => "invalid",
            Self::Transient => "transient",
            Self::NotLeader => "not_leader",
        }
    }

    /// The delays between retries.
    pub(crate) fn backoff(self) -> Backoff {
        let (first, longest) = match self {
            Self::Conflict => (Duration::from_millis(100), Duration::from_secs(15)),
            // A process that was suspended may get the lease back without a notification.
            Self::Transient | Self::NotLeader => (Duration::from_secs(1), Duration::from_secs(90)),
            Self::Forbidden => (Duration::from_secs(10), Duration::from_secs(300)),
            Self::Invalid => (Duration::from_secs(30), Duration::from_secs(300)),
        };
        Backoff::new(first, longest)
    }
}

impl WriteError {
    pub(crate) fn class(&self) -> ErrorClass {
        match (&self.cause, self.code()) {
            (Cause::NotLeader, _) => ErrorClass::NotLeader,
            (_, Some(409)) => ErrorClass::Conflict,
            (_, Some(401 | 403)) => ErrorClass::Forbidden,
            (_, Some(400 | 413 | 422)) => ErrorClass::Invalid,
            _ => ErrorClass::Transient,
        }
    }

    /// The status code of the API server's answer.
    pub(crate) fn code(&self) -> Option<u16> {
        self.answer().map(|status| status.code)
    }

    /// Whether the object or its namespace is gone or being deleted, so that nothing is left to
    /// write.
    pub(crate) fn is_gone(&self) -> bool {
        self.code() == Some(404) || self.is_namespace_terminating()
    }

    /// Whether nothing can be created because the namespace is being deleted: a 403 like that of a
    /// missing permission, but for its cause
    /// (<https://github.com/kubernetes/kubernetes/blob/v1.37.0/staging/src/k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle/admission.go>).
    pub(crate) fn is_namespace_terminating(&self) -> bool {
        let causes = self.answer().and_then(|status| status.details.as_ref());
        causes.is_some_and(|details| {
            details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
        })
    }

    fn answer(&self) -> Option<&kube::core::Status> {
        match &self.cause {
            Cause::Request(error) => match &**error {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            _ => None,
        }
    }
}
