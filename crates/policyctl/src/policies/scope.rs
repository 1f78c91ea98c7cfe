//! The namespaces to which cluster policies apply, by the labels that the cluster's namespaces have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Resource as _};
use policy_core::custom::{CustomChecks, CustomNamespace, CustomNamespaces};
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::{ClusterScope, CompiledPolicy};
use policy_core::report::CoverageCounter;
use policy_core::view::NamespaceView;

use super::{Policy, PolicyApi};
use crate::cluster::pages::{self, Page};
use crate::cluster::{Cluster, ClusterError, ErrorKind};
use crate::output;

/// The labels of a namespace.
pub(crate) type Labels = BTreeMap<String, String>;

/// The labels of all namespaces, by name.
pub(crate) struct NamespaceLabels(BTreeMap<String, Labels>);

impl NamespaceLabels {
    /// Reads those of the whole cluster.
    pub(crate) async fn of_all(cluster: &Cluster) -> Result<Self, ClusterError> {
        let operation = "cannot list the namespaces with their labels";
        let mut labels = BTreeMap::new();
        let path = Namespace::url_path(&(), None);
        pages::read(&cluster.client(), &path, operation, |page: Page<NamespaceView>| {
            labels.extend(page.objects.into_iter().map(NamespaceView::into_parts));
        })
        .await?;
        Ok(Self(labels))
    }

    /// The namespaces as custom checks see them.
    pub(crate) fn custom(&self) -> CustomNamespaces {
        let each = self.0.iter();
        each.map(|(name, labels)| (name.clone(), CustomNamespace::new(name, labels))).collect()
    }

    /// The namespaces that the custom checks of these policies see: those of a cluster, or one of
    /// them. None where no expression depends on them, or where they cannot be read, which is noted.
    pub(crate) async fn for_custom<'a>(
        cluster: &Cluster,
        namespace: Option<&str>,
        policies: impl IntoIterator<Item = &'a CompiledPolicy>,
        coverage: &mut CoverageCounter,
    ) -> Arc<CustomNamespaces> {
        let mut custom = policies.into_iter().filter_map(CompiledPolicy::custom);
        if !custom.any(CustomChecks::need_namespace) {
            return Arc::default();
        }
        let labels = match namespace {
            Some(name) => labels_of(cluster, name)
                .await
                .map(|labels| Self([(name.to_owned(), labels)].into())),
            None => Self::of_all(cluster).await,
        };
        match labels {
            Ok(labels) => Arc::new(labels.custom()),
            Err(error) => {
                coverage.note(&"namespaces".into(), None, error.to_string());
                Arc::default()
            }
        }
    }

    /// The names of the namespaces to which a cluster policy applies.
    pub(crate) fn selected(
        &self,
        scope: &ClusterScope,
        excluded: &ExcludedNamespaces,
    ) -> BTreeSet<String> {
        self.selected_with_labels(scope, excluded).map(|(name, _)| name.clone()).collect()
    }

    /// The namespaces to which a cluster policy applies.
    pub(crate) fn selected_with_labels(
        &self,
        scope: &ClusterScope,
        excluded: &ExcludedNamespaces,
    ) -> impl Iterator<Item = (&String, &Labels)> {
        self.0.iter().filter(|(name, labels)| scope.selects(name, labels, excluded))
    }
}

/// Reads the labels of a namespace; none where it does not exist.
pub(crate) async fn labels_of(cluster: &Cluster, namespace: &str) -> Result<Labels, ClusterError> {
    let api: Api<Namespace> = Api::all(cluster.client());
    let operation = format!("cannot read the labels of namespace {namespace}");
    let found = cluster.call(&operation, api.get_opt(namespace)).await?;
    Ok(found.and_then(|found| found.metadata.labels).unwrap_or_default())
}

/// A valid policy, and the namespaces to which it applies.
pub(crate) struct ScopedPolicy {
    pub(crate) policy: Policy,
    pub(crate) compiled: CompiledPolicy,
    pub(crate) namespaces: BTreeSet<String>,
}

impl PolicyApi<'_> {
    /// The cluster policies that apply to one of these namespaces, or to any. One that is invalid is
    /// left out, which is said.
    pub(crate) async fn scoped(
        &self,
        namespaces: Option<&[&str]>,
        excluded: &ExcludedNamespaces,
    ) -> Result<Vec<ScopedPolicy>, ClusterError> {
        let policies = self.list_cluster().await?;
        if policies.is_empty() {
            return Ok(Vec::new());
        }
        let labels = match namespaces {
            Some(names) => {
                let mut labels = BTreeMap::new();
                for name in names {
                    labels.insert((*name).to_owned(), labels_of(self.cluster(), name).await?);
                }
                NamespaceLabels(labels)
            }
            None => NamespaceLabels::of_all(self.cluster()).await?,
        };
        let mut scoped = Vec::new();
        for policy in policies.into_values() {
            let Ok((compiled, Some(scope))) = policy.compiled_with_scope() else {
                output::reason(policy.is_invalid());
                continue;
            };
            let namespaces = labels.selected(&scope, excluded);
            if !namespaces.is_empty() {
                scoped.push(ScopedPolicy { policy, compiled, namespaces });
            }
        }
        Ok(scoped)
    }

    /// The same; none where the user may not read them, which is said.
    pub(crate) async fn scoped_if_allowed(
        &self,
        namespaces: Option<&[&str]>,
        excluded: &ExcludedNamespaces,
    ) -> Result<Vec<ScopedPolicy>, ClusterError> {
        match self.scoped(namespaces, excluded).await {
            Err(error) if error.kind == ErrorKind::Forbidden => {
                output::reason(format_args!("{error}; cluster policies are left out"));
                Ok(Vec::new())
            }
            result => result,
        }
    }

    /// The valid policies that apply to a namespace: cluster policies first, each kind by name.
    pub(crate) async fn applying_to(
        &self,
        namespace: &str,
    ) -> Result<Vec<(String, CompiledPolicy)>, ClusterError> {
        let of_cluster = self.scoped(Some(&[namespace]), &ExcludedNamespaces::default()).await?;
        let of_cluster =
            of_cluster.into_iter().map(|scoped| (scoped.policy.full_name(), scoped.compiled));
        let own = self.list(Some(namespace)).await.whole()?;
        let own = own.values().filter_map(|own| Some((own.full_name(), own.compiled().ok()?)));
        Ok(of_cluster.chain(own).collect())
    }
}
