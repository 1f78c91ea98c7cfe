//! One policy as the watch tells of it, understood as far as it can be.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube_runtime::reflector::ObjectRef;
use policy_core::api::{DevOpsPolicy, DevOpsPolicySpec, DevOpsPolicyStatus};
use policy_core::policy::CompiledPolicy;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::judgement::Refusal;

/// A policy, or why it is none: one that cannot be read harms no other. Copies share all but the
/// metadata.
#[derive(kube_derive::Resource, Deserialize, Clone, Debug)]
#[resource(inherit = "DevOpsPolicy")]
#[serde(from = "Loose")]
pub(crate) struct Guarded {
    pub(crate) metadata: ObjectMeta,
    /// What is wanted, or why nothing can be judged by that.
    pub(crate) rules: Result<Arc<CompiledPolicy>, Refusal>,
    /// What was written last; `None` where nothing was, or nothing that can be read.
    pub(crate) status: Option<Arc<DevOpsPolicyStatus>>,
}

/// A policy whose parts are not looked at yet.
#[derive(Deserialize)]
struct Loose {
    #[serde(deserialize_with = "slim")]
    metadata: ObjectMeta,
    spec: Option<Box<RawValue>>,
    status: Option<Box<RawValue>>,
}

impl From<Loose> for Guarded {
    fn from(Loose { metadata, spec, status }: Loose) -> Self {
        let status = status.and_then(|status| serde_json::from_str(status.get()).ok());
        Self { metadata, rules: rules(spec.as_deref()), status }
    }
}

fn rules(spec: Option<&RawValue>) -> Result<Arc<CompiledPolicy>, Refusal> {
    let spec: DevOpsPolicySpec = match spec {
        Some(spec) => serde_json::from_str(spec.get())
            .map_err(|error| Refusal::Undecodable(error.to_string()))?,
        None => DevOpsPolicySpec::default(),
    };
    CompiledPolicy::compile(&spec).map(Arc::new).map_err(Refusal::Invalid)
}

/// Reads metadata without what nobody asks for: managed fields are larger than the rest of a
/// policy, and come with each of its statuses.
pub(crate) fn slim<'de, D: Deserializer<'de>>(from: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Slim {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        generation: Option<i64>,
        finalizers: Option<Vec<String>>,
        deletion_timestamp: Option<Time>,
    }
    let slim = Slim::deserialize(from)?;
    Ok(ObjectMeta {
        name: slim.name,
        namespace: slim.namespace,
        uid: slim.uid,
        resource_version: slim.resource_version,
        generation: slim.generation,
        finalizers: slim.finalizers,
        deletion_timestamp: slim.deletion_timestamp,
        ..ObjectMeta::default()
    })
}

/// Which policy. Ordered by namespace, then by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub(crate) fn of(metadata: &ObjectMeta) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self { namespace: text(&metadata.namespace), name: text(&metadata.name) }
    }

    pub(crate) fn reference(&self) -> ObjectRef<Guarded> {
        ObjectRef::new(&self.name).within(&self.namespace)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded(spec: &str) -> Guarded {
        let json = format!(
            r#"{{"metadata": {{"name": "strict", "managedFields": [{{"manager": "kubectl"}}]}},
                "spec": {spec}, "status": {{"healthScore": 7}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn what_cannot_be_judged_by_is_there_as_well_with_the_reason() {
        let refusal = |spec| guarded(spec).rules.map(drop).unwrap_err();
        let wrong = refusal(r#"{"maxRestartCount": "none"}"#);
        assert!(matches!(wrong, Refusal::Undecodable(why) if why.contains("invalid type")));
        let impossible = refusal(r#"{"maxRestartCount": -1, "forbidPendingDuration": -1}"#);
        assert!(matches!(impossible, Refusal::Invalid(fields) if fields.len() == 2));
        let broken = guarded("7");
        assert!(broken.rules.is_err());
        assert_eq!(broken.metadata.name.as_deref(), Some("strict"));
        assert_eq!(broken.status.unwrap().health_score, Some(7));
    }

    #[test]
    fn a_policy_without_spec_asks_for_nothing() {
        assert!(guarded("null").rules.is_ok());
        let bare: Guarded = serde_json::from_str(r#"{"metadata": {}, "status": 7}"#).unwrap();
        assert!(bare.rules.is_ok() && bare.status.is_none());
    }

    #[test]
    fn managed_fields_are_not_kept() {
        assert!(guarded("{}").metadata.managed_fields.is_none());
    }
}
