//! What can go wrong with a call to an API server, each in one sentence.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use kube::client::AuthError;
use kube::core::Status;
use tower::BoxError;

/// The reason that kube-client writes into the `Status` of an answer that is none
/// (kube-client 5.0, `client/mod.rs`, `handle_api_errors`).
pub(crate) const NOT_A_STATUS: &str = "Failed to parse error data";
/// What API servers answer to a path that they do not serve, as plain text.
const NO_SUCH_PATH: &str = "404 page not found";
/// The longest reason, in characters.
const LONGEST_REASON: usize = 1000;

/// A failed operation on a cluster, with its cause.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {reason}")]
pub struct ClusterError {
    /// The operation, such as `cannot list pods in namespace shop`.
    operation: String,
    reason: String,
    /// By which a caller distinguishes causes.
    pub kind: ErrorKind,
}

/// The kind of a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Not configured, not reachable, not trusted or no answer by the deadline.
    Unreachable,
    /// 401: the server does not accept the credentials.
    Unauthorized,
    /// 403: the user lacks the permission.
    Forbidden,
    /// 403 where the namespace is being deleted, so nothing can be created in it.
    NamespaceTerminating,
    /// 404.
    NotFound,
    /// 409: the object changed meanwhile, or another field manager owns a field.
    Conflict,
    /// 400, 413 and 422: the object is invalid or too large.
    Invalid,
    /// 410: the server no longer has the resource version.
    Expired,
    /// Any other answer.
    Other,
}

/// Runs a call with a deadline.
///
/// # Errors
/// The call failed, or did not end in time.
pub async fn with_deadline<T>(
    limit: Duration,
    operation: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, ClusterError> {
    match tokio::time::timeout(limit, call).await {
        Err(_) => Err(ClusterError::timeout(operation, limit)),
        Ok(result) => result.map_err(|error| ClusterError::of(operation, &error)),
    }
}

impl ClusterError {
    /// A list is longer than what is read of it.
    pub(crate) fn too_many(operation: &str, most: usize) -> Self {
        let reason = format!("there are more than {most} objects");
        Self { operation: operation.to_owned(), reason, kind: ErrorKind::Other }
    }

    /// The kubeconfig, or what it names, cannot be used.
    pub fn configuration(operation: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { operation: operation.into(), reason: reason.into(), kind: ErrorKind::Unreachable }
    }

    /// No answer in time.
    pub fn timeout(operation: impl Into<String>, after: Duration) -> Self {
        let seconds = (after.as_secs_f64() * 10.0).round() / 10.0;
        Self::configuration(operation, format!("no usable answer within {seconds} s"))
    }

    /// A request that failed.
    pub fn of(operation: impl Into<String>, error: &kube::Error) -> Self {
        Self { operation: operation.into(), reason: reason(error), kind: ErrorKind::of(error) }
    }

    /// A body that ended early.
    pub fn interrupted(operation: impl Into<String>, error: &std::io::Error) -> Self {
        Self::configuration(operation, format!("the connection broke off: {}", root_cause(error)))
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn and(mut self, advice: &str) -> Self {
        self.reason = format!("{}; {advice}", self.reason);
        self
    }

    /// Adds how to install a missing credential plugin, where the kubeconfig says so.
    pub(crate) fn or_install(self, error: &kube::Error, hint: Option<&str>) -> Self {
        match (error, hint) {
            (kube::Error::Auth(AuthError::AuthExecStart(_)), Some(hint)) => {
                self.and(&hint.split_whitespace().collect::<Vec<_>>().join(" "))
            }
            _ => self,
        }
    }

    /// The cause, without the operation.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl ErrorKind {
    /// The kind of a request's failure.
    #[must_use]
    pub fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => kind(status),
            _ => Self::Unreachable,
        }
    }
}

/// Why a call failed, in one line: the server's own words, else the innermost cause.
#[must_use]
pub fn reason(error: &kube::Error) -> String {
    let mut reason = match error {
        kube::Error::Api(status) => api_reason(status),
        kube::Error::Service(inner) => match inner.downcast_ref::<AtServer>() {
            Some(at) => format!("{} (API server {})", at.reason(), at.server),
            None => connection_reason(error),
        },
        other => connection_reason(other),
    };
    if let Some((end, _)) = reason.char_indices().nth(LONGEST_REASON) {
        reason.truncate(end);
        reason.push('…');
    }
    reason
}

