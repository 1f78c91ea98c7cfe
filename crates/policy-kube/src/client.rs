//! Building a client: credentials, deadlines, and what is tried again.

use std::path::Path;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use kube::client::ClientBuilder;
use kube::client::retry::RetryPolicy;
use kube::{Client, Config};
use tower::BoxError;
use tower::buffer::BufferLayer;
use tower::retry::RetryLayer;
use tower::util::{MapErrLayer, MapRequestLayer};

use crate::ClusterError;
use crate::error::AtServer;
use crate::token::TokenFile;

/// The deadline of a TCP connection with its TLS handshake.
const CONNECT: Duration = Duration::from_secs(5);
/// Calls that may wait; no command sends more at a time.
const WAITING: usize = 64;

/// What differs between a service and a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// For services, which have their own deadlines and backoff. Errors name the server.
    Never,
    /// For commands: three times within about two seconds, or when the server asks for it. kube-client's default
    /// is 15 times with delays of up to 1000 s (kube-client 5.0, `Config::default_retry`): a
    /// deadline ends that, and the status that the server gave is lost.
    Few,
}

/// Builds the client. Credential plugins run here, on a thread of their own, for `limit` at most.
/// `operation` is for the error, such as "cannot use cluster shop".
///
/// # Errors
/// There are no credentials, or certificates are invalid.
pub async fn build(
    config: Config,
    retries: Retries,
    limit: Duration,
    operation: &str,
) -> Result<Client, ClusterError> {
    let plugin = config.auth_info.exec.clone();
    let operation = match plugin.as_ref().and_then(|plugin| plugin.command.as_deref()) {
        Some(command) => format!("{operation}: credential plugin `{command}`"),
        None => operation.to_owned(),
    };
    let token = match token_file(&config) {
        Some(path) => match TokenFile::open(Path::new(path)) {
            Ok(file) => Some(file),
            Err(problem) => return Err(ClusterError::configuration(operation, problem)),
        },
        None => None,
    };
    // Only building blocks: the client's tasks run on the runtime.
    let client = tokio::task::spawn_blocking(move || client(config, token, retries));
    match tokio::time::timeout(limit, client).await {
        Err(_) => Err(ClusterError::timeout(operation, limit)),
        Ok(Err(panicked)) => Err(ClusterError::configuration(operation, panicked.to_string())),
        Ok(Ok(client)) => client.map_err(|error| {
            let hint = plugin.and_then(|plugin| plugin.install_hint);
            ClusterError::of(operation, &error).or_install(&error, hint.as_deref())
        }),
    }
}

/// The token file, where kube-client would use it: a provider, a password and a token take
/// precedence.
fn token_file(config: &Config) -> Option<&str> {
    let auth = &config.auth_info;
    let others = auth.auth_provider.is_some()
        || auth.token.is_some()
        || (auth.username.is_some() && auth.password.is_some());
    auth.token_file.as_deref().filter(|_| !others)
}

/// Whether the certificate of the server or of a proxy is checked.
fn checks_certificates(config: &Config) -> bool {
    let is_https = |url: &Uri| url.scheme() == Some(&Scheme::HTTPS);
    let is_used = is_https(&config.cluster_url) || config.proxy_url.as_ref().is_some_and(is_https);
    is_used && !config.accept_invalid_certs
}

fn client(mut config: Config, token: Option<TokenFile>, retries: Retries) -> kube::Result<Client> {
    config.connect_timeout = Some(CONNECT);
    config.default_retry = false;
    // A watch may be silent for long; each call has its own deadline.
    config.read_timeout = None;
    if token.is_some() {
        config.auth_info.token_file = None;
    }
    if !checks_certificates(&config) {
        // Else kube-client wants the root certificates of the system, which a container may lack.
        config.root_cert.get_or_insert_default();
    }
    let server = config.cluster_url.to_string();
    let builder = ClientBuilder::try_from(config)?;
    let authorize = MapRequestLayer::new(move |request| match &token {
        Some(token) => token.authorize(request),
        None => request,
    });
    let builder = builder.with_layer(&authorize);
    let server = server.trim_end_matches('/').to_owned();
    match (retries, RetryPolicy::new(Duration::from_millis(250), Duration::from_secs(2), 3, true)) {
        (Retries::Few, Ok(again)) => Ok(builder
            .with_layer(&BufferLayer::new(WAITING))
            .with_layer(&RetryLayer::new(again))
            .build()),
        (Retries::Few, Err(_)) => Ok(builder.build()),
        (Retries::Never, _) => Ok(builder
            .with_layer(&MapErrLayer::new(move |error: BoxError| AtServer::wrap(&server, error)))
            .build()),
    }
}
