//! Admission policies that limit what the account of a service may change, where RBAC cannot: it
//! restricts `patch` to an object, not to a field.

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingSpec,
    ValidatingAdmissionPolicySpec, Validation,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::metadata::{cluster_wide, cluster_wide_name};
use crate::{NAMESPACE, Object};

/// A limit for the `ServiceAccount` of a component.
pub(crate) struct AccountLimit {
    /// The name of the admission policy, without the platform's prefix.
    pub(crate) name: &'static str,
    /// The name of the component, and of its `ServiceAccount`.
    pub(crate) component: &'static str,
    /// The API group and the resources whose updates are limited.
    pub(crate) resources: (&'static str, &'static [&'static str]),
    /// CEL expressions that hold for an allowed update, each with the message of a denial.
    pub(crate) rules: Vec<(String, &'static str)>,
}

impl AccountLimit {
    /// The admission policy, and its binding.
    pub(crate) fn objects(self) -> [Object; 2] {
        let name = cluster_wide_name(self.name);
        let metadata = cluster_wide(&name, self.component);
        let (group, resources) = self.resources;
        let validation = |(expression, message): (String, &str)| Validation {
            expression,
            message: Some(message.to_owned()),
            ..Validation::default()
        };
        let policy = ValidatingAdmissionPolicy {
            metadata: metadata.clone(),
            spec: Some(ValidatingAdmissionPolicySpec {
                failure_policy: Some("Fail".to_owned()),
                // With every default, because the API server compares these constraints as a whole:
                // with some missing, a server-side apply of this object would conflict with whoever
                // applied it before.
                match_constraints: Some(MatchResources {
                    resource_rules: Some(vec![NamedRuleWithOperations {
                        api_groups: Some(vec![group.to_owned()]),
                        api_versions: Some(vec!["*".to_owned()]),
                        operations: Some(vec!["UPDATE".to_owned()]),
                        resources: Some(resources.iter().map(|&one| one.to_owned()).collect()),
                        scope: Some("*".to_owned()),
                        ..NamedRuleWithOperations::default()
                    }]),
                    match_policy: Some("Equivalent".to_owned()),
                    namespace_selector: Some(LabelSelector::default()),
                    object_selector: Some(LabelSelector::default()),
                    ..MatchResources::default()
                }),
                match_conditions: Some(vec![MatchCondition {
                    name: format!("is-{}", self.component),
                    expression: format!(
                        "request.userInfo.username == 'system:serviceaccount:{NAMESPACE}:{}'",
                        self.component
                    ),
                }]),
                validations: Some(self.rules.into_iter().map(validation).collect()),
                ..ValidatingAdmissionPolicySpec::default()
            }),
            ..ValidatingAdmissionPolicy::default()
        };
        let binding = ValidatingAdmissionPolicyBinding {
            metadata,
            spec: Some(ValidatingAdmissionPolicyBindingSpec {
                policy_name: Some(name),
                validation_actions: Some(vec!["Deny".to_owned()]),
                ..ValidatingAdmissionPolicyBindingSpec::default()
            }),
        };
        [policy.into(), binding.into()]
    }
}

/// The CEL expression that these fields of two objects are equal. A `?` before the last name is for
/// a field that may be missing.
pub(crate) fn are_equal(fields: &[&str], [one, other]: [&str; 2]) -> String {
    let equal: Vec<String> =
        fields.iter().map(|field| format!("{one}.{field} == {other}.{field}")).collect();
    equal.join(" && ")
}

#[cfg(test)]
mod tests {
    use policy_core::installation::OPERATOR_USER;

    use super::*;

    #[test]
    fn the_admission_policy_is_bound_and_is_about_one_account() {
        let rules = vec![(are_equal(&["?spec"], ["object", "oldObject"]), "not the spec")];
        let limit = AccountLimit {
            name: "policy-operator",
            component: "policy-operator",
            resources: ("example.com", &["as"]),
            rules,
        };
        let [
            Object::ValidatingAdmissionPolicy(policy),
            Object::ValidatingAdmissionPolicyBinding(binding),
        ] = limit.objects()
        else {
            panic!("other kinds")
        };
        let (spec, bound) = (policy.spec.unwrap(), binding.spec.unwrap());
        assert_eq!(policy.metadata.name, bound.policy_name);
        assert_eq!(bound.validation_actions.unwrap(), ["Deny"]);
        let condition = &spec.match_conditions.unwrap()[0].expression;
        assert_eq!(*condition, format!("request.userInfo.username == '{OPERATOR_USER}'"));
        let rules = spec.validations.unwrap();
        assert_eq!(rules[0].expression, "object.?spec == oldObject.?spec");
    }
}
