//! The rights of namespace users on policies and audit results.
//!
//! Kubernetes adds the rules of a `ClusterRole` with an aggregation label to its default roles
//! `view`, `edit` and `admin`
//! (<https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles>).
//! `edit` includes `view`, and `admin` includes `edit`, so two roles serve all three.

use k8s_openapi::api::rbac::v1::ClusterRole;
use policy_core::api::GROUP;

use crate::metadata::{PLATFORM, cluster_wide, cluster_wide_name};
use crate::{Object, Rule};

const READ: Rule = Rule::new(
    GROUP,
    &["devopspolicies", "clusterdevopspolicies", "policyauditresults"],
    &["get", "list", "watch"],
);

/// Not for `edit`, so that a user who deploys workloads cannot disable the policy that judges them.
/// Only the operator writes audit results. Cluster policies are not for `admin` either, which
/// teams have over their namespaces: they are written by those who may write everything, or whom a
/// role of its own allows it.
const WRITE: Rule = Rule::new(
    GROUP,
    &["devopspolicies"],
    &["create", "update", "patch", "delete", "deletecollection"],
);

/// The roles to install: `view` and `edit` read, `admin` also writes policies.
#[must_use]
pub fn user_roles() -> Vec<Object> {
    [("view", READ), ("admin", WRITE)].map(|(role, rule)| aggregated(role, &rule).into()).to_vec()
}

fn aggregated(into: &str, rule: &Rule) -> ClusterRole {
    let mut metadata = cluster_wide(&cluster_wide_name(into), PLATFORM);
    let label = format!("rbac.authorization.k8s.io/aggregate-to-{into}");
    metadata.labels.get_or_insert_default().insert(label, "true".to_owned());
    ClusterRole { metadata, rules: Some(vec![rule.into()]), ..ClusterRole::default() }
}
