//! What enforce mode writes to workloads, and reads of them.

use http::header::CONTENT_TYPE;
use http::{Method, Request};
use policy_core::workload::ObjectKind;
use policy_kube::objects;
use serde_json::{Value, json};

use super::{DEADLINE, MANAGER, Writer, unless_gone};
use crate::policy_key::PolicyKey;
use crate::write_error::WriteError;

/// The path of a workload of the namespace.
pub(crate) fn workload_path(namespace: &str, kind: ObjectKind, name: &str) -> String {
    let plural = kind.as_str().to_ascii_lowercase();
    format!("/apis/apps/v1/namespaces/{namespace}/{plural}s/{name}")
}

/// How a patch is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The API server answers as if it had, and stores nothing.
    DryRun,
    Real,
}

impl Writer {
    /// Reads an object. `None` where it does not exist, or is of a kind that is not served.
    pub(crate) async fn read(&self, path: &str) -> Result<Option<Value>, WriteError> {
        Ok(objects::get(&self.client, path, DEADLINE).await?)
    }

    /// Reads the objects of a list; none where their kind is not served.
    pub(crate) async fn read_each(
        &self,
        path: &str,
        take: impl FnMut(&Value),
    ) -> Result<(), WriteError> {
        Ok(objects::each(&self.client, path, DEADLINE, take).await?)
    }

    /// Applies a workload on the server, without force, and returns it as it is then.
    pub(crate) async fn apply_workload(
        &self,
        policy: &PolicyKey,
        path: &str,
        body: &Value,
        attempt: Attempt,
    ) -> Result<Value, WriteError> {
        let dry_run = if attempt == Attempt::DryRun { "&dryRun=All" } else { "" };
        let path = format!("{path}?fieldManager={MANAGER}{dry_run}");
        let operation = "patch a workload of";
        self.send(policy, operation, Method::PATCH, &path, "application/apply-patch+yaml", body)
            .await
    }

    /// Sends a JSON patch of a workload, and returns it as it is then.
    pub(crate) async fn patch_workload(
        &self,
        policy: &PolicyKey,
        path: &str,
        operations: &Value,
    ) -> Result<Value, WriteError> {
        let path = format!("{path}?fieldManager={MANAGER}");
        let operation = "release a workload of";
        self.send(
            policy,
            operation,
            Method::PATCH,
            &path,
            "application/json-patch+json",
            operations,
        )
        .await
    }

    /// Deletes a pod, if it still exists.
    pub(crate) async fn delete_pod(&self, policy: &PolicyKey, pod: &str) -> Result<(), WriteError> {
        let path = format!("/api/v1/namespaces/{}/pods/{pod}", policy.namespace);
        let body = json!({ "apiVersion": "v1", "kind": "DeleteOptions" });
        let deleted = self
            .send(policy, "delete a pod of", Method::DELETE, &path, "application/json", &body)
            .await;
        unless_gone(deleted).map(drop)
    }

    async fn send(
        &self,
        policy: &PolicyKey,
        operation: &'static str,
        method: Method,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<Value, WriteError> {
        let request = async {
            let request = Request::builder().method(method).uri(path);
            let request = request.header(CONTENT_TYPE, content_type);
            let request = request.body(body.to_string().into_bytes());
            self.client.request::<Value>(request.map_err(kube::Error::HttpError)?).await
        };
        self.call(operation, policy, request).await
    }
}
