//! The pods that the user may read: of a namespace, of the whole cluster, or else of those
//! namespaces that are open.

use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use policy_core::namespaces::ExcludedNamespaces;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::pages::{self, Page};
use super::{Cluster, ClusterError, ErrorKind};

/// What reading brings.
pub(crate) enum Event<T> {
    /// Some pods.
    Page(Page<T>),
    /// A part of the cluster, such as `namespace shop`, that was not read.
    NotRead { part: String, error: ClusterError },
}

/// Reads the pods of a namespace, or of all. Where the whole cluster is refused, its namespaces are
/// tried one by one, but for those `excluded` from being looked at; and where these are not told
/// either, the context's own.
pub(crate) async fn read<T: DeserializeOwned>(
    cluster: &Cluster,
    namespace: Option<&str>,
    excluded: Option<&ExcludedNamespaces>,
    take: &mut impl FnMut(Event<T>),
) {
    if let Some(namespace) = namespace {
        return read_namespace(cluster, namespace, take).await;
    }
    let path = Pod::url_path(&(), None);
    let all =
        pages::read(&cluster.client, &path, "cannot list the pods of all namespaces", |page| {
            take(Event::Page(page));
        });
    let error = match all.await {
        Ok(()) => return,
        Err(error) => error,
    };
    if error.kind != ErrorKind::Forbidden {
        return take(Event::NotRead { part: "cluster".to_owned(), error });
    }
    if let Ok(names) = namespaces(cluster).await {
        let is_wanted = |name: &String| excluded.is_none_or(|excluded| !excluded.contains(name));
        for name in names.into_iter().filter(is_wanted) {
            read_namespace(cluster, &name, take).await;
        }
    } else {
        let part = format!("namespaces other than {}", cluster.namespace);
        take(Event::NotRead { part, error });
        read_namespace(cluster, &cluster.namespace, take).await;
    }
}

async fn read_namespace<T: DeserializeOwned>(
    cluster: &Cluster,
    namespace: &str,
    take: &mut impl FnMut(Event<T>),
) {
    let operation = format!("cannot list the pods of namespace {namespace}");
    let path = Pod::url_path(&(), Some(namespace));
    let mut is_empty = true;
    let result = pages::read(&cluster.client, &path, &operation, |page: Page<T>| {
        is_empty &= page.objects.is_empty() && page.unreadable.is_empty();
        take(Event::Page(page));
    });
    let result = match result.await {
        Ok(()) if is_empty => exists(cluster, namespace).await,
        result => result,
    };
    if let Err(error) = result {
        take(Event::NotRead { part: format!("namespace {namespace}"), error });
    }
}

/// A namespace that does not exist has no pods either, and a misspelt name shall not look healthy.
async fn exists(cluster: &Cluster, namespace: &str) -> Result<(), ClusterError> {
    use k8s_openapi::api::core::v1::Namespace;
    let api: kube::Api<Namespace> = kube::Api::all(cluster.client());
    let found = cluster.call("there is no such namespace", api.get_metadata(namespace)).await;
    match found {
        Err(error) if error.kind == ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    metadata: Name,
}

#[derive(Deserialize, Default)]
struct Name {
    #[serde(default)]
    name: String,
}

/// The names of all namespaces, sorted.
async fn namespaces(cluster: &Cluster) -> Result<Vec<String>, ClusterError> {
    let mut names = Vec::new();
    pages::read(
        &cluster.client,
        "/api/v1/namespaces",
        "cannot list namespaces",
        |page: Page<Named>| {
            names.extend(page.objects.into_iter().map(|found| found.metadata.name));
        },
    )
    .await?;
    names.sort();
    Ok(names)
}
