//! All that the operator writes. Each write asks the gate right before its request, ends before
//! the lead does, and can be repeated.

use std::borrow::Cow;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource};
use kube_runtime::events::{Event, EventType, Recorder, Reporter};
use metrics::counter;
use policy_core::api::{
    API_VERSION, DevOpsPolicy, DevOpsPolicyStatus, FINALIZER, PolicyAuditResult,
};
use policy_core::score::Classification;
use policy_core::view::{PolicyView, Refused, policy_metadata};
use policy_runtime::backoff::Backoff;
use policy_runtime::client::reason;
use policy_runtime::lease::Gate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::timeout;
use tracing::warn;

use crate::key::Key;

/// Under which name the API server keeps what is written here.
pub(crate) const MANAGER: &str = "policy-operator";
/// For one write, at most.
const DEADLINE: Duration = Duration::from_secs(3);
/// Where a namespace goes, nothing can be made in it any more.
const TERMINATING: &str = "because it is being terminated";

/// A write that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} of {policy}: {problem}")]
pub(crate) struct WriteError {
    operation: &'static str,
    policy: Key,
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{}", reason(.0))]
    Refused(Box<kube::Error>),
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("another replica leads")]
    NotLeader,
}

/// Sorts of failures, by when it makes sense to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// Somebody else wrote at the same time.
    Conflict,
    /// A right is missing.
    Forbidden,
    /// The server will not take this, however often it is asked.
    Invalid,
    /// Everything that may be over soon.
    Transient,
    /// It is another replica's turn.
    NotLeader,
}

impl Class {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::Conflict, Self::Forbidden, Self::Invalid, Self::Transient, Self::NotLeader];

    /// The value of a label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Forbidden => "forbidden",
            Self::Invalid => "invalid",
            Self::Transient => "transient",
            Self::NotLeader => "not_leader",
        }
    }
}

impl Class {
    /// When to try again after failures of the sort, one after the other.
    pub(crate) const fn backoff(self) -> Backoff {
        let (first, most) = match self {
            Self::Conflict => (Duration::from_millis(100), Duration::from_secs(10)),
            // A lead may also come back unnoticed, when a process stood still.
            Self::Transient | Self::NotLeader => (Duration::from_secs(1), Duration::from_secs(60)),
            Self::Forbidden => (Duration::from_secs(10), Duration::from_secs(200)),
            Self::Invalid => (Duration::from_secs(30), Duration::from_secs(200)),
        };
        Backoff::new(first, most)
    }
}

impl WriteError {
    /// The sort of the failure.
    pub(crate) fn class(&self) -> Class {
        match &self.problem {
            Problem::NotLeader => Class::NotLeader,
            Problem::Late(_) => Class::Transient,
            Problem::Refused(error) => match &**error {
                kube::Error::Api(status) => match status.code {
                    409 => Class::Conflict,
                    401 | 403 => Class::Forbidden,
                    400 | 413 | 422 => Class::Invalid,
                    _ => Class::Transient,
                },
                _ => Class::Transient,
            },
        }
    }

    fn code(&self) -> Option<u16> {
        match &self.problem {
            Problem::Refused(error) => match &**error {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether the object, or its namespace, is going or gone: there is nothing to write any more.
    fn is_gone(&self) -> bool {
        self.code() == Some(404) || self.is_terminating()
    }

    fn is_terminating(&self) -> bool {
        let Problem::Refused(error) = &self.problem else { return false };
        self.code() == Some(403) && error.to_string().contains(TERMINATING)
    }
}

/// Writes to the cluster, while this replica leads.
#[derive(Clone)]
pub(crate) struct Writer {
    client: Client,
    gate: Gate,
    events: Recorder,
}

/// Of a policy as much as an answer to a write has to say.
#[derive(kube_derive::Resource, Deserialize, Clone, Debug)]
#[resource(inherit = "DevOpsPolicy")]
struct Head {
    #[serde(deserialize_with = "policy_metadata")]
    metadata: ObjectMeta,
}

/// A status as it is applied.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Applied<'a> {
    api_version: &'static str,
    kind: Cow<'static, str>,
    metadata: Identity<'a>,
    status: &'a DevOpsPolicyStatus,
}

/// With its uid, no other policy of that name can be meant.
#[derive(Debug, Serialize)]
struct Identity<'a> {
    name: Option<&'a str>,
    namespace: Option<&'a str>,
    uid: Option<&'a str>,
}

impl<'a> Applied<'a> {
    fn to(policy: &'a PolicyView, status: &'a DevOpsPolicyStatus) -> Self {
        let ObjectMeta { name, namespace, uid, .. } = &policy.metadata;
        let metadata = Identity {
            name: name.as_deref(),
            namespace: namespace.as_deref(),
            uid: uid.as_deref(),
        };
        Self { api_version: API_VERSION, kind: DevOpsPolicy::kind(&()), metadata, status }
    }
}

impl Writer {
    pub(crate) fn new(client: Client, gate: Gate) -> Self {
        let reporter =
            Reporter { controller: MANAGER.to_owned(), instance: Some(gate.identity().to_owned()) };
        let events = Recorder::new(client.clone(), reporter);
        Self { client, gate, events }
    }

    /// Whether this replica leads.
    pub(crate) fn leads(&self) -> bool {
        self.gate.is_open()
    }

    /// Whether another replica leads, as far as is known.
    pub(crate) fn follows(&self) -> bool {
        let holder = self.gate.holder();
        !self.leads() && holder.is_some_and(|holder| *holder != *self.gate.identity())
    }

