//! The client of a service.

use std::time::Duration;

use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use policy_kube::client::{Retries, build};
pub use policy_kube::reason;
use policy_kube::{ClusterError, kubeconfig};

use crate::config::KubeConfig;

/// The deadline of a credential plugin.
const CREDENTIALS: Duration = Duration::from_secs(30);
const OPERATION: &str = "cannot configure the client of the API server";

/// Builds a client from the kubeconfig that the configuration names, else as kubectl and pods do.
/// It never retries by itself: the caller has a deadline and backs off.
///
/// # Errors
/// There is no kubeconfig, or it cannot be used. The API server has not been called yet.
pub async fn connect(config: &KubeConfig) -> Result<Client, ClusterError> {
    let found =
        find(config).await.map_err(|error| ClusterError::configuration(OPERATION, error))?;
    tracing::info!(server = %found.cluster_url, "using the API server");
    build(found, Retries::Never, CREDENTIALS, OPERATION).await
}

async fn find(config: &KubeConfig) -> Result<Config, String> {
    let options = KubeConfigOptions { context: config.context.clone(), ..Default::default() };
    let found = match &config.kubeconfig {
        Some(file) => match kubeconfig::read(file) {
            Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
            Err(error) => Err(error),
        },
        None if config.context.is_some() => Config::from_kubeconfig(&options).await,
        None => return Config::infer().await.map_err(|error| error.to_string()),
    };
    found.map_err(|error| error.to_string())
}
