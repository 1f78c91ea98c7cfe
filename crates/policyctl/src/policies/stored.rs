//! Policies that a cluster stores.

use std::collections::BTreeMap;

use anyhow::bail;
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Resource as _};
use policy_core::api::{ClusterDevOpsPolicy, DevOpsPolicy, GROUP, VERSION};
use serde_json::Value;

use super::{Policy, PolicyName, full_name};
use crate::cluster::namespaced::{Event, Listed};
use crate::cluster::pages::{self, Page};
use crate::cluster::{Cluster, ClusterError, ErrorKind};
use crate::exit::Exit;
use crate::limits::{Limits, NotJudged};
use crate::output;

const OPERATION: &str = "cannot use DevOpsPolicy";

/// The policies of a cluster, and the parts of it that could not be read.
#[derive(Default)]
pub(crate) struct ListedPolicies {
    pub(crate) policies: BTreeMap<PolicyName, Policy>,
    limits: Limits,
    not_read: Vec<(String, ClusterError)>,
}

impl ListedPolicies {
    /// Prints what could not be read, and gives the exit code for it.
    pub(crate) fn report_gaps(&self) -> Exit {
        self.gaps().iter().for_each(output::error);
        if self.not_read.is_empty() { Exit::Fine } else { Exit::Cluster }
    }

    /// What could not be read, and why.
    pub(crate) fn gaps(&self) -> Vec<String> {
        let gap = |(part, error): &(String, ClusterError)| format!("{part}: {}", error.reason());
        self.not_read.iter().map(gap).collect()
    }

    /// The policies that are not judged because there are too many of something; `None` where not
    /// all could be read.
    pub(crate) fn not_judged(&self) -> Option<Vec<NotJudged>> {
        self.not_read.is_empty().then(|| self.limits.not_judged())
    }

    /// An error where anything could not be read.
    pub(crate) fn whole(self) -> Result<BTreeMap<PolicyName, Policy>, ClusterError> {
        match self.not_read.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(self.policies),
        }
    }
}

/// Access to the policies of a cluster.
pub(crate) struct PolicyApi<'a> {
    cluster: &'a Cluster,
    resource: ApiResource,
}

impl<'a> PolicyApi<'a> {
    /// An error where their definition is not installed.
    pub(crate) async fn of(cluster: &'a Cluster) -> Result<Self, ClusterError> {
        let absent = "the cluster does not have its definition; \
                      `policyctl crd install` installs it";
        Self::find(cluster).await?.ok_or_else(|| ClusterError::configuration(OPERATION, absent))
    }

    /// `None` where the definition is not installed, so that there can be no policy.
    pub(crate) async fn find(cluster: &'a Cluster) -> Result<Option<Self>, ClusterError> {
        let group = format!("{GROUP}/{VERSION}");
        let client = cluster.client();
        let served = client.list_api_group_resources(&group);
        match cluster.call(OPERATION, served).await {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            // A user without access to discovery may still have access to policies.
            Err(error) if error.kind != ErrorKind::Forbidden => Err(error),
            _ => Ok(Some(Self { cluster, resource: ApiResource::erase::<DevOpsPolicy>(&()) })),
        }
    }

    pub(crate) fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// The policies of a namespace; the cluster policies where it is empty.
    pub(crate) fn namespaced(&self, namespace: &str) -> Api<DynamicObject> {
        let client = self.cluster.client();
        if namespace.is_empty() {
            return Api::all_with(client, &ApiResource::erase::<ClusterDevOpsPolicy>(&()));
        }
        Api::namespaced_with(client, namespace, &self.resource)
    }

    /// The cluster policies; none where their definition is not installed.
    pub(crate) async fn list_cluster(&self) -> Result<BTreeMap<PolicyName, Policy>, ClusterError> {
        let mut policies = BTreeMap::new();
        self.read_cluster(|object| {
            // A list does not repeat the kind.
            let policy = Policy { namespace: String::new(), ..Policy::of(object, "") };
            policies.insert(policy.key(), policy);
        })
        .await?;
        Ok(policies)
    }

    /// Reads the cluster policies whole; none where their definition is not installed.
    pub(crate) async fn read_cluster(
        &self,
        mut take: impl FnMut(&Value),
    ) -> Result<(), ClusterError> {
        let path = ClusterDevOpsPolicy::url_path(&(), None);
        let operation = "cannot list cluster policies";
        let take = |page: Page<Value>| page.objects.iter().for_each(&mut take);
        match pages::read(&self.cluster.client(), &path, operation, take).await {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// The policies of a namespace, or of all that the user may read.
    pub(crate) async fn list(&self, namespace: Option<&str>) -> ListedPolicies {
        let mut listed = ListedPolicies::default();
        let mut take = |event: Event<Value>| match event {
            Event::Page(page) => listed.policies.extend(page.objects.iter().map(|object| {
                listed.limits.add(object);
                let policy = Policy::of(object, "");
                (policy.key(), policy)
            })),
            Event::NotRead { part, error } => listed.not_read.push((part, error)),
        };
        self.read(namespace, &mut take).await;
        listed
    }

    /// Reads the policies of a namespace, or of all that the user may read, whole.
    pub(crate) async fn read(&self, namespace: Option<&str>, take: &mut impl FnMut(Event<Value>)) {
        let policies = Listed {
            plural: "policies",
            path: |namespace| DevOpsPolicy::url_path(&(), namespace),
            is_metadata: false,
        };
        policies.read(self.cluster, namespace, None, take).await;
    }

    /// The policy of that name, of the cluster where the namespace is empty. The error names the policies that it may have been mistaken for.
    pub(crate) async fn get(&self, namespace: &str, name: &str) -> anyhow::Result<DynamicObject> {
        let full_name = full_name(namespace, name);
        let operation = format!("cannot read policy {full_name}");
        let api = self.namespaced(namespace);
        if let Some(found) =
            crate::cluster::write::get(self.cluster, &api, name, &operation).await?
        {
            return Ok(found);
        }
        if !namespace.is_empty() {
            self.cluster.expect_namespace(namespace).await?;
        }
        // Best effort: without the permission to list, the error is just shorter.
        let mut others = self.list_cluster().await.unwrap_or_default();
        others.append(&mut self.list(None).await.policies);
        let others = others.values().filter(|p| p.namespace == namespace || p.name == name);
        let others: Vec<String> = others.map(Policy::full_name).collect();
        if others.is_empty() {
            bail!("there is no policy {full_name}");
        }
        bail!("there is no policy {full_name}; there is {}", others.join(", "))
    }
}
