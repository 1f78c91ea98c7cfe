//! Live clusters: contexts, connections, deadlines, and errors for people.

mod contexts;
pub(crate) mod fleet;
pub(crate) mod namespaced;
pub(crate) mod workload_labels;
pub(crate) mod workloads;
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
use tokio::runtime::Runtime;

pub(crate) use contexts::{Context, Contexts};
pub(crate) use policy_kube::{ClusterError, ErrorKind, pages};

/// The deadline of the first answer.
const FIRST_ANSWER: Duration = Duration::from_secs(8);
/// The deadline of a credential plugin that may prompt the user.
const LOGIN: Duration = Duration::from_secs(60);
/// The deadline of a call; a page of 500 pods is some 7 MB.
const CALL: Duration = Duration::from_secs(60);

/// The cluster and its namespace that the user names.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Target {
    /// The kubeconfig file; else those of KUBECONFIG, else ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig; else its current context
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// The namespace; by default all, or the context's for a single policy
    #[arg(long, short, global = true, value_name = "NAME", value_parser = crate::names::label)]
    pub(crate) namespace: Option<String>,

    /// All namespaces; the default, except for a single policy
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
    /// Such as `v1.37.2`; `None` where the server hides it.
    pub(crate) version: Option<String>,
}

impl Target {
    /// Connects to the cluster.
    pub(crate) async fn connect(&self) -> anyhow::Result<Cluster> {
        let contexts = Contexts::load(self.kubeconfig.as_deref())?;
        let context = contexts.choose(self.context.as_deref())?;
        Ok(Cluster::connect(&contexts, &context).await?)
    }

    /// The namespace for a command that is about one.
    pub(crate) fn namespace_in<'a>(&'a self, cluster: &'a Cluster) -> &'a str {
        self.namespace.as_deref().unwrap_or(&cluster.namespace)
    }
}

impl Cluster {
    /// Connects and reads the version, so that a wrong address, certificate or credential is
    /// reported within ten seconds.
    pub(crate) async fn connect(contexts: &Contexts, context: &str) -> Result<Self, ClusterError> {
        let config = contexts.config(context).await?;
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let proxy = config.proxy_url.as_ref().and_then(|proxy| proxy.authority());
        let operation = match proxy.map(http::uri::Authority::as_str) {
            // Without user and password, which precede an @.
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
            // Some servers hide their version and allow everything else.
            Err(error) if matches!(error.kind, ErrorKind::Forbidden | ErrorKind::NotFound) => None,
            Err(error) => return Err(error),
        };
        Ok(cluster)
    }

    /// Identifies the cluster whatever its address: by convention the uid of the namespace
    /// kube-system. `None` where the user may not read that.
    pub(crate) async fn uid(&self) -> Option<String> {
        let namespaces: Api<Namespace> = Api::all(self.client());
        let found = namespaces.get_metadata("kube-system");
        self.call("cannot tell which cluster it is", found).await.ok()?.metadata.uid
    }

    /// An error where there is no namespace of this name: the API server lists it as an empty one.
    /// No error where the user may not read namespaces.
    pub(crate) async fn expect_namespace(&self, name: &str) -> Result<(), ClusterError> {
        let namespaces: Api<Namespace> = Api::all(self.client());
        let found = namespaces.get_metadata(name);
        match self.call("there is no such namespace", found).await {
            Err(error) if error.kind == ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Awaits a call with a deadline. `operation` is the start of the error, such as
    /// `cannot list pods`.
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

/// Whether a credential plugin may prompt the user.
fn may_ask(plugin: &ExecConfig) -> bool {
    plugin.interactive_mode != Some(ExecInteractiveMode::Never) && io::stdin().is_terminal()
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version.as_deref().unwrap_or("of unknown version");
        write!(f, "cluster `{}` at {} ({version})", self.context, self.server)
    }
}

/// Runs a future that calls clusters. Calls that still hang at the end are abandoned.
pub(crate) fn run<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = runtime()?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
