//! Everything that the operator writes to the cluster. Each write asks the leader gate right before
//! the request, has a deadline within the lease, and can be repeated.

mod reports;
mod workloads;

use std::time::Duration;

use http::Request;
use http::header::CONTENT_TYPE;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource};
use metrics::counter;
use policy_core::api::{
    API_VERSION, ClusterDevOpsPolicy, DevOpsPolicy, DevOpsPolicyStatus, PolicyAuditResult,
};
use policy_core::view::{ClusterPolicyView, PolicyView, Refused};
use policy_kube::{ErrorKind, with_deadline};
use policy_runtime::lease::LeaderGate;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
pub(crate) use workloads::{Attempt, workload_path};

use crate::finalizer;
use crate::policy_key::PolicyKey;
use crate::write_budget::WriteBudget;
use crate::write_error::WriteError;
use policy_metrics::operator::AUDIT_RESULTS;

/// The field manager of the operator's writes.
pub(crate) const MANAGER: &str = "policy-operator";
/// The longest time of one write.
const DEADLINE: Duration = Duration::from_secs(3);

/// The role of this replica in the leader election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It writes.
    Leader,
    /// Another replica writes.
    Standby,
    /// No holder of the lease is known.
    NoLeader,
}

/// Writes to the cluster while this replica is the leader.
#[derive(Clone)]
pub(crate) struct Writer {
    client: Client,
    gate: LeaderGate,
    budget: WriteBudget,
}

impl Writer {
    /// `budget` counts every write.
    pub(crate) fn new(client: Client, gate: LeaderGate, budget: WriteBudget) -> Self {
        Self { client, gate, budget }
    }

    /// The name of this replica.
    pub(crate) fn identity(&self) -> &str {
        self.gate.identity()
    }

    /// How long the budget of a namespace is used up for.
    pub(crate) fn debt(&self, namespace: &str) -> Duration {
        let now = Instant::now();
        let until = self.budget.exhausted_until(namespace, now);
        until.map_or(Duration::ZERO, |until| until - now)
    }

    /// The term of the leadership; `None` if this replica is not the leader.
    pub(crate) fn term(&self) -> Option<u32> {
        self.gate.check().map(|leadership| leadership.term)
    }

    /// The current role of this replica.
    pub(crate) fn role(&self) -> Role {
        if self.gate.is_open() {
            return Role::Leader;
        }
        // The Lease may still name this replica after it has expired.
        match self.gate.holder() {
            Some(holder) if *holder != *self.gate.identity() => Role::Standby,
            _ => Role::NoLeader,
        }
    }

    /// Writes a status. Returns the policy with it, if it still exists.
    pub(crate) async fn status(
        &self,
        policy: &PolicyView,
        status: &DevOpsPolicyStatus,
    ) -> Result<Option<PolicyView>, WriteError> {
        let key = PolicyKey::of(&policy.metadata);
        let (parameters, patch) = if matches!(policy.rules, Err(Refused::Undecodable(_))) {
            (merge_params(), Patch::Merge(merge_patch(policy, status)))
        } else {
            // With the uid, the API server refuses the status for a later policy of that name.
            let ObjectMeta { name, namespace, uid, .. } = &policy.metadata;
            let is_cluster = key.is_cluster();
            let kind = if is_cluster { ClusterDevOpsPolicy::kind } else { DevOpsPolicy::kind };
            let patch = json!({
                "apiVersion": API_VERSION, "kind": kind(&()),
                "metadata": { "name": name, "namespace": namespace, "uid": uid },
                "status": status,
            });
            (PatchParams::apply(MANAGER).force(), Patch::Apply(patch))
        };
        let request = async {
            if key.is_cluster() {
                let api: Api<ClusterPolicyView> = Api::all(self.client.clone());
                api.patch_status(&key.name, &parameters, &patch).await.map(PolicyView::from)
            } else {
                let api: Api<PolicyView> = Api::namespaced(self.client.clone(), &key.namespace);
                api.patch_status(&key.name, &parameters, &patch).await
            }
        };
        unless_gone(self.call("write the status of", &key, request).await)
    }

    /// Adds the finalizer, so that a deletion waits until the operator has seen it.
    pub(crate) async fn add_finalizer(
        &self,
        policy: &PolicyView,
    ) -> Result<Option<PolicyView>, WriteError> {
        self.patch_finalizers("add the finalizer to", policy, finalizer::added(policy)).await
    }

    /// Removes the finalizer, so that the API server can complete the deletion.
    pub(crate) async fn remove_finalizer(
        &self,
        policy: &PolicyView,
    ) -> Result<Option<PolicyView>, WriteError> {
        self.patch_finalizers("remove the finalizer from", policy, finalizer::removed(policy)).await
    }

