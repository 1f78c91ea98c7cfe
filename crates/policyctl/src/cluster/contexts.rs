//! Kubeconfigs: which clusters there are, and how to reach them. The rules are kubectl's
//! (<https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/>).

use std::env;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::ClusterError;

/// What the context of a pod's own service account is called.
const IN_CLUSTER: &str = "in-cluster";

/// The clusters that the user can name.
pub(crate) enum Contexts {
    /// From kubeconfig files.
    Files(Box<Kubeconfig>),
    /// The service account of the pod that this runs in.
    InCluster,
}

/// A context as a kubeconfig has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) name: String,
    pub(crate) cluster: String,
    /// The URL; empty where the kubeconfig has no such cluster.
    pub(crate) server: String,
    pub(crate) is_current: bool,
}

impl Contexts {
    /// Reads the file of `--kubeconfig`; else those of `KUBECONFIG`, of which some may be missing;
    /// else `~/.kube/config`; else takes the service account of the pod that this runs in.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, ClusterError> {
        let paths = file.map_or_else(default_paths, |file| vec![file.to_owned()]);
        let mut merged = Kubeconfig::default();
        for path in &paths {
            let next = match Kubeconfig::read_from(path) {
                Err(KubeconfigError::ReadConfig(error, _))
                    if file.is_none() && error.kind() == ErrorKind::NotFound =>
                {
                    continue;
                }
                next => next,
            };
            merged =
                next.and_then(|next| merged.merge(next)).map_err(|error| unusable(path, &error))?;
        }
        if !merged.contexts.is_empty() {
            return Ok(Self::Files(Box::new(merged)));
        }
        if file.is_none() && env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
            return Ok(Self::InCluster);
        }
        let looked_at: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        Err(ClusterError::configuration(
            "there is no cluster to talk to",
            format!("no context in {}; set KUBECONFIG or --kubeconfig", looked_at.join(", ")),
        ))
    }

    /// The context of that name, else the current one.
    pub(crate) fn choose(&self, name: Option<&str>) -> Result<String, ClusterError> {
        let Self::Files(kubeconfig) = self else {
            return Ok(IN_CLUSTER.to_owned());
        };
        let current = kubeconfig.current_context.as_deref().filter(|name| !name.is_empty());
        let (operation, name) = match (name, current) {
            (Some(name), _) | (None, Some(name)) => (format!("there is no context `{name}`"), name),
            (None, None) => ("the kubeconfig has no current context".to_owned(), ""),
        };
        if kubeconfig.contexts.iter().any(|context| context.name == name) {
            return Ok(name.to_owned());
        }
        let names = self.all().into_iter().map(|context| context.name).collect::<Vec<_>>();
        Err(ClusterError::configuration(
            operation,
            format!("choose one by --context: {}", names.join(", ")),
        ))
    }

    /// All contexts, by name.
    pub(crate) fn all(&self) -> Vec<Context> {
        let Self::Files(kubeconfig) = self else {
            let name = IN_CLUSTER.to_owned();
            let cluster = name.clone();
            return vec![Context { name, cluster, server: String::new(), is_current: true }];
        };
        let server = |cluster: &str| {
            let found = kubeconfig.clusters.iter().find(|named| named.name == cluster);
            found.and_then(|named| named.cluster.as_ref()?.server.clone()).unwrap_or_default()
        };
        let mut contexts: Vec<Context> = kubeconfig
            .contexts
            .iter()
            .map(|named| {
                let cluster = named.context.as_ref().map(|context| context.cluster.clone());
                let cluster = cluster.unwrap_or_default();
                Context {
                    name: named.name.clone(),
                    server: server(&cluster),
                    cluster,
                    is_current: kubeconfig.current_context.as_deref() == Some(&named.name),
                }
            })
            .collect();
        contexts.sort_by(|a, b| a.name.cmp(&b.name));
        contexts
    }

    /// How to reach the cluster of a context.
    pub(super) async fn config(&self, context: &str) -> Result<Config, ClusterError> {
        let operation = || format!("context `{context}` cannot be used");
        match self {
            Self::InCluster => Config::incluster()
                .map_err(|error| ClusterError::configuration(operation(), error.to_string())),
            Self::Files(kubeconfig) => {
                let options = KubeConfigOptions {
                    context: Some(context.to_owned()),
                    ..KubeConfigOptions::default()
                };
                Config::from_custom_kubeconfig((**kubeconfig).clone(), &options)
                    .await
                    .map_err(|error| ClusterError::configuration(operation(), error.to_string()))
            }
        }
    }
}

fn default_paths() -> Vec<PathBuf> {
    let from_environment: Vec<PathBuf> = env::var_os("KUBECONFIG")
        .map(|paths| env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()).collect())
        .unwrap_or_default();
    if !from_environment.is_empty() {
        return from_environment;
    }
    env::home_dir().map(|home| home.join(".kube").join("config")).into_iter().collect()
}

fn unusable(path: &Path, error: &KubeconfigError) -> ClusterError {
    let operation = format!("the kubeconfig {} cannot be used", path.display());
    let reason = match error {
        KubeconfigError::ReadConfig(error, _) => error.to_string(),
        other => other.to_string(),
    };
    // A parser's message may have lines of its own.
    ClusterError::configuration(operation, reason.lines().next().unwrap_or_default())
}
