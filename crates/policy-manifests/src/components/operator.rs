//! The operator reads pods and policies; it writes policy status, audit results and Events.

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingSpec,
    ValidatingAdmissionPolicySpec, Validation,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use policy_core::api::FINALIZER;

use super::Component;
use crate::metadata::{cluster_wide, cluster_wide_name};
use crate::{NAMESPACE, Object, Rule};

const GROUP: &str = "devops.stochastic.io";
const POLICIES: &str = "devopspolicies";

/// Evaluates every policy and writes its status.
pub const OPERATOR: Component = Component {
    name: "policy-operator",
    cluster: &[
        Rule::new("", &["pods"], &["watch"]),
        // `patch` is only for the finalizer; RBAC cannot restrict a rule to a field, so an admission
        // policy does.
        Rule::new(GROUP, &[POLICIES], &["watch", "patch"]),
        Rule::new(GROUP, &["devopspolicies/status"], &["patch"]),
        Rule::new(GROUP, &["policyauditresults"], &["watch", "create", "delete"]),
        // `patch` raises the count of a repeated Event.
        Rule::new("events.k8s.io", &["events"], &["create", "patch"]),
    ],
    own_namespace: &[Rule::create_lease(), Rule::hold_lease(&["policy-operator"])],
    others,
};

/// The admission policy that limits the operator's account to its own finalizer of a policy, and
/// its binding. The status is another resource, and a change of it changes nothing else. So a stolen
/// token of the operator changes no policy's spec, and removes no other finalizer.
fn others() -> Vec<Object> {
    let name = cluster_wide_name(OPERATOR.name);
    let metadata = cluster_wide(&name, OPERATOR.name);
    let policy = ValidatingAdmissionPolicy {
        metadata: metadata.clone(),
        spec: Some(ValidatingAdmissionPolicySpec {
            failure_policy: Some("Fail".to_owned()),
            // With every default, because the API server compares these constraints as a whole: with
            // some missing, a server-side apply of this object would conflict with whoever applied
            // it before.
            match_constraints: Some(MatchResources {
                resource_rules: Some(vec![NamedRuleWithOperations {
                    api_groups: Some(vec![GROUP.to_owned()]),
                    api_versions: Some(vec!["*".to_owned()]),
                    operations: Some(vec!["UPDATE".to_owned()]),
                    resources: Some(vec![POLICIES.to_owned()]),
                    scope: Some("*".to_owned()),
                    ..NamedRuleWithOperations::default()
                }]),
                match_policy: Some("Equivalent".to_owned()),
                namespace_selector: Some(LabelSelector::default()),
                object_selector: Some(LabelSelector::default()),
                ..MatchResources::default()
            }),
            match_conditions: Some(vec![MatchCondition {
                name: "is-the-operator".to_owned(),
                expression: format!(
                    "request.userInfo.username == 'system:serviceaccount:{NAMESPACE}:{}'",
                    OPERATOR.name
                ),
            }]),
            validations: Some(validations()),
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
    vec![policy.into(), binding.into()]
}

fn validations() -> Vec<Validation> {
    let both = |of: &dyn Fn(&str) -> String| format!("{} == {}", of("object"), of("oldObject"));
    let is_same = |field: &str| both(&|object| format!("{object}.{field}"));
    let metadata = ["labels", "annotations", "ownerReferences"];
    let metadata = metadata.map(|field| is_same(&format!("metadata.?{field}"))).join(" && ");
    let finalizers = both(&|object| {
        format!("{object}.metadata.?finalizers.orValue([]).filter(name, name != '{FINALIZER}')")
    });
    let rules = [
        (is_same("?spec"), "the operator may not change the spec of a policy"),
        (metadata, "the operator may not change the metadata of a policy"),
        (finalizers, "the operator may only add and remove its own finalizer"),
    ];
    let validation = |(expression, message): (String, &str)| Validation {
        expression,
        message: Some(message.to_owned()),
        ..Validation::default()
    };
    rules.map(validation).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_writes_only_its_own_kinds_and_events() {
        for rule in OPERATOR.cluster {
            let writes = rule.verbs.iter().any(|verb| *verb != "watch");
            let is_ours = rule.group == GROUP || rule.group == "events.k8s.io";
            assert!(!writes || is_ours, "{rule:?}");
        }
        assert!(OPERATOR.own_namespace.iter().any(|rule| rule.names == [OPERATOR.name]));
    }

    #[test]
    fn the_admission_policy_is_bound_and_is_about_the_operator_alone() {
        let objects = OPERATOR.objects();
        let [
            ..,
            Object::ValidatingAdmissionPolicy(policy),
            Object::ValidatingAdmissionPolicyBinding(binding),
        ] = objects.as_slice()
        else {
            panic!("{objects:?}")
        };
        let (policy_spec, bound) = (policy.spec.clone().unwrap(), binding.spec.clone().unwrap());
        assert_eq!(policy.metadata.name, bound.policy_name);
        assert_eq!(bound.validation_actions.unwrap(), ["Deny"]);
        let condition = &policy_spec.match_conditions.unwrap()[0].expression;
        let operator = "'system:serviceaccount:kube-devops:policy-operator'";
        assert_eq!(*condition, format!("request.userInfo.username == {operator}"));
        let expressions: Vec<String> =
            policy_spec.validations.unwrap().into_iter().map(|rule| rule.expression).collect();
        assert_eq!(expressions[0], "object.?spec == oldObject.?spec");
    }
}