    /// A JSON patch, which names the finalizer alone, whatever the others are. Not by server-side
    /// apply: with that an entry stays until its last owner gives it up, so that a user who applied
    /// the finalizer as well (an export of the policy has it) would block the deletion:
    /// <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>.
    async fn patch_finalizers(
        &self,
        operation: &'static str,
        policy: &PolicyView,
        patch: Value,
    ) -> Result<Option<PolicyView>, WriteError> {
        let key = PolicyKey::of(&policy.metadata);
        let request = async {
            let policies = if key.is_cluster() {
                ClusterPolicyView::url_path(&(), None)
            } else {
                PolicyView::url_path(&(), Some(&key.namespace))
            };
            let request = Request::patch(format!("{policies}/{}?fieldManager={MANAGER}", key.name))
                .header(CONTENT_TYPE, "application/json-patch+json")
                .body(patch.to_string().into_bytes());
            let request = request.map_err(kube::Error::HttpError)?;
            let answer = if key.is_cluster() {
                self.client.request::<ClusterPolicyView>(request).await.map(PolicyView::from)
            } else {
                self.client.request::<PolicyView>(request).await
            };
            answer.map_err(finalizer::conflict)
        };
        unless_gone(self.call(operation, &key, request).await)
    }

    /// Creates an audit result. Returns whether its name, which is that of its minute, was free:
    /// an audit result of that name may report another verdict.
    pub(crate) async fn audit_result(
        &self,
        policy: &PolicyKey,
        result: &PolicyAuditResult,
    ) -> Result<bool, WriteError> {
        let namespace = result.metadata.namespace.as_deref().unwrap_or(&policy.namespace);
        let api: Api<PolicyAuditResult> = Api::namespaced(self.client.clone(), namespace);
        let parameters = create_params();
        let request = api.create(&parameters, result);
        match self.call("create an audit result of", policy, request).await {
            Ok(_) => {
                counter!(AUDIT_RESULTS.name).increment(1);
                Ok(true)
            }
            Err(error) if error.kind() == Some(ErrorKind::Conflict) => Ok(false),
            // It would be deleted with its policy.
            Err(error) if error.kind() == Some(ErrorKind::NamespaceTerminating) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Deletes an audit result of a namespace, if it still exists.
    pub(crate) async fn delete_audit_result(
        &self,
        policy: &PolicyKey,
        namespace: &str,
        name: &str,
    ) -> Result<(), WriteError> {
        let api: Api<PartialObjectMeta<PolicyAuditResult>> =
            Api::namespaced(self.client.clone(), namespace);
        let parameters = DeleteParams::default();
        let request = api.delete(name, &parameters);
        unless_gone(self.call("delete an audit result of", policy, request).await).map(drop)
    }

    /// Publishes an Event about a policy. One of a series exists, and is counted up.
    pub(crate) async fn event(&self, policy: &PolicyKey, event: &Event) -> Result<(), WriteError> {
        let namespace = event.metadata.namespace.as_deref().unwrap_or(&policy.namespace);
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let request = async {
            let Some(series) = &event.series else {
                return api.create(&create_params(), event).await;
            };
            let name = event.metadata.name.as_deref().unwrap_or_default();
            api.patch(name, &merge_params(), &Patch::Merge(json!({ "series": series }))).await
        };
        self.call("publish an Event of", policy, request).await.map(drop)
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        policy: &PolicyKey,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, WriteError> {
        let operation = format!("cannot {operation} policy {policy}");
        let Some(lead) = self.gate.check() else { return Err(WriteError::NotLeader(operation)) };
        self.budget.spend(&policy.namespace);
        let deadline = DEADLINE.min(lead.remaining());
        Ok(with_deadline(deadline, &operation, request).await?)
    }
}

fn merge_params() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

fn create_params() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

/// A merge patch of a status. It names the fields that the new status no longer has, as a merge
/// keeps what is not named.
///
/// Needed for a policy that does not fit its definition: the API server applies nothing to such an
/// object (500, "failed to create manager for existing fields"), as it cannot compute the fields
/// that exist: <https://github.com/kubernetes/kubernetes/blob/v1.37.0/staging/src/k8s.io/apimachinery/pkg/util/managedfields/internal/skipnonapplied.go>.
fn merge_patch(policy: &PolicyView, status: &DevOpsPolicyStatus) -> Value {
    let mut new = json!(status);
    let old = json!(policy.status.as_deref());
    for field in old.as_object().into_iter().flat_map(Map::keys) {
        if new.get(field).is_none() {
            new[field.as_str()] = Value::Null;
        }
    }
    json!({ "metadata": { "uid": policy.metadata.uid }, "status": new })
}

/// The answer to a write; `None` where the object is gone.
fn unless_gone<T>(written: Result<T, WriteError>) -> Result<Option<T>, WriteError> {
    match written {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error),
    }
}
