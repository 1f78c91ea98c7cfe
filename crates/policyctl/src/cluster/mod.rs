//! Talking to live clusters: who they are, deadlines, and errors that people understand.

mod contexts;
pub(crate) mod pods;
pub(crate) mod write;

use std::fmt;
use std::future::Future;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::config::{ExecConfig, ExecInteractiveMode};
use kube::{Api, Client};
use policy_kube::client::{self, Retries};
use policy_kube::with_deadline;

pub(crate) use contexts::{Context, Contexts};
pub(crate) use policy_kube::{ClusterError, ErrorKind, pages};

/// For the first answer of a server: who waits longer takes it for dead.
const FIRST_ANSWER: Duration = Duration::from_secs(8);
/// For a credential plugin that may ask the user something.
const LOGIN: Duration = Duration::from_secs(60);
/// For one call.
const CALL: Duration = Duration::from_secs(60);

/// Which cluster is meant, and which part of it.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Target {
    /// The kubeconfig; else the files of KUBECONFIG, else ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig; else its current one
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// The namespace
    #[arg(long, short, global = true, value_name = "NAME", value_parser = crate::cli::label)]
    pub(crate) namespace: Option<String>,

    /// All namespaces
    #[arg(long, short = 'A', global = true, conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
}

/// A cluster that answered.
pub(crate) struct Cluster {
    client: Client,
    /// The name of the context.
    pub(crate) context: String,
    /// Its URL.
    pub(crate) server: String,
    /// The namespace of the context.
    pub(crate) namespace: String,
    /// What the server says of itself, such as `v1.36.3`; `None` where it does not tell.
    pub(crate) version: Option<String>,
}

impl Target {
    /// Connects to the cluster that is meant.
    pub(crate) async fn connect(&self) -> Result<Cluster, ClusterError> {
        let contexts = Contexts::load(self.kubeconfig.as_deref())?;
        let context = contexts.choose(self.context.as_deref())?;
        Cluster::connect(&contexts, &context).await
    }

    /// The namespace that is meant, where there has to be one.
    pub(crate) fn namespace_in<'a>(&'a self, cluster: &'a Cluster) -> &'a str {
        self.namespace.as_deref().unwrap_or(&cluster.namespace)
    }
}

impl Cluster {
    /// Connects, and asks for the version: whatever is wrong with address, certificates or
    /// credentials comes to light here, within ten seconds.
    pub(crate) async fn connect(contexts: &Contexts, context: &str) -> Result<Self, ClusterError> {
        let config = contexts.config(context).await?;
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let proxy = config.proxy_url.as_ref().and_then(|proxy| proxy.authority());
        let operation = match proxy.map(http::uri::Authority::as_str) {
            // Before an @ stands a password.
            Some(proxy) => {
                let proxy = proxy.rsplit('@').next().unwrap_or_default();
                format!("cannot use cluster `{context}` at {server} through the proxy {proxy}")
            }
            None => format!("cannot use cluster `{context}` at {server}"),
        };
        let namespace = config.default_namespace.clone();
        let limit = match &config.auth_info.exec {
            Some(plugin) if may_ask(plugin) => LOGIN,
            _ => FIRST_ANSWER,
        };
        let client = client::build(config, Retries::Few, limit, &operation).await?;
        let mut cluster =
            Self { client, context: context.to_owned(), server, namespace, version: None };
        let version = cluster.client.apiserver_version();
        cluster.version = match with_deadline(FIRST_ANSWER, &operation, version).await {
            Ok(info) => Some(info.git_version),
            // Some hide their version; everything else may still be allowed.
            Err(error) if matches!(error.kind, ErrorKind::Forbidden | ErrorKind::NotFound) => None,
            Err(error) => return Err(error),
        };
        Ok(cluster)
    }

    /// Who the cluster is, whatever name and address somebody has for it: by custom the uid of its
    /// namespace kube-system. `None` for who may not read that.
    pub(crate) async fn uid(&self) -> Option<String> {
        let namespaces: Api<Namespace> = Api::all(self.client());
        let found = namespaces.get_metadata("kube-system");
        self.call("cannot tell which cluster it is", found).await.ok()?.metadata.uid
    }

    /// A call under its deadline. `operation` says what was tried, such as `cannot list pods`.
    pub(crate) async fn call<T>(
        &self,
        operation: &str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ClusterError> {
        with_deadline(CALL, operation, call).await
    }

    /// The client, for calls under [`Cluster::call`].
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }
}

/// Whether a credential plugin may ask the user.
fn may_ask(plugin: &ExecConfig) -> bool {
    plugin.interactive_mode != Some(ExecInteractiveMode::Never) && io::stdin().is_terminal()
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version.as_deref().unwrap_or("of unknown version");
        write!(f, "cluster `{}` at {} ({version})", self.context, self.server)
    }
}

/// Runs what talks to clusters. Calls that still hang at the end are left behind.
pub(crate) fn run<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}
