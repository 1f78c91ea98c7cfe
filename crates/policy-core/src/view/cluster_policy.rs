//! A cluster policy as the API server sends it, also one that is invalid.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_core::{ClusterResourceScope, Resource};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::policy::{PolicyView, RawPolicy, Refused, decoded, invalid};
use crate::api::{ClusterDevOpsPolicy, ClusterDevOpsPolicySpec};
use crate::policy::{ClusterScope, CompiledClusterPolicy, CompiledPolicy};

/// What only a cluster policy has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterPart {
    /// The namespaces to which it applies.
    pub scope: ClusterScope,
    /// Its place among cluster policies, the highest first.
    pub priority: i32,
}

/// A cluster policy of a watch or an answer. Only `serde_json` can decode it.
#[derive(Clone, Debug)]
pub struct ClusterPolicyView(PolicyView);

impl<'de> Deserialize<'de> for ClusterPolicyView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawPolicy::deserialize(deserializer).map(|raw| Self(raw.into_view(rules)))
    }
}

impl From<ClusterPolicyView> for PolicyView {
    fn from(ClusterPolicyView(policy): ClusterPolicyView) -> Self {
        policy
    }
}

type Rules = Result<Arc<CompiledPolicy>, Refused>;

/// One that is refused applies to nothing: its part is there all the same, as that says what it is.
fn rules(spec: Option<&RawValue>) -> (Rules, Option<Arc<ClusterPart>>) {
    let compiled = decoded::<ClusterDevOpsPolicySpec>(spec).and_then(|spec| {
        let compiled = CompiledClusterPolicy::compile(&spec).map_err(invalid)?;
        Ok((compiled, spec.priority))
    });
    match compiled {
        Ok((CompiledClusterPolicy { rules, scope }, priority)) => {
            (Ok(Arc::new(rules)), Some(Arc::new(ClusterPart { scope, priority })))
        }
        Err(refused) => (Err(refused), Some(Arc::default())),
    }
}

/// That of [`ClusterDevOpsPolicy`].
impl Resource for ClusterPolicyView {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        ClusterDevOpsPolicy::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        ClusterDevOpsPolicy::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        ClusterDevOpsPolicy::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        ClusterDevOpsPolicy::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.0.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespaces::ExcludedNamespaces;

    fn policy(spec: &str) -> PolicyView {
        let text = format!(r#"{{"metadata": {{"name": "strict"}}, "spec": {spec}}}"#);
        serde_json::from_str::<ClusterPolicyView>(&text).unwrap().into()
    }

    #[test]
    fn it_has_the_rules_of_any_policy_and_the_namespaces() {
        let policy = policy(
            r#"{"forbidLatestTag": true, "priority": 7, "excludedNamespaces": ["old"],
                "namespaceSelector": {"matchLabels": {"tier": "web"}}}"#,
        );
        assert_eq!(policy.rules.unwrap().enabled().count(), 1);
        let part = policy.cluster.unwrap();
        assert_eq!(part.priority, 7);
        let labels = [("tier".to_owned(), "web".to_owned())].into();
        let selects = |name| part.scope.selects(name, &labels, &ExcludedNamespaces::default());
        assert_eq!(["shop", "old", "kube-system"].map(selects), [true, false, false]);
    }

    #[test]
    fn one_that_is_refused_is_a_cluster_policy_all_the_same() {
        let reason = |spec| {
            let policy = policy(spec);
            assert!(policy.cluster.is_some());
            policy.rules.map(drop).unwrap_err().to_string()
        };
        assert!(reason(r#"{"priority": "high"}"#).starts_with("the policy cannot be read"));
        assert_eq!(
            reason(r#"{"priority": 2000, "maxRestartCount": -1}"#),
            "spec.maxRestartCount: must be 0 or more, not -1; \
             spec.priority: must be -1000 to 1000, not 2000"
        );
    }
}
