//! Where a policy applies, as its objects say it.

use k8s_openapi::api::admissionregistration::v1::MatchCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use policy_core::namespaces::{NAME_LABEL, SYSTEM_SUFFIX, unjudged_at_admission};
use policy_core::policy::{ClusterScope, PolicyName};

use crate::metadata::PLATFORM;

/// The namespaces to which a policy applies.
#[derive(Clone, Debug)]
pub enum PolicyPlace {
    /// The namespace of the policy.
    Namespace(String),
    /// Those that a cluster policy selects.
    Cluster(ClusterScope),
}

impl PolicyPlace {
    /// The name of the objects for a policy, of that part of it. That of a cluster policy begins
    /// otherwise, since the name of a policy may have dots.
    pub(super) fn object_name(&self, part: &str, policy: &str) -> String {
        match self {
            Self::Namespace(namespace) => format!("{PLATFORM}-{part}.{namespace}.{policy}"),
            Self::Cluster(_) => format!("{PLATFORM}-cluster-{part}.{policy}"),
        }
    }

    /// The name of the only namespace; empty for a cluster policy.
    #[must_use]
    pub fn namespace(&self) -> &str {
        match self {
            Self::Namespace(namespace) => namespace,
            Self::Cluster(_) => "",
        }
    }

    /// The name of a policy there.
    #[must_use]
    pub fn policy_name(&self, policy: &str) -> PolicyName {
        match self {
            Self::Namespace(_) => PolicyName::from(policy),
            Self::Cluster(_) => PolicyName::Cluster(policy.into()),
        }
    }

    /// The policy as the messages of the webhook name it.
    #[must_use]
    pub fn qualified(&self, policy: &str) -> String {
        self.policy_name(policy).qualified(self.namespace())
    }

    /// The namespaces, as far as labels select them.
    pub(super) fn namespace_selector(&self) -> LabelSelector {
        match self {
            Self::Namespace(namespace) => {
                let name = (NAME_LABEL.to_owned(), namespace.clone());
                LabelSelector { match_labels: Some([name].into()), match_expressions: None }
            }
            Self::Cluster(scope) => {
                let selected = scope.requirements().iter().map(|one| LabelSelectorRequirement {
                    key: one.key.clone(),
                    operator: format!("{:?}", one.operator),
                    values: (!one.values.is_empty()).then(|| one.values.clone()),
                });
                let mut excluded: Vec<&str> = unjudged_at_admission().collect();
                excluded.extend(scope.excluded());
                let excluded = LabelSelectorRequirement {
                    key: NAME_LABEL.to_owned(),
                    operator: "NotIn".to_owned(),
                    values: Some(excluded.into_iter().map(str::to_owned).collect()),
                };
                LabelSelector {
                    match_labels: None,
                    match_expressions: Some(selected.chain([excluded]).collect()),
                }
            }
        }
    }

    /// The system namespaces that no label tells apart.
    pub(super) fn match_condition(&self) -> Option<MatchCondition> {
        match self {
            Self::Namespace(_) => None,
            Self::Cluster(_) => Some(MatchCondition {
                name: "no-system-namespace".to_owned(),
                expression: format!("!request.namespace.endsWith('{SYSTEM_SUFFIX}')"),
            }),
        }
    }
}
