//! Why a request failed, in a sentence.

use std::error::Error as _;
use std::time::Duration;

use kube::client::AuthError;
use tokio::time::Instant;

/// How long the same failure of the same operation is not told again.
const QUIET: Duration = Duration::from_secs(30);

/// A request that failed.
#[derive(Debug)]
pub(super) struct Failure {
    kind: Kind,
    cause: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Timeout,
    Connection,
    /// The server's answer, by HTTP status.
    Status(u16),
}

impl Failure {
    pub(super) fn timeout() -> Self {
        Self { kind: Kind::Timeout, cause: "no answer in time".to_owned() }
    }

    pub(super) fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.message.is_empty() => Self {
                kind: Kind::Status(status.code),
                cause: format!("the server answered with status {}", status.code),
            },
            kube::Error::Api(status) => {
                Self { kind: Kind::Status(status.code), cause: one_line(&status.message) }
            }
            other => Self { kind: Kind::Connection, cause: one_line(&connection(other)) },
        }
    }

    pub(super) fn is_missing(&self) -> bool {
        self.kind == Kind::Status(404)
    }

    pub(super) fn is_conflict(&self) -> bool {
        self.kind == Kind::Status(409)
    }
}

/// The innermost error says what happened. What an authentication error holds may be a secret.
fn connection(error: &kube::Error) -> String {
    match error {
        kube::Error::Auth(AuthError::ReadTokenFile(error, path)) => {
            return format!("the token file {} cannot be read: {error}", path.display());
        }
        kube::Error::Auth(_) => return "there are no credentials for the server".to_owned(),
        kube::Error::SerdeError(_) => return "the answer is not a Lease".to_owned(),
        _ => {}
    }
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(|cause| cause.source()) {
        cause = Some(inner);
    }
    cause.map_or_else(|| error.to_string(), ToString::to_string)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What was told within the last [`QUIET`], so that an outage does not fill the log.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    told: Vec<(&'static str, Kind, Instant)>,
}

impl Complaints {
    /// Warns that `operation` failed on `object`, unless that was just said.
    pub(super) fn warn(&mut self, operation: &'static str, object: &str, failure: &Failure) {
        let now = Instant::now();
        self.told.retain(|(.., when)| now < *when + QUIET);
        let is_same = |told: &(_, _, _)| told.0 == operation && told.1 == failure.kind;
        if self.told.iter().any(is_same) {
            tracing::debug!("cannot {operation} {object}: {}", failure.cause);
        } else {
            self.told.push((operation, failure.kind, now));
            tracing::warn!("cannot {operation} {object}: {}", failure.cause);
        }
    }
}
