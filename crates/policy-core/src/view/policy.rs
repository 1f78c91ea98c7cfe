//! A policy as the API server sends it, also one that is invalid.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::metadata::slim_metadata;
use crate::api::{DevOpsPolicy, DevOpsPolicySpec, DevOpsPolicyStatus};
use crate::policy::{CompiledPolicy, InvalidField};

/// A policy, or why it is invalid: an invalid one does not prevent reading the others of its list.
/// Clones share everything but the metadata. Only `serde_json` can decode it.
#[derive(kube_derive::Resource, Deserialize, Clone, Debug)]
#[resource(
    inherit = "DevOpsPolicy",
    crates(kube_core = "::kube_core", k8s_openapi = "::k8s_openapi")
)]
#[serde(from = "RawPolicy")]
pub struct PolicyView {
    /// As in [`PodView::metadata`](super::PodView::metadata).
    pub metadata: ObjectMeta,
    /// The compiled spec, or why nothing can be judged by it.
    pub rules: Result<Arc<CompiledPolicy>, Refused>,
    /// The status that was written last; `None` where there is none that can be decoded.
    pub status: Option<Arc<DevOpsPolicyStatus>>,
}

/// Why nothing can be judged by a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has not the structure of a policy.
    #[error("the policy cannot be read: {0}")]
    Undecodable(String),
    /// It has values that no policy may have.
    #[error("{}", joined(.0))]
    Invalid(Vec<InvalidField>),
}

fn joined(fields: &[InvalidField]) -> String {
    let fields: Vec<_> = fields.iter().map(ToString::to_string).collect();
    fields.join("; ")
}

/// A policy whose spec and status are not decoded yet.
#[derive(Deserialize)]
struct RawPolicy {
    #[serde(deserialize_with = "slim_metadata")]
    metadata: ObjectMeta,
    spec: Option<Box<RawValue>>,
    status: Option<Box<RawValue>>,
}

impl From<RawPolicy> for PolicyView {
    fn from(RawPolicy { metadata, spec, status }: RawPolicy) -> Self {
        let status = status.and_then(|status| serde_json::from_str(status.get()).ok());
        Self { metadata, rules: rules(spec.as_deref()), status }
    }
}

fn rules(spec: Option<&RawValue>) -> Result<Arc<CompiledPolicy>, Refused> {
    let spec: DevOpsPolicySpec = match spec {
        Some(spec) => serde_json::from_str(spec.get())
            .map_err(|error| Refused::Undecodable(error.to_string()))?,
        None => DevOpsPolicySpec::default(),
    };
    CompiledPolicy::compile(&spec).map(Arc::new).map_err(Refused::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(spec: &str) -> PolicyView {
        let json = format!(
            r#"{{"metadata": {{"name": "strict", "managedFields": [{{"manager": "kubectl"}}]}},
                "spec": {spec}, "status": {{"healthScore": 7}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn what_cannot_be_judged_by_is_there_as_well_with_the_reason() {
        let refused = |spec| policy(spec).rules.map(drop).unwrap_err();
        let wrong = refused(r#"{"maxRestartCount": "none"}"#);
        assert!(matches!(&wrong, Refused::Undecodable(why) if why.contains("invalid type")));
        assert!(wrong.to_string().starts_with("the policy cannot be read: invalid type"));
        let impossible = refused(r#"{"maxRestartCount": -1, "forbidPendingDuration": -1}"#);
        assert_eq!(
            impossible.to_string(),
            "spec.maxRestartCount: must be 0 or more, not -1; \
             spec.forbidPendingDuration: must be 0 or more, not -1"
        );
        let broken = policy("7");
        assert!(broken.rules.is_err());
        assert_eq!(broken.metadata.name.as_deref(), Some("strict"));
        assert_eq!(broken.status.unwrap().health_score, Some(7));
    }

    #[test]
    fn a_policy_without_spec_asks_for_nothing() {
        assert!(policy("null").rules.is_ok());
        let bare: PolicyView = serde_json::from_str(r#"{"metadata": {}, "status": 7}"#).unwrap();
        assert!(bare.rules.is_ok() && bare.status.is_none());
    }

    #[test]
    fn managed_fields_are_not_kept() {
        assert!(policy("{}").metadata.managed_fields.is_none());
    }
}