    /// Writes a status. Gives the version that the policy has with it; `None` where the policy is
    /// gone.
    pub(crate) async fn status(
        &self,
        policy: &PolicyView,
        status: &DevOpsPolicyStatus,
    ) -> Result<Option<String>, WriteError> {
        let key = Key::of(&policy.metadata);
        let api = self.api::<Head>(&key);
        let request = async {
            if matches!(policy.rules, Err(Refused::Undecodable(_))) {
                let patch = Patch::Merge(merged(policy, status));
                return api.patch_status(&key.name, &merging(), &patch).await;
            }
            let parameters = PatchParams::apply(MANAGER).force();
            let patch = Patch::Apply(Applied::to(policy, status));
            api.patch_status(&key.name, &parameters, &patch).await
        };
        let written = self.call("write the status", &key, request).await;
        Ok(unless_gone(written)?.and_then(|head| head.metadata.resource_version))
    }

    /// Holds the policy until [`Writer::release`]: whoever deletes it waits for us to notice.
    pub(crate) async fn hold(&self, policy: &ObjectMeta) -> Result<(), WriteError> {
        let finalizers = policy.finalizers.clone().unwrap_or_default();
        let held = finalizers.iter().cloned().chain([FINALIZER.to_owned()]).collect();
        self.finalizers("add the finalizer", policy, held).await
    }

    /// Lets a deleted policy go.
    pub(crate) async fn release(&self, policy: &ObjectMeta) -> Result<(), WriteError> {
        let mut finalizers = policy.finalizers.clone().unwrap_or_default();
        finalizers.retain(|name| name != FINALIZER);
        self.finalizers("remove the finalizer", policy, finalizers).await
    }

    /// A merge patch that names the version it is based on: a list of finalizers has many owners,
    /// and server-side apply would leave our entry there when somebody else applied it as well.
    async fn finalizers(
        &self,
        operation: &'static str,
        policy: &ObjectMeta,
        finalizers: Vec<String>,
    ) -> Result<(), WriteError> {
        let key = Key::of(policy);
        let version = &policy.resource_version;
        let patch = Patch::Merge(json!({
            "metadata": { "resourceVersion": version, "finalizers": finalizers },
        }));
        let parameters = merging();
        let api = self.api::<Head>(&key);
        let request = api.patch(&key.name, &parameters, &patch);
        unless_gone(self.call(operation, &key, request).await).map(drop)
    }

    /// Makes an audit result. Says whether that was done: its name, that of its minute, may be
    /// taken, by a verdict that need not be the same.
    pub(crate) async fn audit_result(
        &self,
        policy: &Key,
        result: &PolicyAuditResult,
    ) -> Result<bool, WriteError> {
        let api = self.api::<PolicyAuditResult>(policy);
        let parameters =
            PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let request = api.create(&parameters, result);
        match self.call("write an audit result", policy, request).await {
            Ok(_) => {
                counter!("audit_results_total").increment(1);
                Ok(true)
            }
            Err(error) if error.code() == Some(409) => Ok(false),
            // It would go with its policy.
            Err(error) if error.is_terminating() => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Deletes an audit result; one that is gone is no error.
    pub(crate) async fn delete_audit_result(
        &self,
        policy: &Key,
        name: &str,
    ) -> Result<(), WriteError> {
        let api = self.api::<PartialObjectMeta<PolicyAuditResult>>(policy);
        let parameters = DeleteParams::default();
        let request = api.delete(name, &parameters);
        unless_gone(self.call("delete an audit result", policy, request).await).map(drop)
    }

    /// Tells of another class in an Event. Events are for people who look at the moment: one that
    /// cannot be written is counted, and not tried again.
    pub(crate) async fn class_changed(
        &self,
        policy: &PolicyView,
        before: Option<Classification>,
        now: Classification,
        sentence: &str,
    ) {
        let key = Key::of(&policy.metadata);
        let note = match before {
            Some(before) => format!("{sentence}; was {before}"),
            None => sentence.to_owned(),
        };
        let is_fine = matches!(now, Classification::Healthy | Classification::Stable);
        let event = Event {
            type_: if is_fine { EventType::Normal } else { EventType::Warning },
            // A reason for each class: repeated Events of one reason are folded into the first.
            reason: now.as_str().to_owned(),
            note: Some(note),
            action: "Judge".to_owned(),
            secondary: None,
        };
        let reference = policy.object_ref(&());
        let request = self.events.publish(&event, &reference);
        if let Err(error) = self.call("write an Event", &key, request).await {
            counter!("dropped_total", "what" => "events").increment(1);
            if !error.is_gone() {
                warn!("{error}");
            }
        }
    }

    fn api<K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>>(
        &self,
        policy: &Key,
    ) -> Api<K> {
        Api::namespaced(self.client.clone(), &policy.namespace)
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        policy: &Key,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, WriteError> {
        let failed = |problem| WriteError { operation, policy: policy.clone(), problem };
        let lead = self.gate.check().ok_or_else(|| failed(Problem::NotLeader))?;
        let deadline = DEADLINE.min(lead.remaining());
        match timeout(deadline, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failed(Problem::Refused(Box::new(error)))),
            Err(_) => Err(failed(Problem::Late(deadline))),
        }
    }
}

fn merging() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

/// The API server applies nothing to an object that does not fit its definition (500, "failed to
/// create manager for existing fields"): there the status is merged, and what it no longer says
/// is taken out by name.
fn merged(policy: &PolicyView, status: &DevOpsPolicyStatus) -> Value {
    let mut new = json!(status);
    let old = json!(policy.status.as_deref());
    for field in old.as_object().into_iter().flat_map(Map::keys) {
        if new.get(field).is_none() {
            new[field.as_str()] = Value::Null;
        }
    }
    json!({ "metadata": { "uid": policy.metadata.uid }, "status": new })
}

/// `None` where what was to be written to is gone.
fn unless_gone<T>(written: Result<T, WriteError>) -> Result<Option<T>, WriteError> {
    match written {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error),
    }
}
