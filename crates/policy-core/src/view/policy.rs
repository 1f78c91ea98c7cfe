//! A policy as the API server sends it, also one that is invalid.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::cluster_policy::ClusterPart;
use super::lenient::{for_each, nullable};
use super::metadata::time;
use super::text::Text;
use crate::api::{DevOpsPolicy, DevOpsPolicySpec, DevOpsPolicyStatus, FINALIZER};
use crate::policy::{CompiledPolicy, InvalidField, PolicyRank};
use crate::text::truncated;

/// The most finalizers that a policy may have beside the operator's.
pub const MAX_FINALIZERS: u32 = 32;
/// The most bytes of a status that is read. The operator writes at most half of that: what enforce
/// mode remembers is cut to 192 KiB, and without it there are 50 violations and five conditions, of
/// at most 4 KiB each.
const LONGEST_STATUS: usize = 512 << 10;
/// The longest reason why a policy is refused, in bytes.
const LONGEST_REASON: usize = 4 << 10;

/// A policy, or why it is invalid: an invalid one does not prevent reading the others of its list.
/// Clones share everything but the metadata. Only `serde_json` can decode it.
#[derive(kube_derive::Resource, Deserialize, Clone, Debug)]
#[resource(
    inherit = "DevOpsPolicy",
    crates(kube_core = "::kube_core", k8s_openapi = "::k8s_openapi")
)]
#[serde(from = "RawPolicy")]
pub struct PolicyView {
    /// Name, namespace, uid, versions and times; nothing whose size users choose.
    pub metadata: ObjectMeta,
    /// What is kept of the finalizers.
    pub finalizers: Finalizers,
    /// The compiled spec, or why nothing can be judged by it.
    pub rules: Result<Arc<CompiledPolicy>, Refused>,
    /// What only a cluster policy has; `None` for one of a namespace.
    pub cluster: Option<Arc<ClusterPart>>,
    /// The status that was written last; `None` where there is none that can be decoded.
    pub status: Option<Arc<DevOpsPolicyStatus>>,
}

/// Whether a policy has the operator's finalizer, and how many others it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Finalizers {
    /// The index of [`FINALIZER`] in the list.
    pub ours: Option<usize>,
    /// How many others there are.
    pub others: u32,
}

impl Finalizers {
    /// Whether there are more than [`MAX_FINALIZERS`].
    #[must_use]
    pub const fn are_too_many(self) -> bool {
        self.others > MAX_FINALIZERS
    }
}

/// Counts the finalizers without storing them: a user may set thousands.
impl<'de> Deserialize<'de> for Finalizers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (mut found, mut index) = (Self::default(), 0);
        for_each::<_, Text<'de>, _>(deserializer, |name| {
            if name.0 == FINALIZER {
                found.ours = found.ours.or(Some(index));
            } else {
                found.others = found.others.saturating_add(1);
            }
            index += 1;
            true
        })?;
        Ok(found)
    }
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
    /// It has more than [`MAX_FINALIZERS`].
    #[error(
        "the policy has more than {MAX_FINALIZERS} finalizers; remove those that nothing needs \
         (`kubectl edit`), and it is judged again"
    )]
    TooManyFinalizers,
}

fn joined(fields: &[InvalidField]) -> String {
    let fields: Vec<_> = fields.iter().map(ToString::to_string).collect();
    fields.join("; ")
}

/// A policy whose spec and status are not decoded yet.
#[derive(Deserialize)]
pub(super) struct RawPolicy {
    #[serde(deserialize_with = "nullable")]
    metadata: RawMetadata,
    spec: Option<Box<RawValue>>,
    status: Option<Box<RawValue>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RawMetadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    #[serde(deserialize_with = "time")]
    creation_timestamp: Option<Time>,
    #[serde(deserialize_with = "time")]
    deletion_timestamp: Option<Time>,
    #[serde(deserialize_with = "nullable")]
    finalizers: Finalizers,
}

impl From<RawPolicy> for PolicyView {
    fn from(raw: RawPolicy) -> Self {
        raw.into_view(|spec| (rules(spec), None))
    }
}

type Rules = Result<Arc<CompiledPolicy>, Refused>;

