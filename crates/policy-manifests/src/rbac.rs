//! Service account, roles and bindings of a component.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};

use crate::metadata::{cluster_wide, cluster_wide_name, in_namespace};
use crate::{Component, NAMESPACE, Object};

const GROUP: &str = "rbac.authorization.k8s.io";

/// A policy rule as a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Plural names, with a subresource after a slash.
    pub resources: &'static [&'static str],
    /// `resourceNames`; empty for all objects.
    pub names: &'static [&'static str],
    /// Such as `list`.
    pub verbs: &'static [&'static str],
}

impl Rule {
    /// A rule for all objects of some resources.
    pub(crate) const fn new(
        group: &'static str,
        resources: &'static [&'static str],
        verbs: &'static [&'static str],
    ) -> Self {
        Self { group, resources, names: &[], verbs }
    }

    /// To create the Lease of a leader election. RBAC cannot restrict `create` by name.
    pub(crate) const fn create_lease() -> Self {
        Self::new("coordination.k8s.io", &["leases"], &["create"])
    }

    /// To acquire, renew and release the Leases of these names.
    pub(crate) const fn hold_lease(names: &'static [&'static str]) -> Self {
        Self { names, ..Self::new("coordination.k8s.io", &["leases"], &["get", "update"]) }
    }
}

impl From<&Rule> for PolicyRule {
    fn from(rule: &Rule) -> Self {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        Self {
            api_groups: Some(vec![rule.group.to_owned()]),
            resources: Some(owned(rule.resources)),
            resource_names: (!rule.names.is_empty()).then(|| owned(rule.names)),
            verbs: owned(rule.verbs),
            ..Self::default()
        }
    }
}

impl Component {
    /// Its `ServiceAccount`, a role and a binding for each scope that it has rights in, and the limit
    /// of the account.
    #[must_use]
    pub fn rights(&self) -> Vec<Object> {
        let mut objects = vec![self.service_account()];
        if !self.cluster.is_empty() {
            objects.extend(self.cluster_rights());
        }
        if !self.own_namespace.is_empty() {
            objects.extend(self.own_namespace_rights());
        }
        objects.extend(self.limit.into_iter().flat_map(|limit| limit().objects()));
        objects
    }

    fn service_account(&self) -> Object {
        let metadata = in_namespace(self.name);
        ServiceAccount { metadata, ..ServiceAccount::default() }.into()
    }

    fn cluster_rights(&self) -> [Object; 2] {
        cluster_rights(self.name, self.name, self.cluster)
    }

    fn own_namespace_rights(&self) -> [Object; 2] {
        let metadata = in_namespace(self.name);
        let role = Role { metadata: metadata.clone(), rules: Some(rules(self.own_namespace)) };
        let binding = RoleBinding {
            metadata,
            role_ref: reference("Role", self.name.to_owned()),
            subjects: Some(subjects(self.name)),
        };
        [role.into(), binding.into()]
    }
}

/// A `ClusterRole` of that name, without the platform's prefix, bound to the `ServiceAccount` of a
/// component.
pub(crate) fn cluster_rights(name: &str, component: &str, granted: &[Rule]) -> [Object; 2] {
    let name = cluster_wide_name(name);
    let metadata = cluster_wide(&name, component);
    let role = ClusterRole {
        metadata: metadata.clone(),
        rules: Some(rules(granted)),
        ..ClusterRole::default()
    };
    let binding = ClusterRoleBinding {
        metadata,
        role_ref: reference("ClusterRole", name),
        subjects: Some(subjects(component)),
    };
    [role.into(), binding.into()]
}

fn subjects(component: &str) -> Vec<Subject> {
    vec![Subject {
        kind: "ServiceAccount".to_owned(),
        name: component.to_owned(),
        namespace: Some(NAMESPACE.to_owned()),
        ..Subject::default()
    }]
}

fn rules(rules: &[Rule]) -> Vec<PolicyRule> {
    rules.iter().map(PolicyRule::from).collect()
}

fn reference(kind: &str, name: String) -> RoleRef {
    RoleRef { api_group: GROUP.to_owned(), kind: kind.to_owned(), name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WATCHER;

    #[test]
    fn roles_and_bindings_belong_together() {
        let objects = WATCHER.rights();
        let [
            Object::ServiceAccount(account),
            Object::ClusterRole(everywhere),
            Object::ClusterRoleBinding(bound_everywhere),
            Object::Role(here),
            Object::RoleBinding(bound_here),
        ] = objects.as_slice()
        else {
            panic!("{objects:?}")
        };
        assert_eq!(account.metadata.name.as_deref(), Some("policy-watcher"));
        assert_eq!(everywhere.metadata.name.as_ref(), Some(&bound_everywhere.role_ref.name));
        assert_eq!(bound_everywhere.role_ref.kind, "ClusterRole");
        assert_eq!(here.metadata.name.as_ref(), Some(&bound_here.role_ref.name));
        assert_eq!(bound_here.role_ref.kind, "Role");
        for subjects in [&bound_everywhere.subjects, &bound_here.subjects] {
            let [subject] = subjects.as_deref().unwrap() else { panic!("{subjects:?}") };
            assert_eq!(Some(&subject.name), account.metadata.name.as_ref());
            assert_eq!(subject.namespace, account.metadata.namespace);
        }
        let rules = here.rules.as_deref().unwrap();
        assert_eq!(rules[0].resource_names, None);
        assert_eq!(rules[1].resource_names, Some(vec!["policy-watcher".to_owned()]));
    }

    #[test]
    fn a_component_without_rights_in_a_scope_has_no_role_there() {
        let plain = Component { cluster: &[], own_namespace: &[], ..WATCHER };
        assert_eq!(plain.rights().len(), 1);
    }
}
