//! The objects that are removed, and their removal.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, ObjectMeta,
    Preconditions, TypeMeta,
};
use policy_core::api;
use policy_manifests::{NAMESPACE, OPERATOR, PART_OF, PLATFORM, WATCHER};
use serde::Deserialize;

use super::{Outcome, Row};
use crate::cluster::write::get;
use crate::cluster::{Cluster, ClusterError, ErrorKind};
use crate::cmd::deploy;

const POLL: Duration = Duration::from_millis(500);

/// An object by its kind and name.
#[derive(Clone, Debug)]
pub(super) struct Named {
    resource: ApiResource,
    namespace: Option<String>,
    name: String,
    /// Whether it is removed only with the label of the platform. Others have a name that is the
    /// platform's alone.
    needs_label: bool,
}

/// What is removed, in the order of its removal.
#[derive(Debug)]
pub(super) struct Steps {
    pub(super) configurations: Vec<Named>,
    pub(super) operator: Named,
    pub(super) others: Vec<Named>,
}

/// The parts of an object that name it.
#[derive(Deserialize)]
struct Header {
    #[serde(flatten)]
    types: TypeMeta,
    metadata: ObjectMeta,
}

/// Everything that an installation may consist of.
pub(super) fn installed(with_definitions: bool) -> anyhow::Result<Steps> {
    let objects = deploy::everything();
    let headers =
        objects.iter().map(|object| serde_json::from_value(serde_json::to_value(object)?));
    let headers: Vec<Header> = headers.collect::<Result<_, serde_json::Error>>()?;
    let named = headers.into_iter().map(Named::of).collect::<anyhow::Result<Vec<_>>>()?;
    let (configurations, others): (Vec<_>, Vec<_>) =
        named.into_iter().partition(|named| named.resource.kind.ends_with("WebhookConfiguration"));
    let (mut operator, mut others): (Vec<_>, Vec<_>) = others
        .into_iter()
        .partition(|named| named.resource.kind == "Deployment" && named.name == OPERATOR.name);
    let operator = operator.pop().context("the operator has no Deployment")?;
    // The namespace is the first that is installed. The Leases are made by the services.
    let leases = [WATCHER, OPERATOR].map(|component| Named {
        resource: ApiResource::erase::<Lease>(&()),
        namespace: Some(NAMESPACE.to_owned()),
        name: component.name.to_owned(),
        needs_label: false,
    });
    others.splice(1..1, leases);
    if with_definitions {
        let definitions = api::crds().into_iter().map(|definition| Named {
            resource: ApiResource::erase::<CustomResourceDefinition>(&()),
            namespace: None,
            name: definition.metadata.name.unwrap_or_default(),
            needs_label: false,
        });
        others.splice(1..1, definitions);
    }
    others.reverse();
    Ok(Steps { configurations, operator, others })
}

impl Named {
    fn of(Header { types, metadata }: Header) -> anyhow::Result<Self> {
        let kind: GroupVersionKind = types.try_into().context("an object without a kind")?;
        Ok(Self {
            resource: ApiResource::from_gvk(&kind),
            namespace: metadata.namespace,
            name: metadata.name.context("an object without a name")?,
            needs_label: true,
        })
    }

    pub(super) fn row(&self, outcome: Outcome, reason: Option<String>) -> Row {
        Row {
            kind: self.resource.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            outcome,
            reason,
        }
    }

    pub(super) fn is_namespace(&self) -> bool {
        self.resource.kind == "Namespace"
    }

    fn api(&self, cluster: &Cluster) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(cluster.client(), namespace, &self.resource),
            None => Api::all_with(cluster.client(), &self.resource),
        }
    }
}

pub(super) struct Remover<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) dry_run: bool,
}

impl Remover<'_> {
    /// Removes an object; `None` where there is none.
    pub(super) async fn remove(&self, named: &Named) -> Result<Option<Row>, ClusterError> {
        let Named { resource, name, needs_label, .. } = named;
        let api = named.api(self.cluster);
        let what = format!("{} {name}", resource.kind);
        let found = get(self.cluster, &api, name, &format!("cannot read {what}")).await?;
        let Some(found) = found else { return Ok(None) };
        let labels = found.metadata.labels.unwrap_or_default();
        if *needs_label && labels.get(PART_OF).is_none_or(|found| found != PLATFORM) {
            let reason = format!("it has no label {PART_OF}={PLATFORM}");
            return Ok(Some(named.row(Outcome::Kept, Some(reason))));
        }
        let parameters = DeleteParams {
            dry_run: self.dry_run,
            // Not one of that name that somebody has made since.
            preconditions: Some(Preconditions { uid: found.metadata.uid, ..Default::default() }),
            ..DeleteParams::background()
        };
        let operation = format!("cannot remove {what}");
        match self.cluster.call(&operation, api.delete(name, &parameters)).await {
            Err(error) if error.kind != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let done = if self.dry_run { Outcome::WouldBeRemoved } else { Outcome::Removed };
        Ok(Some(named.row(done, None)))
    }

    /// Waits until no pod of the operator runs: it would add its finalizer again. A dry run only tests
    /// whether it could see that.
    pub(super) async fn wait_for_operator(&self, within: Duration) -> Result<(), ClusterError> {
        let operation = "cannot see the pods of policy-operator end";
        let pods: Api<Pod> = Api::namespaced(self.cluster.client(), NAMESPACE);
        let selected =
            ListParams::default().labels(&format!("app.kubernetes.io/name={}", OPERATOR.name));
        let start = Instant::now();
        loop {
            let found = self.cluster.call(operation, pods.list_metadata(&selected)).await?;
            if self.dry_run || found.items.is_empty() {
                return Ok(());
            }
            if start.elapsed() > within {
                return Err(ClusterError::timeout(operation, within));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_installation_from_behind() {
        let names = |objects: &[Named]| {
            let of = |named: &Named| format!("{} {}", named.resource.plural, named.name);
            objects.iter().map(of).collect::<Vec<_>>()
        };
        let steps = installed(true).unwrap();
        assert_eq!(
            names(&steps.configurations),
            [
                "validatingwebhookconfigurations kube-devops-policy-webhook",
                "mutatingwebhookconfigurations kube-devops-policy-webhook"
            ]
        );
        assert_eq!(names(&[steps.operator]), ["deployments policy-operator"]);
        let others = names(&steps.others);
        let position = |name: &str| others.iter().position(|other| other == name).unwrap();
        // What runs before its rights, and the limit of an account after what runs with it.
        let workload = position("deployments policy-webhook");
        for later in [
            "clusterrolebindings kube-devops-policy-webhook",
            "validatingadmissionpolicies kube-devops-policy-webhook",
            "serviceaccounts policy-webhook",
            "leases policy-operator",
        ] {
            assert!(workload < position(later), "{later}");
        }
        let last: Vec<&str> = others.iter().rev().take(6).map(String::as_str).collect();
        assert_eq!(
            last,
            [
                "namespaces kube-devops",
                "customresourcedefinitions devopspolicies.devops.stochastic.io",
                "customresourcedefinitions clusterdevopspolicies.devops.stochastic.io",
                "customresourcedefinitions policyauditresults.devops.stochastic.io",
                "leases policy-watcher",
                "leases policy-operator",
            ]
        );
    }
}
