//! The HTTP client of a cluster: credentials, deadlines, and what is tried again.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::client::retry::RetryPolicy;
use kube::config::{ExecConfig, ExecInteractiveMode};
use kube::{Client, Config};
use tower::buffer::BufferLayer;
use tower::retry::RetryLayer;

use super::{ClusterError, FIRST_ANSWER};

/// For a TCP connection with its TLS handshake.
const CONNECT: Duration = Duration::from_secs(5);
/// For a credential plugin that may ask the user something.
const LOGIN: Duration = Duration::from_secs(60);
/// For one that may not.
const CREDENTIALS: Duration = FIRST_ANSWER;
/// How many calls may wait for a turn; no command makes more at a time.
const WAITING: usize = 64;

/// Makes the client. Credential plugins run here, and nobody else has to wait for them.
pub(super) async fn make(config: Config, operation: &str) -> Result<Client, ClusterError> {
    let plugin = config.auth_info.exec.clone();
    let limit = match &plugin {
        Some(plugin) if may_ask(plugin) => LOGIN,
        _ => CREDENTIALS,
    };
    let operation = match plugin.as_ref().and_then(|plugin| plugin.command.as_deref()) {
        Some(command) => format!("{operation}: credential plugin `{command}`"),
        None => operation.to_owned(),
    };
    // Only a handle is wanted: the client's own tasks start on the runtime around it.
    let client = tokio::task::spawn_blocking(move || build(config));
    match tokio::time::timeout(limit, client).await {
        Err(_) => Err(ClusterError::timeout(operation, limit)),
        Ok(Err(panicked)) => Err(ClusterError::configuration(operation, panicked.to_string())),
        Ok(Ok(client)) => client.map_err(|error| {
            let hint = plugin.and_then(|plugin| plugin.install_hint);
            ClusterError::of(operation, &error).or_install(&error, hint.as_deref())
        }),
    }
}

/// Whether a plugin has somebody to ask.
fn may_ask(plugin: &ExecConfig) -> bool {
    plugin.interactive_mode != Some(ExecInteractiveMode::Never) && io::stdin().is_terminal()
}

/// The client library would try again for as long as anybody waits, and then the status that the
/// server gave is lost; so it is tried again three times within some two seconds, or when the
/// server asks for it.
fn build(mut config: Config) -> kube::Result<Client> {
    config.connect_timeout = Some(CONNECT);
    config.default_retry = false;
    let builder = ClientBuilder::try_from(config)?;
    let again = RetryPolicy::new(Duration::from_millis(250), Duration::from_secs(2), 3, true);
    Ok(match again {
        Ok(again) => builder
            .with_layer(&BufferLayer::new(WAITING))
            .with_layer(&RetryLayer::new(again))
            .build(),
        Err(_) => builder.build(),
    })
}
