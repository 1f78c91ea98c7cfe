//! Changing a request: filling in fields of new pods, and giving way to the owners of workloads.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

use super::compact;
use super::owner::OwnerParts;
use super::raw::Raw;
use super::request::Operation;
use super::review::{Undecodable, in_parts, known};
use super::wire::{Envelope, RawRequest};
use crate::remediation::{Fields, give_way, inject};
use crate::text::excerpt;
use crate::workload::ObjectKind;

/// What is filled in for the new pods of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// The policy, as `namespace/name`.
    pub policy: String,
    /// The fields.
    pub fields: Fields,
}

/// A review that can be answered with a change of its object. Its texts are borrowed from the body.
pub struct MutationReview<'a> {
    /// The uid that the response must have.
    pub uid: Cow<'a, str>,
    /// The request, or why it cannot be decoded.
    pub request: Result<MutationRequest<'a>, String>,
}

/// A request, with its objects undecoded.
pub struct MutationRequest<'a> {
    /// The operation on the object.
    pub operation: Operation,
    /// The namespace of the request.
    pub namespace: Cow<'a, str>,
    kind: Option<ObjectKind>,
    object: Option<Raw<'a>>,
    old_object: Option<Raw<'a>>,
}

impl<'a> MutationReview<'a> {
    /// Decodes a review without its objects.
    ///
    /// # Errors
    /// There is no uid to answer to.
    pub fn decode(body: &'a [u8]) -> Result<Self, Undecodable> {
        let plain = compact::read::<Envelope<'_, RawRequest<'_, Raw<'_>, Raw<'_>>>>(body);
        let (uid, request) = if let Some(envelope) = plain {
            let mut raw = envelope.open()?;
            (known(std::mem::take(&mut raw.uid))?, MutationRequest::of(raw))
        } else {
            in_parts(body, MutationRequest::of)?
        };
        Ok(Self { uid, request: request.map_err(|why| excerpt(&why).into_owned()) })
    }
}

impl<'a> MutationRequest<'a> {
    fn of(raw: RawRequest<'a, Raw<'a>, Raw<'a>>) -> Result<Self, String> {
        let (request, object, old_object) = raw.split()?;
        let kind = request.kind.filter(|_| request.subresource.is_empty());
        let (operation, namespace) = (request.operation, request.namespace);
        Ok(Self { operation, namespace, kind, object, old_object })
    }

    /// The operations of a JSON patch of the object; empty where it stays as it is. `injection`
    /// gives what is filled in for the pods of a workload, by its kind and name, such as
    /// `Deployment/web`.
    ///
    /// # Errors
    /// An object cannot be decoded.
    pub fn patch<'i>(
        &self,
        injection: impl FnOnce(&str) -> Option<&'i Injection>,
    ) -> Result<Vec<Value>, String> {
        match (self.operation, self.kind) {
            (Operation::Create, Some(ObjectKind::Pod)) => {
                let pod: PodParts<'_> = read("pod", self.object.as_ref())?;
                let workload = pod.workload()?;
                match workload.and_then(|workload| injection(&workload)) {
                    Some(Injection { policy, fields }) => {
                        Ok(inject(&pod.json(fields)?, fields, policy))
                    }
                    None => Ok(Vec::new()),
                }
            }
            (Operation::Update, Some(kind)) if kind.is_patchable() => {
                let old: Value = read("old object", self.old_object.as_ref())?;
                Ok(give_way(&old, &read("object", self.object.as_ref())?))
            }
            _ => Ok(Vec::new()),
        }
    }
}

/// The parts of a pod that decide on what is filled in. They are decoded one after the other, and
/// only where they are needed: most pods are those of other workloads.
#[derive(Deserialize)]
struct PodParts<'a> {
    #[serde(borrow)]
    metadata: Option<MetadataParts<'a>>,
    #[serde(borrow)]
    spec: Option<SpecParts<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetadataParts<'a> {
    #[serde(borrow)]
    annotations: Option<Raw<'a>>,
    #[serde(borrow)]
    labels: Option<Raw<'a>>,
    #[serde(borrow)]
    owner_references: Option<Raw<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpecParts<'a> {
    #[serde(borrow)]
    containers: Option<Raw<'a>>,
    #[serde(borrow)]
    init_containers: Option<Raw<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerParts<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    restart_policy: Option<Raw<'a>>,
    #[serde(borrow)]
    ports: Option<Raw<'a>>,
    #[serde(borrow)]
    liveness_probe: Option<Raw<'a>>,
    #[serde(borrow)]
    readiness_probe: Option<Raw<'a>>,
    #[serde(borrow)]
    resources: Option<Raw<'a>>,
}

impl ContainerParts<'_> {
    /// The container as [`inject`] reads it; `null` where nothing is filled in.
    fn json(&self, fields: &Fields) -> Result<Value, String> {
        let Some(name) = self.name.as_deref().filter(|name| fields.of(name).is_some()) else {
            return Ok(Value::Null);
        };
        let mut container = json!({ "name": name });
        let parts = [
            ("restartPolicy", &self.restart_policy),
            ("ports", &self.ports),
            ("livenessProbe", &self.liveness_probe),
            ("readinessProbe", &self.readiness_probe),
            ("resources", &self.resources),
        ];
        for (name, part) in parts {
            if part.is_some() {
                container[name] = read("pod", part.as_ref())?;
            }
        }
        Ok(container)
    }
}

impl PodParts<'_> {
    /// Kind and name of the workload, where it is of a kind that is remediated. Pods of static
    /// manifests, of Jobs and without a controller have none.
    fn workload(&self) -> Result<Option<String>, String> {
        let Some(metadata) = &self.metadata else { return Ok(None) };
        let MetadataParts { labels, owner_references, .. } = *metadata;
        let workload = OwnerParts { labels, owner_references }.workload(ObjectKind::Pod, "")?;
        let kind = ObjectKind::in_group(&workload.group, &workload.kind);
        Ok(kind.is_some_and(ObjectKind::is_patchable).then(|| workload.to_string()))
    }

    /// The pod as [`inject`] reads it.
    fn json(&self, fields: &Fields) -> Result<Value, String> {
        let list = |raw: Option<&Raw<'_>>| -> Result<Value, String> {
            let Some(raw) = raw else { return Ok(Value::Null) };
            let containers: Vec<ContainerParts<'_>> = read("pod", Some(raw))?;
            containers.iter().map(|container| container.json(fields)).collect()
        };
        let annotations = self.metadata.as_ref().and_then(|metadata| metadata.annotations.as_ref());
        // Whether there are any is all that matters.
        let annotations = annotations.map_or(Value::Null, |_| json!({}));
        let spec = self.spec.as_ref();
        let containers = list(spec.and_then(|spec| spec.containers.as_ref()))?;
        let init = list(spec.and_then(|spec| spec.init_containers.as_ref()))?;
        Ok(json!({
            "metadata": { "annotations": annotations },
            "spec": { "containers": containers, "initContainers": init },
        }))
    }
}

/// Decodes a part of the request.
fn read<'a, T: Deserialize<'a>>(what: &str, raw: Option<&Raw<'a>>) -> Result<T, String> {
    raw.ok_or_else(|| format!("the request has no {what}"))?.read(what)
}
