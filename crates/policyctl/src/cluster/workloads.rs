//! Deployments, `StatefulSets` and `DaemonSets`, whole, as the API server has them.

use http::{Method, Request};
use policy_core::api::FIELD_MANAGER as OPERATOR;
use policy_core::workload::ObjectKind;
use policy_kube::names::is_subdomain;
use serde_json::Value;

use super::write::FIELD_MANAGER;
use super::{Cluster, ClusterError, ErrorKind};

/// A change of a workload.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WorkloadPatch<'a> {
    /// A server-side apply under the field manager of the operator, which takes back what it does
    /// not name.
    Apply(&'a Value),
    /// A JSON patch.
    Json(&'a Value),
}

/// A workload by its kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WorkloadName {
    pub(crate) namespace: String,
    pub(crate) kind: ObjectKind,
    pub(crate) name: String,
}

impl WorkloadName {
    /// `None` where the API server has no such path: the name may come from the status of a policy.
    fn path(&self) -> Option<String> {
        let plural = match self.kind {
            ObjectKind::Deployment => "deployments",
            ObjectKind::StatefulSet => "statefulsets",
            ObjectKind::DaemonSet => "daemonsets",
            _ => return None,
        };
        let Self { namespace, name, .. } = self;
        let is_name = is_subdomain(namespace) && is_subdomain(name);
        is_name.then(|| format!("/apis/apps/v1/namespaces/{namespace}/{plural}/{name}"))
    }

    /// The workload; `None` where there is none of that name.
    pub(crate) async fn get(&self, cluster: &Cluster) -> Result<Option<Value>, ClusterError> {
        let Some(path) = self.path() else { return Ok(None) };
        match self.send(cluster, Method::GET, &path, None).await {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// Sends a patch, and returns the workload as the server has it then.
    pub(crate) async fn patch(
        &self,
        cluster: &Cluster,
        patch: WorkloadPatch<'_>,
        dry_run: bool,
    ) -> Result<Value, ClusterError> {
        let (content_type, manager, body) = match patch {
            WorkloadPatch::Apply(body) => ("application/apply-patch+yaml", OPERATOR, body),
            WorkloadPatch::Json(body) => ("application/json-patch+json", FIELD_MANAGER, body),
        };
        let dry_run = if dry_run { "&dryRun=All" } else { "" };
        let object = self.path().unwrap_or_default();
        let uri = format!("{object}?fieldManager={manager}&fieldValidation=Strict{dry_run}");
        self.send(cluster, Method::PATCH, &uri, Some((content_type, body))).await
    }

    async fn send(
        &self,
        cluster: &Cluster,
        method: Method,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Value, ClusterError> {
        let operation = match method {
            Method::GET => format!("cannot read {self}"),
            _ => format!("cannot change {self}"),
        };
        let mut request = Request::builder().method(method).uri(path);
        let mut bytes = Vec::new();
        if let Some((content_type, body)) = body {
            request = request.header(http::header::CONTENT_TYPE, content_type);
            bytes = body.to_string().into_bytes();
        }
        let request = request.body(bytes);
        let request = request
            .map_err(|error| ClusterError::configuration(operation.clone(), error.to_string()))?;
        cluster.call(&operation, cluster.client().request(request)).await
    }
}

impl std::fmt::Display for WorkloadName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}
