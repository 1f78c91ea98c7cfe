//! Lists of namespaced objects, as far as the user may read them: of one namespace, of the whole
//! cluster, or of the namespaces that the user has access to.

use policy_core::custom::{LivePod, Whole};
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::report::ClusterPart;
use policy_core::view::PodView;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::pages::{self, Limits, Page};
use super::{CALL, Cluster, ClusterError, ErrorKind};

/// A kind of namespaced objects.
#[derive(Clone, Copy)]
pub(crate) struct Listed {
    /// The noun in an error, as in `cannot list the pods of all namespaces`.
    pub(crate) plural: &'static str,
    /// The path of the API for a namespace, or for all.
    pub(crate) path: fn(Option<&str>) -> String,
    /// Whether only the metadata of the objects is read.
    pub(crate) is_metadata: bool,
}

/// A result of reading.
pub(crate) enum Event<T> {
    /// Some objects.
    Page(Page<T>),
    /// A part of the cluster, such as `namespace shop`, that was not read.
    NotRead { part: String, error: ClusterError },
}

impl<T> Event<T> {
    /// The same with each object as another type.
    fn map<U>(self, each: impl FnMut(T) -> U) -> Event<U> {
        match self {
            Self::Page(page) => Event::Page(page.map(each)),
            Self::NotRead { part, error } => Event::NotRead { part, error },
        }
    }
}

impl Listed {
    pub(crate) const PODS: Self = Self {
        plural: "pods",
        path: |namespace| {
            <k8s_openapi::api::core::v1::Pod as kube::Resource>::url_path(&(), namespace)
        },
        is_metadata: false,
    };

    pub(crate) const BUDGETS: Self = Self {
        plural: "disruption budgets",
        path: |namespace| {
            let kind = ();
            <k8s_openapi::api::policy::v1::PodDisruptionBudget as kube::Resource>::url_path(
                &kind, namespace,
            )
        },
        is_metadata: false,
    };
    pub(crate) const DEPLOYMENTS: Self = Self {
        plural: "Deployments",
        path: |namespace| {
            <k8s_openapi::api::apps::v1::Deployment as kube::Resource>::url_path(&(), namespace)
        },
        is_metadata: false,
    };

    /// Reads the objects of a namespace, or of all. Where the user may not list those of the whole
    /// cluster, reads its namespaces one by one, except the excluded ones; where the user may not
    /// list namespaces either, the context's namespace.
    pub(crate) async fn read<T: DeserializeOwned>(
        self,
        cluster: &Cluster,
        namespace: Option<&str>,
        excluded: Option<&ExcludedNamespaces>,
        take: &mut impl FnMut(Event<T>),
    ) {
        if let Some(namespace) = namespace {
            return self.read_namespace(cluster, namespace, take).await;
        }
        let operation = format!("cannot list the {} of all namespaces", self.plural);
        let path = (self.path)(None);
        let all = self.pages(cluster, &path, &operation, |page| {
            take(Event::Page(page));
        });
        let error = match all.await {
            Ok(()) => return,
            Err(error) => error,
        };
        if error.kind != ErrorKind::Forbidden {
            return take(Event::NotRead { part: ClusterPart::Whole.to_string(), error });
        }
        if let Ok(names) = namespaces(cluster).await {
            let is_wanted =
                |name: &String| excluded.is_none_or(|excluded| !excluded.contains(name));
            for name in names.into_iter().filter(is_wanted) {
                self.read_namespace(cluster, &name, take).await;
            }
        } else {
            let part = ClusterPart::NamespacesOtherThan(&cluster.namespace).to_string();
            take(Event::NotRead { part, error });
            self.read_namespace(cluster, &cluster.namespace, take).await;
        }
    }

    /// Reads pods as [`Listed::read`] does; for custom checks as well where `is_whole`, which takes
    /// half as long again.
    pub(crate) async fn read_pods(
        cluster: &Cluster,
        namespace: Option<&str>,
        excluded: Option<&ExcludedNamespaces>,
        is_whole: bool,
        take: &mut impl FnMut(Event<LivePod>),
    ) {
        if is_whole {
            let mut take = |event: Event<Whole<PodView>>| take(event.map(Into::into));
            Self::PODS.read(cluster, namespace, excluded, &mut take).await;
        } else {
            let mut take = |event: Event<PodView>| take(event.map(Into::into));
            Self::PODS.read(cluster, namespace, excluded, &mut take).await;
        }
    }

    async fn pages<T: DeserializeOwned>(
        self,
        cluster: &Cluster,
        path: &str,
        operation: &str,
        take: impl FnMut(Page<T>),
    ) -> Result<(), ClusterError> {
        if self.is_metadata {
            // A selector that selects everything.
            let limits =
                Limits { deadline: CALL, most: usize::MAX, page: pages::PAGE, labels: Some("") };
            return pages::read_within(&cluster.client, path, operation, limits, take).await;
        }
        pages::read(&cluster.client, path, operation, take).await
    }

    async fn read_namespace<T: DeserializeOwned>(
        self,
        cluster: &Cluster,
        namespace: &str,
        take: &mut impl FnMut(Event<T>),
    ) {
        let operation = format!("cannot list the {} of namespace {namespace}", self.plural);
        let mut is_empty = true;
        let path = (self.path)(Some(namespace));
        let result = self.pages(cluster, &path, &operation, |page: Page<T>| {
            is_empty &= page.objects.is_empty() && page.unreadable.is_empty();
            take(Event::Page(page));
        });
        let result = match result.await {
            Ok(()) if is_empty => cluster.expect_namespace(namespace).await,
            result => result,
        };
        if let Err(error) = result {
            take(Event::NotRead { part: ClusterPart::Namespace(namespace).to_string(), error });
        }
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
