//! What can go wrong with a cluster, each in one sentence.

use std::error::Error as _;
use std::time::Duration;

use kube::client::AuthError;
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
        Self::configuration(operation, format!("no usable answer within {} s", after.as_secs()))
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

    /// The same, with what the user can do about it.
    pub(super) fn and(mut self, advice: &str) -> Self {
        self.reason = format!("{}; {advice}", self.reason);
        self
    }

    /// The same, with how to get a credential plugin that is not there, where the kubeconfig says.
    pub(super) fn or_install(self, error: &kube::Error, hint: Option<&str>) -> Self {
        match (error, hint) {
            (kube::Error::Auth(AuthError::AuthExecStart(_)), Some(hint)) => {
                self.and(&hint.split_whitespace().collect::<Vec<_>>().join(" "))
            }
            _ => self,
        }
    }

    /// Why, without what was tried.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }
}

/// A plain sentence of a server that is none of Kubernetes is shown up to this length.
const LONGEST_FOREIGN: usize = 100;

/// Whether something else than an API server gave the answer: a proxy, say. A path that an API
/// server does not have gets a plain text of its own.
fn is_foreign(status: &Status) -> bool {
    status.reason == "Failed to parse error data" && status.message != "404 page not found"
}

fn kind(status: &Status) -> Kind {
    match status.code {
        _ if is_foreign(status) => Kind::Other,
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
        code if is_foreign(status) => {
            let first = status.message.lines().next().unwrap_or_default();
            if first.contains('<') || first.len() > LONGEST_FOREIGN {
                format!("the server answers with status {code}, and not as Kubernetes does")
            } else {
                format!("the server answers with status {code}: {first}")
            }
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

/// The innermost error says what happened; those around it only where. Texts that would show what
/// a credential plugin printed are not taken over: that may be a token.
fn connection_reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Auth(error) => return credentials_reason(error),
        kube::Error::SerdeError(_) => {
            return "the server answers, but not as Kubernetes does".to_owned();
        }
        kube::Error::InferKubeconfig(error) => return error.to_string(),
        _ => {}
    }
    let cause = match error.source() {
        Some(source) => root_cause(source),
        None => error.to_string(),
    };
    match cause.strip_prefix("invalid peer certificate: ") {
        Some("UnknownIssuer") => "the server's certificate is from an unknown issuer; \
             check certificate-authority in the kubeconfig"
            .to_owned(),
        Some(problem) => {
            // `DnsName("a.example")` and `IpAddress(127.0.0.1)` are plain names to everybody else.
            let problem = problem.replace("DnsName(", "").replace("IpAddress(", "");
            format!("the server's certificate is not valid: {}", problem.replace(')', ""))
        }
        None if cause == "deadline has elapsed" => "the connection timed out".to_owned(),
        None if cause == "tls handshake eof" => {
            "the connection was closed during the TLS handshake".to_owned()
        }
        None if cause == "invalid HTTP version parsed" => {
            "the server does not speak HTTP".to_owned()
        }
        None if cause.contains("InvalidContentType") => {
            "the server does not speak TLS; does it want http:// instead?".to_owned()
        }
        None => cause,
    }
}

/// Why there are no credentials. What a plugin wrote to standard error is meant for the user.
fn credentials_reason(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecRun { out, .. } => {
            let text = String::from_utf8_lossy(&out.stderr);
            let last = text.lines().rev().find(|line| !line.trim().is_empty());
            match last {
                Some(line) => format!("failed ({}): {line}", out.status),
                None => format!("failed ({})", out.status),
            }
        }
        AuthError::AuthExecStart(error) => format!("does not start: {error}"),
        AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed => {
            "printed no ExecCredential".to_owned()
        }
        AuthError::ReadTokenFile(error, path) => {
            format!("the token file {} cannot be read: {error}", path.display())
        }
        other => other.to_string(),
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
