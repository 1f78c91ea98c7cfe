//! Kubeconfigs: which clusters there are, and how to reach them. The rules are kubectl's
//! (<https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/>).

use std::env;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::bail;
use glob::Pattern;
use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError, LoadDataError};
use policy_kube::kubeconfig;
use secrecy::ExposeSecret;

use super::ClusterError;

/// The name of the context of a pod's own service account.
const IN_CLUSTER: &str = "in-cluster";
/// The namespace of a context that names none.
const DEFAULT_NAMESPACE: &str = "default";

/// The clusters that the user can select.
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
    /// The namespace of objects that name none.
    pub(crate) namespace: String,
    pub(crate) is_current: bool,
}

impl Contexts {
    /// Reads the file of `--kubeconfig`; else those of `KUBECONFIG`, of which some may be missing;
    /// else `~/.kube/config`; else takes the service account of the pod that this runs in.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, ClusterError> {
        let paths = file.map_or_else(default_paths, |file| vec![file.to_owned()]);
        let mut merged = Kubeconfig::default();
        for path in &paths {
            let next = match kubeconfig::read(path) {
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
    ///
    /// # Errors
    /// A name that no context has, which is an error in use; or a kubeconfig without a current one.
    pub(crate) fn choose(&self, name: Option<&str>) -> anyhow::Result<String> {
        let Self::Files(kubeconfig) = self else {
            return Ok(IN_CLUSTER.to_owned());
        };
        let current = kubeconfig.current_context.as_deref().filter(|name| !name.is_empty());
        let chosen = name.or(current);
        if let Some(chosen) = chosen
            && kubeconfig.contexts.iter().any(|context| context.name == chosen)
        {
            return Ok(chosen.to_owned());
        }
        let names = self.all().into_iter().map(|context| context.name).collect::<Vec<_>>();
        let names = names.join(", ");
        let operation = match (name, current) {
            (Some(name), _) => bail!("there is no context `{name}`; there are {names}"),
            (None, Some(current)) => format!("there is no context `{current}`"),
            (None, None) => "the kubeconfig has no current context".to_owned(),
        };
        let reason = format!("choose one by --context: {names}");
        Err(ClusterError::configuration(operation, reason).into())
    }

    /// All contexts, by name.
    pub(crate) fn all(&self) -> Vec<Context> {
        let Self::Files(kubeconfig) = self else {
            let name = IN_CLUSTER.to_owned();
            let (cluster, namespace) = (name.clone(), DEFAULT_NAMESPACE.to_owned());
            let server = String::new();
            return vec![Context { name, cluster, server, namespace, is_current: true }];
        };
        let server = |cluster: &str| {
            let found = kubeconfig.clusters.iter().find(|named| named.name == cluster);
            let server = found.and_then(|named| named.cluster.as_ref()?.server.clone());
            server.unwrap_or_default().trim_end_matches('/').to_owned()
        };
        let mut contexts: Vec<Context> = kubeconfig
            .contexts
            .iter()
            .map(|named| {
                let context = named.context.as_ref();
                let cluster = context.map(|context| context.cluster.clone()).unwrap_or_default();
                let namespace = context.and_then(|context| context.namespace.clone());
                let namespace = namespace.filter(|name| !name.is_empty());
                Context {
                    name: named.name.clone(),
                    server: server(&cluster),
                    cluster,
                    namespace: namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
                    is_current: kubeconfig.current_context.as_deref() == Some(&named.name),
                }
            })
            .collect();
        contexts.sort_by(|a, b| a.name.cmp(&b.name));
        contexts
    }

    /// The contexts of these names or patterns (`prod-*`), in that order, each once. Where there is
    /// none of either, all, the current one first: of several contexts of one cluster the first is
    /// read.
    ///
    /// # Errors
    /// A name or pattern that no context matches.
    pub(crate) fn matching(&self, patterns: &[&str]) -> anyhow::Result<Vec<Context>> {
        let mut all = self.all();
        if patterns.is_empty() {
            all.sort_by_key(|context| !context.is_current);
            return Ok(all);
        }
        let mut chosen: Vec<Context> = Vec::new();
        for pattern in patterns {
            // A name may have characters of patterns, as in `shop[eu]`.
            let is_name = all.iter().any(|context| context.name == *pattern);
            let glob = Pattern::new(pattern).ok().filter(|_| !is_name);
            let is_match = |context: &&Context| {
                context.name == *pattern
                    || glob.as_ref().is_some_and(|glob| glob.matches(&context.name))
            };
            let found: Vec<&Context> = all.iter().filter(is_match).collect();
            if found.is_empty() {
                let names: Vec<&str> = all.iter().map(|context| &*context.name).collect();
                bail!("--contexts: no context matches `{pattern}`; there are {}", names.join(", "));
            }
            let is_new = |context: &&&Context| !chosen.iter().any(|old| old.name == context.name);
            let new: Vec<Context> = found.iter().filter(is_new).copied().cloned().collect();
            chosen.extend(new);
        }
        Ok(chosen)
    }

    /// How to reach the cluster of a context.
    pub(super) async fn config(&self, context: &str) -> Result<Config, ClusterError> {
        let unusable = |reason| {
            ClusterError::configuration(format!("context `{context}` cannot be used"), reason)
        };
        match self {
            Self::InCluster => Config::incluster().map_err(|error| unusable(error.to_string())),
            Self::Files(kubeconfig) => {
                let options = KubeConfigOptions {
                    context: Some(context.to_owned()),
                    ..KubeConfigOptions::default()
                };
                let config = Config::from_custom_kubeconfig((**kubeconfig).clone(), &options);
                let mut config = config.await.map_err(|error| unusable(plain(&error)))?;
                if proxy_of(kubeconfig, context).is_none() {
                    config.proxy_url = proxy_of_environment(&config.cluster_url);
                }
                problem(kubeconfig, context, &config)
                    .map_or(Ok(config), |reason| Err(unusable(reason)))
            }
        }
    }
}

fn cluster_of<'a>(kubeconfig: &'a Kubeconfig, context: &str) -> Option<&'a kube::config::Cluster> {
    let named = kubeconfig.contexts.iter().find(|named| named.name == context)?;
    let cluster = &named.context.as_ref()?.cluster;
    kubeconfig.clusters.iter().find(|named| named.name == *cluster)?.cluster.as_ref()
}

