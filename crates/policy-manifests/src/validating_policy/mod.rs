//! What a policy denies and warns of at admission, as `ValidatingAdmissionPolicy` objects, for
//! clusters that want no webhook.
//!
//! The expressions decide on a request as `policy_core::admission::admit` does; a suite compares
//! both on a real API server. [`ValidatingPolicy::remarks`] says what is beyond them.

mod custom;
mod expressions;
mod place;
mod remarks;
#[cfg(test)]
mod tests;

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingSpec,
    ValidatingAdmissionPolicySpec, Validation, Variable,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use policy_core::admission::{CONTROLLER_ACCOUNTS, CONTROLLER_MANAGER, NODE_USERS, controllers_of};
use policy_core::api::ControllerPods;
use policy_core::checks::CheckId;
use policy_core::installation::OPERATOR_USER;
use policy_core::policy::CompiledPolicy;
use policy_core::severity::Severity;
use policy_core::workload::ObjectKind;

use crate::Object;
use crate::admission::RULES;
use crate::metadata::{PLATFORM, cluster_wide};
use expressions::{Rule, is_expressible, rule};

pub(crate) use expressions::quoted;

pub use place::PolicyPlace;

/// The longest name of an object.
const LONGEST_NAME: usize = 253;

/// The objects of a policy, and what they cannot express.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidatingPolicy {
    /// A policy and its binding for what is denied, and the same for what is warned of, as far as
    /// there is any.
    pub objects: Vec<Object>,
    /// What the webhook does and these objects do not, a sentence or two each.
    pub remarks: Vec<String>,
}

/// The policy as its objects judge: without the exemptions that they cannot express.
#[must_use]
pub fn as_exported(rules: &CompiledPolicy) -> CompiledPolicy {
    rules.clone().with_exemptions(is_expressible)
}

/// Why there are no such objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoValidatingPolicy {
    /// The policy has `admission.mode: disabled`.
    #[error("its admission.mode is disabled, so that nothing is judged at admission")]
    Disabled,
    /// No enabled check can be judged by an expression.
    #[error("it enables no check that is judged at admission")]
    Nothing,
    /// The name of the objects would be too long.
    #[error("the names of its namespace and of itself are too long for the name of an object")]
    NameTooLong,
}

/// What an admission policy does with what it finds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Deny,
    Warn,
}

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Warn => "warn",
        }
    }

    /// A warning is also an annotation in the audit log, as a denial is of itself.
    fn validation_actions(self) -> Vec<String> {
        let actions: &[&str] = match self {
            Self::Deny => &["Deny"],
            Self::Warn => &["Warn", "Audit"],
        };
        actions.iter().map(|&action| action.to_owned()).collect()
    }

    /// What happens where an expression fails, as for an object whose evaluation costs more than
    /// the API server allows. Whoever creates the object causes that, so that it is denied.
    const fn failure_policy(self) -> &'static str {
        match self {
            Self::Deny => "Fail",
            Self::Warn => "Ignore",
        }
    }
}

/// The findings of a check, and for which objects they have this consequence.
struct Consequence {
    check: CheckId,
    severity: Severity,
    rule: &'static Rule,
    objects: Objects,
}

/// The objects that a consequence is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Objects {
    All,
    Pods,
    /// Those with a pod template, where a `LimitRange` may still fill in what is missing.
    Templates,
}

/// The objects for a policy.
///
/// # Errors
/// There is nothing that they could express, or the name is too long.
pub fn validating_policy(
    place: &PolicyPlace,
    policy: &str,
    rules: &CompiledPolicy,
) -> Result<ValidatingPolicy, NoValidatingPolicy> {
    if rules.admission().mode.is_disabled() {
        return Err(NoValidatingPolicy::Disabled);
    }
    let exported = Exported { place, policy, rules };
    let mut objects = Vec::new();
    for action in [Action::Deny, Action::Warn] {
        let consequences = exported.consequences(action);
        if !consequences.is_empty() {
            objects.extend(exported.objects(action, &consequences)?);
        }
        let custom = exported.custom(action);
        if !custom.is_empty() {
            let name = format!("{}-custom", action.name());
            objects.extend(exported.pair(&name, action, "Ignore", custom::variables(), custom)?);
        }
    }
    if objects.is_empty() {
        return Err(NoValidatingPolicy::Nothing);
    }
    Ok(ValidatingPolicy { objects, remarks: remarks::of(place, rules) })
}

/// The policy that is exported.
struct Exported<'a> {
    place: &'a PolicyPlace,
    policy: &'a str,
    rules: &'a CompiledPolicy,
}

