//! What can go wrong with a cluster, each in one sentence.

use std::error::Error as _;
use std::time::Duration;

use kube::core::Status;

/// Something that a cluster did not do, and why.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {reason}")]
pub(crate) struct ClusterError {
    /// What was tried, such as `cannot list pods in namespace shop`.
    operation: String,
    reason: String,
    pub(crate) kind: Kind,
}

/// What a caller may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Not configured, not reachable, not trusted or not in time.
    Unreachable,
    /// 401: the server does not know who is asking.
    Unauthorized,
    /// 403: who is asking may not do this.
    Forbidden,
    /// 404.
    NotFound,
    /// 409: somebody else's change, or field.
    Conflict,
    /// 400 and 422: the object is refused for what it says.
    Invalid,
    /// 410: a list took so long that the server no longer has its version.
    Expired,
    /// Any other answer.
    Other,
}

impl ClusterError {
    /// The kubeconfig, or what it names, cannot be used.
    pub(crate) fn configuration(operation: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { operation: operation.into(), reason: reason.into(), kind: Kind::Unreachable }
    }

    /// No answer in time.
    pub(crate) fn timeout(operation: impl Into<String>, after: Duration) -> Self {
        Self::configuration(operation, format!("no answer within {} s", after.as_secs()))
    }

    /// A request that failed.
    pub(crate) fn of(operation: impl Into<String>, error: &kube::Error) -> Self {
        let (kind, reason) = match error {
            kube::Error::Api(status) => (kind(status), api_reason(status)),
            other => (Kind::Unreachable, connection_reason(other)),
        };
        Self { operation: operation.into(), reason, kind }
    }

    /// A body that ended early.
    pub(crate) fn interrupted(operation: impl Into<String>, error: &std::io::Error) -> Self {
        Self::configuration(operation, format!("the connection broke off: {}", root_cause(error)))
    }

    /// Why, without what was tried.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }
}

fn kind(status: &Status) -> Kind {
    match status.code {
        401 => Kind::Unauthorized,
        403 => Kind::Forbidden,
        404 => Kind::NotFound,
        409 => Kind::Conflict,
        400 | 422 => Kind::Invalid,
        410 => Kind::Expired,
        500 if untyped(status).is_some() => Kind::Invalid,
        _ => Kind::Other,
    }
}

/// What server-side apply says of an object that does not fit its schema: the API server answers
/// 500 where it means 422 (kubernetes/kubernetes, `managedfields/internal/structuredmerge.go`).
fn untyped(status: &Status) -> Option<&str> {
    let rest = status.message.strip_prefix("failed to create typed patch object (")?;
    rest.split_once("): ").map(|(_, problem)| problem)
}

fn api_reason(status: &Status) -> String {
    match status.code {
        401 => {
            "the server does not accept the credentials (401 Unauthorized); they may have expired"
                .to_owned()
        }
        code if status.message.is_empty() => format!("the server answered with status {code}"),
        // The server's own sentences, on one line.
        _ => untyped(status)
            .unwrap_or(&status.message)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
    }
}

/// The innermost error says what happened; those around it only where.
fn connection_reason(error: &kube::Error) -> String {
    let cause = match error.source() {
        Some(source) => root_cause(source),
        None => error.to_string(),
    };
    match cause.strip_prefix("invalid peer certificate: ") {
        Some("UnknownIssuer") => "the server's certificate is from an unknown issuer; \
             check certificate-authority in the kubeconfig"
            .to_owned(),
        Some(problem) => format!("the server's certificate is not valid: {problem}"),
        None if cause == "deadline has elapsed" => "the connection timed out".to_owned(),
        None => cause,
    }
}

fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = inner(cause) {
        cause = source;
    }
    cause.to_string()
}

/// An `io::Error` gives the source of what it wraps, and so hides what it wraps.
fn inner<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a (dyn std::error::Error + 'static)> {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    match wrapped {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}