/// The proxy that the kubeconfig itself names.
fn proxy_of<'a>(kubeconfig: &'a Kubeconfig, context: &str) -> Option<&'a str> {
    let proxy = cluster_of(kubeconfig, context)?.proxy_url.as_deref();
    proxy.filter(|proxy| !proxy.is_empty())
}

/// The proxy that `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` give a server, by kubectl's rules
/// (<https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config>): this machine needs none. The
/// client library compares `NO_PROXY` with the proxy in place of the server.
fn proxy_of_environment(server: &Uri) -> Option<Uri> {
    let host = server.host()?.trim_matches(['[', ']']);
    let is_loopback = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if host == "localhost" || is_loopback {
        return None;
    }
    Matcher::from_env().intercept(server)?;
    let scheme = server.scheme_str()?;
    let names = [format!("{}_PROXY", scheme.to_uppercase()), format!("{scheme}_proxy")];
    let proxy = names.iter().find_map(|name| env::var(name).ok().filter(|url| !url.is_empty()))?;
    let proxy = if proxy.contains("://") { proxy } else { format!("http://{proxy}") };
    proxy.parse().ok()
}

/// Errors that the client library ignores, or on which it panics.
fn problem(kubeconfig: &Kubeconfig, name: &str, config: &Config) -> Option<String> {
    let named = kubeconfig.contexts.iter().find(|named| named.name == name);
    let context = named.and_then(|named| named.context.as_ref())?;
    let user = context.user.as_deref().filter(|user| !user.is_empty());
    if let Some(user) = user.filter(|user| kubeconfig.auth_infos.iter().all(|a| a.name != *user)) {
        return Some(format!("the kubeconfig has no user `{user}`"));
    }
    if !matches!(config.cluster_url.scheme_str(), Some("http" | "https")) {
        return Some(format!("its server `{}` has no https:// before it", config.cluster_url));
    }
    if config.root_cert.as_ref().is_some_and(Vec::is_empty) {
        let file = cluster_of(kubeconfig, name).and_then(|c| c.certificate_authority.clone());
        let file = file.unwrap_or_else(|| "certificate-authority-data".to_owned());
        return Some(format!("{file} holds no certificate in PEM"));
    }
    let token = config.auth_info.token.as_ref().map(ExposeSecret::expose_secret);
    if token.is_some_and(|token| token.bytes().any(|byte| !(b' '..=b'~').contains(&byte))) {
        return Some("its token has characters that no token can have".to_owned());
    }
    None
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

/// The reasons of the client library, whose paths have two pairs of quotes.
fn plain(error: &KubeconfigError) -> String {
    let (what, error) = match error {
        KubeconfigError::LoadClusterOfContext(cluster) => {
            return format!("the kubeconfig has no cluster `{cluster}`");
        }
        KubeconfigError::LoadCertificateAuthority(error) => ("certificate authority", error),
        KubeconfigError::LoadClientCertificate(error) => ("client certificate", error),
        KubeconfigError::LoadClientKey(error) => ("client key", error),
        other => return other.to_string(),
    };
    match error {
        LoadDataError::ReadFile(error, path) => {
            format!("the {what} {} cannot be read: {error}", path.display())
        }
        other => format!("the {what} cannot be used: {other}"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn contexts(names: &[&str], current: &str) -> Contexts {
        let listed = names.iter().map(|name| {
            format!("{{name: '{name}', context: {{cluster: '{name}', user: u, namespace: ''}}}}")
        });
        let contexts = listed.collect::<Vec<_>>().join(", ");
        let yaml = format!("{{contexts: [{contexts}], current-context: {current}}}");
        Contexts::Files(Box::new(Kubeconfig::from_yaml(&yaml).unwrap()))
    }

    #[test]
    fn contexts_are_chosen_by_name_and_by_pattern_each_once() {
        let arn = "arn:aws:eks:eu-west-1:1:cluster/prod-eu";
        let contexts = contexts(&["staging", "prod-us", "prod-de", arn, "shop[eu]"], "prod-us");
        let cases: [(&[&str], &[&str]); 7] = [
            (&[], &["prod-us", arn, "prod-de", "shop[eu]", "staging"]),
            (&["prod-*"], &["prod-de", "prod-us"]),
            (&["prod-*", "staging", "prod-de"], &["prod-de", "prod-us", "staging"]),
            (&["prod-us", "prod-*"], &["prod-us", "prod-de"]),
            (&["prod-??", "s[st]*"], &["prod-de", "prod-us", "staging"]),
            (&["*prod-eu"], &[arn]),
            (&["shop[eu]"], &["shop[eu]"]),
        ];
        for (patterns, expected) in cases {
            let chosen = contexts.matching(patterns).unwrap();
            let names: Vec<&str> = chosen.iter().map(|context| &*context.name).collect();
            assert_eq!(names, expected, "{patterns:?}");
            assert!(chosen.iter().all(|context| context.namespace == "default"));
        }
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_an_error_that_names_what_there_is() {
        let contexts = contexts(&["west", "east"], "east");
        for pattern in ["prod-*", "Eas*", "west-", "e[", "***"] {
            assert_eq!(
                contexts.matching(&["east", pattern]).unwrap_err().to_string(),
                format!("--contexts: no context matches `{pattern}`; there are east, west")
            );
        }
    }
}
