//! The identity of a policy.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource as _;
use policy_core::api::ClusterDevOpsPolicy;

/// Namespace and name of a policy; a cluster policy has the empty namespace, which no object has.
/// Ordered by namespace first. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PolicyKey {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl PolicyKey {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    pub(crate) fn of(metadata: &ObjectMeta) -> Self {
        let ObjectMeta { namespace, name, .. } = metadata;
        Self::new(namespace.as_deref().unwrap_or_default(), name.as_deref().unwrap_or_default())
    }

    /// Whether it is that of a cluster policy.
    pub(crate) fn is_cluster(&self) -> bool {
        self.namespace.is_empty()
    }
}

/// `shop/strict`, or `ClusterDevOpsPolicy/strict`.
impl fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_cluster() {
            return write!(f, "{}/{}", ClusterDevOpsPolicy::kind(&()), self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
