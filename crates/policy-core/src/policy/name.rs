//! How a policy is named to people.

use std::fmt;
use std::sync::Arc;

use crate::api::CLUSTER_POLICY;
use crate::text::excerpt;

/// The name of a policy that applies to a namespace: one of the namespace itself, or a cluster policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyName {
    /// A `ClusterDevOpsPolicy`.
    Cluster(Arc<str>),
    /// A `DevOpsPolicy` of the namespace.
    Namespaced(Arc<str>),
}

impl PolicyName {
    /// The name within its kind.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        let (Self::Cluster(name) | Self::Namespaced(name)) = self;
        name
    }

    /// The name with where the policy is, printable: `shop/strict`, or `ClusterDevOpsPolicy/fleet`.
    #[must_use]
    pub fn qualified(&self, namespace: &str) -> String {
        let place = match self {
            Self::Cluster(_) => CLUSTER_POLICY.into(),
            Self::Namespaced(_) => excerpt(namespace),
        };
        format!("{place}/{}", excerpt(self.name()))
    }
}

/// The name among those that apply to a namespace: `strict`, or `ClusterDevOpsPolicy/fleet`.
impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(name) => write!(f, "{CLUSTER_POLICY}/{name}"),
            Self::Namespaced(name) => f.write_str(name),
        }
    }
}

/// The name of a policy of the namespace.
impl<N: Into<Arc<str>>> From<N> for PolicyName {
    fn from(name: N) -> Self {
        Self::Namespaced(name.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_policy_is_named_with_its_kind() {
        let (own, cluster) = (PolicyName::from("strict"), PolicyName::Cluster("fleet".into()));
        assert_eq!(own.qualified("shop"), "shop/strict");
        assert_eq!(own.to_string(), "strict");
        assert_eq!(cluster.qualified("shop"), "ClusterDevOpsPolicy/fleet");
        assert_eq!(cluster.to_string(), "ClusterDevOpsPolicy/fleet");
    }
}