impl RawPolicy {
    pub(super) fn into_view(
        self,
        compile: impl FnOnce(Option<&RawValue>) -> (Rules, Option<Arc<ClusterPart>>),
    ) -> PolicyView {
        let Self { metadata, spec, status } = self;
        let status = status.filter(|status| status.get().len() <= LONGEST_STATUS);
        let status = status.and_then(|status| serde_json::from_str(status.get()).ok());
        let finalizers = metadata.finalizers;
        let (rules, cluster) = compile(spec.as_deref());
        let rules = rules.and_then(|rules| {
            if finalizers.are_too_many() { Err(Refused::TooManyFinalizers) } else { Ok(rules) }
        });
        PolicyView { metadata: metadata.into(), finalizers, rules, cluster, status }
    }
}

impl PolicyView {
    /// Its rank among the policies of its kind.
    #[must_use]
    pub fn rank(&self) -> PolicyRank {
        match &self.cluster {
            None => PolicyRank::of(&self.metadata),
            Some(part) => PolicyRank::of_cluster(&self.metadata, part.priority),
        }
    }
}

impl From<RawMetadata> for ObjectMeta {
    fn from(raw: RawMetadata) -> Self {
        Self {
            name: raw.name,
            namespace: raw.namespace,
            uid: raw.uid,
            resource_version: raw.resource_version,
            generation: raw.generation,
            creation_timestamp: raw.creation_timestamp,
            deletion_timestamp: raw.deletion_timestamp,
            ..Self::default()
        }
    }
}

fn rules(spec: Option<&RawValue>) -> Rules {
    let spec: DevOpsPolicySpec = decoded(spec)?;
    CompiledPolicy::compile(&spec).map(Arc::new).map_err(invalid)
}

/// Decodes a spec; one that is missing asks for nothing.
pub(super) fn decoded<S: DeserializeOwned + Default>(
    spec: Option<&RawValue>,
) -> Result<S, Refused> {
    let Some(spec) = spec else { return Ok(S::default()) };
    serde_json::from_str(spec.get())
        .map_err(|error| Refused::Undecodable(bounded(error.to_string())))
}

pub(super) fn invalid(mut fields: Vec<InvalidField>) -> Refused {
    for field in &mut fields {
        field.problem = bounded(std::mem::take(&mut field.problem));
    }
    Refused::Invalid(fields)
}

/// A reason quotes the value that it is about.
fn bounded(reason: String) -> String {
    truncated(reason.into(), usize::MAX, LONGEST_REASON).into_owned()
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

    fn with_metadata(metadata: &str) -> PolicyView {
        serde_json::from_str(&format!(r#"{{"metadata": {metadata}, "spec": {{}}}}"#)).unwrap()
    }

    #[test]
    fn nothing_is_kept_whose_size_users_choose() {
        let metadata = with_metadata(
            r#"{"name": "strict", "finalizers": ["example.com/a"], "labels": {"a": "b"},
                "annotations": {"a": "b"}, "managedFields": [{"manager": "kubectl"}],
                "ownerReferences": [{"kind": "Pod", "name": "web"}]}"#,
        )
        .metadata;
        let expected = ObjectMeta { name: Some("strict".to_owned()), ..ObjectMeta::default() };
        assert_eq!(metadata, expected);
        let long = "x".repeat(1 << 20);
        let wrong = policy(&format!(r#"{{"maxRestartCount": "{long}"}}"#)).rules.unwrap_err();
        assert!(wrong.to_string().len() < 5_000);
        let spec = format!(r#"{{"defaultResources": {{"cpuLimit": "{long}"}}}}"#);
        assert!(policy(&spec).rules.unwrap_err().to_string().len() < 5_000);
        let status = format!(r#"{{"metadata": {{}}, "status": {{"message": "{long}"}}}}"#);
        assert!(serde_json::from_str::<PolicyView>(&status).unwrap().status.is_none());
    }

    #[test]
    fn finalizers_are_counted_and_too_many_are_refused() {
        let of = |others: u32, ours: usize| {
            let others = (0..others).map(|number| format!("example.com/{number}"));
            let mut all: Vec<String> = others.collect();
            all.insert(ours.min(all.len()), FINALIZER.to_owned());
            let policy = with_metadata(&serde_json::json!({ "finalizers": all }).to_string());
            (policy.finalizers, policy.rules.is_ok())
        };
        assert_eq!(of(0, 0), (Finalizers { ours: Some(0), others: 0 }, true));
        assert_eq!(of(32, 7), (Finalizers { ours: Some(7), others: 32 }, true));
        assert_eq!(of(33, 33), (Finalizers { ours: Some(33), others: 33 }, false));
        for none in [r#"{"finalizers": null}"#, "{}", "null", r#"{"finalizers": []}"#] {
            assert_eq!(with_metadata(none).finalizers, Finalizers::default());
        }
    }
}