impl Exported<'_> {
    /// The findings with that consequence.
    fn consequences(&self, action: Action) -> Vec<Consequence> {
        let expressible = self.rules.enabled().filter_map(|(check, enabled)| {
            let rule = rule(check)?;
            let is_severe = self.rules.denies(enabled.severity);
            let is_filled_in_later = check.meta().is_filled_in_later;
            let objects = match (action, is_severe, is_filled_in_later) {
                (Action::Deny, true, true) => Objects::Pods,
                (Action::Warn, true, true) => Objects::Templates,
                (Action::Deny, true, false) | (Action::Warn, false, _) => Objects::All,
                (Action::Warn, true, false) | (Action::Deny, false, _) => return None,
            };
            Some(Consequence { check, severity: enabled.severity, rule, objects })
        });
        expressible.collect()
    }

    fn objects(
        &self,
        action: Action,
        consequences: &[Consequence],
    ) -> Result<[Object; 2], NoValidatingPolicy> {
        let found = consequences.iter().map(|consequence| Variable {
            name: consequence.check.meta().severity_key.to_owned(),
            expression: consequence.rule.introduced(self.rules.exemptions()),
        });
        let variables = expressions::containers().into_iter().chain(found);
        let validations = consequences.iter().map(|consequence| self.validation(consequence));
        let (variables, validations) = (variables.collect(), validations.collect());
        self.pair(action.name(), action, action.failure_policy(), variables, validations)
    }

    /// A policy and its binding.
    fn pair(
        &self,
        name: &str,
        action: Action,
        failure_policy: &str,
        variables: Vec<Variable>,
        validations: Vec<Validation>,
    ) -> Result<[Object; 2], NoValidatingPolicy> {
        let name = self.place.object_name(name, self.policy);
        if name.len() > LONGEST_NAME {
            return Err(NoValidatingPolicy::NameTooLong);
        }
        let metadata = cluster_wide(&name, PLATFORM);
        let policy = ValidatingAdmissionPolicy {
            metadata: metadata.clone(),
            spec: Some(ValidatingAdmissionPolicySpec {
                failure_policy: Some(failure_policy.to_owned()),
                match_constraints: Some(match_constraints()),
                match_conditions: Some(self.match_conditions()),
                variables: Some(variables),
                validations: Some(validations),
                ..ValidatingAdmissionPolicySpec::default()
            }),
            ..ValidatingAdmissionPolicy::default()
        };
        let binding = ValidatingAdmissionPolicyBinding {
            metadata,
            spec: Some(ValidatingAdmissionPolicyBindingSpec {
                policy_name: Some(name),
                match_resources: Some(MatchResources {
                    match_policy: Some("Equivalent".to_owned()),
                    namespace_selector: Some(self.place.namespace_selector()),
                    object_selector: Some(LabelSelector::default()),
                    ..MatchResources::default()
                }),
                validation_actions: Some(action.validation_actions()),
                ..ValidatingAdmissionPolicyBindingSpec::default()
            }),
        };
        Ok([policy.into(), binding.into()])
    }

    /// The sentence is that of the webhook, with all containers in one line.
    fn validation(
        &self,
        Consequence { check, severity, rule, objects }: &Consequence,
    ) -> Validation {
        let meta = check.meta();
        let found = format!("variables.{}", meta.severity_key);
        let none = format!("{found}.size() == 0");
        let (expression, remark) = match objects {
            Objects::All => (none, ""),
            Objects::Pods => (format!("request.kind.kind != 'Pod' || {none}"), ""),
            Objects::Templates => (
                format!("request.kind.kind == 'Pod' || {none}"),
                "may be filled in by a LimitRange: ",
            ),
        };
        let policy = quoted(&format!("policy {}: ", self.place.qualified(self.policy)));
        let remedy = format!(" (check {check}, {severity}); {}", meta.remedy);
        let sentences = format!("{found}.map(c, {}).join('; ')", rule.sentence(remark));
        Validation {
            expression,
            message: Some(format!("{}{remedy}", meta.title)),
            message_expression: Some(format!("{policy} + {sentences} + {}", quoted(&remedy))),
            reason: Some("Forbidden".to_owned()),
        }
    }

    /// Whose requests are judged: see `Requester` in `policy_core`. The expressions use only fields
    /// that every request has.
    fn match_conditions(&self) -> Vec<MatchCondition> {
        let denies_pods = self.rules.admission().controller_pods == ControllerPods::Deny;
        let kinds = ObjectKind::BUILT_IN.into_iter();
        let kinds = kinds.filter(|kind| !(*kind == ObjectKind::Pod && denies_pods));
        let made = kinds.filter(|kind| !controllers_of(*kind).is_empty()).map(|kind| {
            let accounts = controllers_of(kind).iter();
            let accounts = accounts.map(|name| format!("'{CONTROLLER_ACCOUNTS}{name}', "));
            MatchCondition {
                name: format!("no-{}-of-the-cluster", kind.as_str().to_lowercase()),
                expression: format!(
                    "!(request.operation == 'CREATE' && request.kind.kind == '{kind}' && \
                     request.userInfo.username in [{}'{CONTROLLER_MANAGER}'])",
                    accounts.collect::<String>()
                ),
            }
        });
        let mirrors = MatchCondition {
            name: "no-pod-of-a-node".to_owned(),
            expression: format!(
                "!(request.operation == 'CREATE' && request.kind.kind == 'Pod' && \
                 request.userInfo.username.startsWith('{NODE_USERS}'))"
            ),
        };
        let patched = ObjectKind::BUILT_IN.iter().filter(|kind| kind.is_patchable());
        let patched: Vec<String> = patched.map(|kind| format!("'{kind}'")).collect();
        let operator = MatchCondition {
            name: "no-change-of-the-operator".to_owned(),
            expression: format!(
                "!(request.operation == 'UPDATE' && request.kind.kind in [{}] && \
                 request.userInfo.username == '{OPERATOR_USER}')",
                patched.join(", ")
            ),
        };
        made.chain([mirrors, operator]).chain(self.place.match_condition()).collect()
    }
}

/// Those of the webhook, with every default: the API server compares them as a whole.
fn match_constraints() -> MatchResources {
    let owned = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect());
    let rules = RULES.map(|(group, resources, operations)| NamedRuleWithOperations {
        api_groups: owned(&[group]),
        api_versions: owned(&["v1"]),
        operations: owned(operations),
        resources: owned(resources),
        scope: Some("Namespaced".to_owned()),
        ..NamedRuleWithOperations::default()
    });
    MatchResources {
        resource_rules: Some(rules.into()),
        match_policy: Some("Equivalent".to_owned()),
        namespace_selector: Some(LabelSelector::default()),
        object_selector: Some(LabelSelector::default()),
        ..MatchResources::default()
    }
}
