//! How a service reaches the API server.

use std::error::Error as _;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::time::timeout;

use crate::config::KubeConfig;

/// For a TCP connection with its TLS handshake.
const CONNECT: Duration = Duration::from_secs(5);
/// For a credential plugin.
const CREDENTIALS: Duration = Duration::from_secs(30);
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