/// A connection error with the address of the server, which "connection refused" alone lacks.
#[derive(Debug)]
pub(crate) struct AtServer {
    server: String,
    error: BoxError,
}

impl AtServer {
    pub(crate) fn wrap(server: &str, error: BoxError) -> BoxError {
        Box::new(Self { server: server.to_owned(), error })
    }

    fn reason(&self) -> String {
        match self.error.downcast_ref::<kube::Error>() {
            Some(error) => connection_reason(error),
            None => cause_reason(root_cause(&*self.error)),
        }
    }
}

impl fmt::Display for AtServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (API server {})", self.reason(), self.server)
    }
}

impl Error for AtServer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.error)
    }
}

/// Plain text from a server that is not an API server is shown up to this length.
const LONGEST_FOREIGN: usize = 100;

/// Whether the answer comes from another server than an API server, such as a proxy. An API server
/// answers plain text only for a path that it does not serve.
fn is_foreign(status: &Status) -> bool {
    status.reason == NOT_A_STATUS && status.message != NO_SUCH_PATH
}

fn kind(status: &Status) -> ErrorKind {
    match status.code {
        _ if is_foreign(status) => ErrorKind::Other,
        401 => ErrorKind::Unauthorized,
        403 if is_namespace_terminating(status) => ErrorKind::NamespaceTerminating,
        403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        400 | 413 | 422 => ErrorKind::Invalid,
        410 => ErrorKind::Expired,
        500 if untyped(status).is_some() => ErrorKind::Invalid,
        _ => ErrorKind::Other,
    }
}

/// The API server names the cause, so that clients need not read the message
/// (<https://github.com/kubernetes/kubernetes/blob/v1.37.0/staging/src/k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle/admission.go>).
fn is_namespace_terminating(status: &Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    causes.any(|cause| cause.reason == "NamespaceTerminating")
}

/// The error of server-side apply for an object that does not match its schema: the API server answers
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
        404 if status.message == NO_SUCH_PATH => "the server does not serve this path (404); \
             is the CustomResourceDefinition installed?"
            .to_owned(),
        code if status.message.is_empty() => format!("the server answered with status {code}"),
        // The message of the server, on one line.
        _ => untyped(status)
            .unwrap_or(&status.message)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
    }
}

/// The innermost error says what happened, the outer ones only where. The output of a credential
/// plugin is not shown: it may hold a token.
fn connection_reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Auth(error) => return credentials_reason(error),
        kube::Error::SerdeError(_) => {
            return "the server answers, but not as Kubernetes does".to_owned();
        }
        kube::Error::InferKubeconfig(error) => return error.to_string(),
        _ => {}
    }
    cause_reason(match error.source() {
        Some(source) => root_cause(source),
        None => error.to_string(),
    })
}

fn cause_reason(cause: String) -> String {
    match cause.strip_prefix("invalid peer certificate: ") {
        Some("UnknownIssuer") => "the server's certificate is from an unknown issuer; \
             check certificate-authority in the kubeconfig"
            .to_owned(),
        Some(problem) => {
            // `DnsName("a.example")` and `IpAddress(127.0.0.1)` are plain names to everybody else, and
            // `Other(OtherError(CaUsedAsEndEntity))` is a plain reason.
            let types = ["DnsName(", "IpAddress(", "OtherError(", "Other(", ")"];
            let problem = types.iter().fold(problem.to_owned(), |text, of| text.replace(of, ""));
            format!("the server's certificate is not valid: {problem}")
        }
        // rustls-platform-verifier 0.7, `verification/others.rs`.
        None if cause.ends_with("No CA certificates were loaded from the system") => {
            "there are no root certificates here, by which the server's would be checked; set \
             certificate-authority in the kubeconfig, or the variable SSL_CERT_FILE to a file of root \
             certificates"
                .to_owned()
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

/// Why there are no credentials. The standard error of a plugin is meant for the user.
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

fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = inner(cause) {
        cause = source;
    }
    cause.to_string()
}

/// `io::Error::source` returns the source of the wrapped error, and so skips the wrapped error.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    match wrapped {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}
