//! How a service reaches the API server.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use futures::{AsyncBufRead, TryStreamExt as _};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Collected, Limited};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::{Client, Config};
use tokio::time::timeout;

use crate::config::KubeConfig;

/// For a TCP connection with its TLS handshake.
const CONNECT: Duration = Duration::from_secs(5);
/// For a credential plugin.
const CREDENTIALS: Duration = Duration::from_secs(30);
/// As much of a refusal as is read, in bytes.
const LARGEST_REFUSAL: usize = 64 << 10;
/// The longest reason, in characters: some servers explain themselves by a page.
const LONGEST_REASON: usize = 300;

/// The API server cannot be addressed: there is no kubeconfig, say. It was not called yet.
#[derive(Debug, thiserror::Error)]
#[error("cannot address the API server: {0}")]
pub struct Unaddressed(String);

/// Makes a client, by the kubeconfig that the configuration names, else as kubectl and pods do.
/// It never tries again by itself: who calls has a deadline, and backs off.
///
/// # Errors
/// There is no kubeconfig, or what it names cannot be used.
pub async fn connect(config: &KubeConfig) -> Result<Client, Unaddressed> {
    let options = KubeConfigOptions { context: config.context.clone(), ..Default::default() };
    let found = match &config.kubeconfig {
        Some(file) => match Kubeconfig::read_from(file) {
            Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
            Err(error) => Err(error),
        },
        None if config.context.is_some() => Config::from_kubeconfig(&options).await,
        None => {
            let found = Config::infer().await;
            return with_credentials(found.map_err(|error| Unaddressed(error.to_string()))?).await;
        }
    };
    with_credentials(found.map_err(|error| Unaddressed(error.to_string()))?).await
}

/// A credential plugin runs here, and may hang.
async fn with_credentials(config: Config) -> Result<Client, Unaddressed> {
    let client = tokio::task::spawn_blocking(move || client(config));
    match timeout(CREDENTIALS, client).await {
        Err(_) => Err(Unaddressed(format!("no credentials within {CREDENTIALS:?}"))),
        Ok(Err(panicked)) => Err(Unaddressed(panicked.to_string())),
        Ok(Ok(client)) => client,
    }
}

fn client(mut config: Config) -> Result<Client, Unaddressed> {
    config.connect_timeout = Some(CONNECT);
    config.default_retry = false;
    // Watches are silent for long; each call has its own deadline.
    config.read_timeout = None;
    Client::try_from(config).map_err(|error| Unaddressed(reason(&error)))
}

/// Asks for a path, and gives the body as it comes. The client's own way would collect the body of
/// a refusal whole, whatever its size.
///
/// # Errors
/// Those of the connection, and what the server says instead.
pub(crate) async fn read(client: &Client, uri: &str) -> kube::Result<impl AsyncBufRead + use<>> {
    let request = Request::get(uri).body(Body::empty()).map_err(kube::Error::HttpError)?;
    let response = client.send(request).await?;
    let status = response.status();
    if !status.is_success() {
        let body = Limited::new(response.into_body(), LARGEST_REFUSAL).collect().await;
        let body = body.map(Collected::to_bytes).unwrap_or_default();
        return Err(kube::Error::Api(Box::new(refusal(status, &body))));
    }
    Ok(response.into_body().into_data_stream().map_err(io::Error::other).into_async_read())
}

/// A refusal in Kubernetes' form; what is in another form is quoted.
fn refusal(status: StatusCode, body: &[u8]) -> Status {
    let parsed = serde_json::from_slice::<Status>(body).ok().filter(|parsed| parsed.code != 0);
    parsed.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(body);
        let first = text.lines().next().unwrap_or_default();
        Status::failure(first, "").with_code(status.as_u16())
    })
}

/// Why a call failed, in one line: the server's own words, else what happened last.
#[must_use]
pub fn reason(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        let words = status.message.split_whitespace().collect::<Vec<_>>().join(" ");
        return format!("{} ({})", cut(words), status.code);
    }
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        words = next.to_string();
        cause = next.source();
    }
    cut(words)
}

fn cut(mut words: String) -> String {
    if let Some((end, _)) = words.char_indices().nth(LONGEST_REASON) {
        words.truncate(end);
        words.push('…');
    }
    words
}
