//! Custom checks: expressions of a policy's own, in CEL.
//!
//! They are evaluated where the whole object is at hand, and only their results stay
//! ([`CustomResults`]). An expression that is refused, or has no result for a pod, harms only itself.

mod input;
mod live;
mod served;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use policy_cel::{Failure, Program, ResultType, Shape, Value};

pub use input::{CustomInput, CustomNamespace, ObjectDocument};
pub use live::{CustomNamespaces, LivePod, Whole};

use crate::api::{self, MAX_CUSTOM};
use crate::policy::InvalidField;
use crate::severity::Severity;
use crate::text::{excerpt, prefix, printable};

/// What expressions see. Of metadata only what its author writes: what the API server adds differs
/// from place to place.
const VARIABLES: [(&str, Shape); 2] = [
    (
        "object",
        Shape::Fields(&[
            (
                "metadata",
                Shape::Fields(&[
                    ("name", Shape::Any),
                    ("generateName", Shape::Any),
                    ("namespace", Shape::Any),
                    ("labels", Shape::Any),
                    ("annotations", Shape::Any),
                ]),
            ),
            ("spec", Shape::Any),
        ]),
    ),
    (
        "namespaceObject",
        Shape::Message(&[(
            "metadata",
            Shape::Message(&[("name", Shape::Text), ("labels", Shape::Texts)]),
        )]),
    ),
];
/// The position of `namespaceObject`.
const NAMESPACE: usize = 1;
/// The most characters of a message of an author's own.
const MAX_MESSAGE: usize = 256;

/// The custom checks of a policy that have one.
#[derive(Clone, Debug)]
pub struct CustomChecks {
    specs: Box<[api::CustomCheck]>,
    checks: Box<[CustomCheck]>,
    refused: Box<[RefusedExpression]>,
}

/// Compiled checks are those of their specs.
impl PartialEq for CustomChecks {
    fn eq(&self, other: &Self) -> bool {
        self.specs == other.specs
    }
}

impl Eq for CustomChecks {}

/// A custom check in compiled form.
#[derive(Clone, Debug)]
pub struct CustomCheck {
    name: Arc<str>,
    severity: Severity,
    weight: u8,
    expression: Program,
    message: Option<Program>,
    /// The position in the spec.
    index: usize,
}

/// An expression that cannot be evaluated. Its check finds nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedExpression {
    /// The field, such as `spec.custom[1].expression`.
    pub path: String,
    /// The name of the check.
    pub name: Arc<str>,
    /// Why, as a sentence.
    pub reason: String,
}

impl std::fmt::Display for RefusedExpression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.path, self.name, self.reason)
    }
}

impl From<RefusedExpression> for InvalidField {
    fn from(RefusedExpression { path, reason, .. }: RefusedExpression) -> Self {
        Self { path, problem: reason }
    }
}

/// A pod that is not in order by a custom check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CustomViolation {
    /// The name of the check.
    pub name: Arc<str>,
    /// The text of the finding.
    pub message: Arc<str>,
    /// How severe it is.
    pub severity: Severity,
    /// The points that it takes from the score.
    pub weight: u8,
}

/// A check without a result for a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CustomFailure {
    /// The name of the check.
    pub name: Arc<str>,
    /// Why there is no result.
    pub reason: Arc<str>,
}

/// What the custom checks of a policy say of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CustomResults {
    /// The findings, in the order of the checks.
    pub violations: Vec<Arc<CustomViolation>>,
    /// The checks without a result.
    pub failures: Vec<CustomFailure>,
}

impl CustomResults {
    /// The same findings with the texts that all pods share, as those of an author's own may differ
    /// from pod to pod.
    #[must_use]
    pub fn without_own_texts(&self) -> Self {
        let violation = |violation: &Arc<CustomViolation>| {
            let message = plain_message(&violation.name).into();
            Arc::new(CustomViolation { message, ..CustomViolation::clone(violation) })
        };
        let failure = |failure: &CustomFailure| {
            let (name, reason) = (Arc::clone(&failure.name), "the evaluation failed".into());
            CustomFailure { name, reason }
        };
        Self {
            violations: self.violations.iter().map(violation).collect(),
            failures: self.failures.iter().map(failure).collect(),
        }
    }
}

fn plain_message(check: &str) -> String {
    format!("custom check {check} failed")
}

impl CustomChecks {
    /// Compiles the custom checks of a policy; `None` where it has none.
    #[must_use]
    pub(crate) fn of(specs: &[api::CustomCheck]) -> Option<Arc<Self>> {
        let mut checks = Vec::new();
        let mut refused = Vec::new();
        for (index, spec) in specs.iter().take(MAX_CUSTOM).enumerate() {
            match CustomCheck::compile(index, spec) {
                Ok(check) => checks.push(check),
                Err(reasons) => refused.extend(reasons),
            }
        }
        (!specs.is_empty()).then(|| {
            Arc::new(Self { specs: specs.into(), checks: checks.into(), refused: refused.into() })
        })
    }

    /// The checks that can be evaluated, in the order of the spec.
    #[must_use]
    pub fn checks(&self) -> impl ExactSizeIterator<Item = &CustomCheck> {
        self.checks.iter()
    }

    /// The check as it is written in the policy.
    #[must_use]
    pub fn source(&self, check: &CustomCheck) -> &api::CustomCheck {
        &self.specs[check.index]
    }

    /// The expressions that cannot.
    #[must_use]
    pub fn refused(&self) -> &[RefusedExpression] {
        &self.refused
    }

    /// Whether an expression depends on the labels of the namespace.
    #[must_use]
    pub fn need_namespace(&self) -> bool {
        self.checks.iter().any(CustomCheck::needs_namespace)
    }

    /// Judges a pod. Bounded in time by the number of checks and the bound of each evaluation.
    #[must_use]
    pub fn judge(&self, input: &CustomInput, namespace: Option<&CustomNamespace>) -> CustomResults {
        self.judge_while(input, namespace, &|| true).0
    }

    /// The same while there is time left, which is asked before each check: one may take some
    /// milliseconds. Returns whether there was enough as well.
    #[must_use]
    pub fn judge_while(
        &self,
        input: &CustomInput,
        namespace: Option<&CustomNamespace>,
        is_left: &dyn Fn() -> bool,
    ) -> (CustomResults, bool) {
        let mut results = CustomResults::default();
        for check in &self.checks {
            if !is_left() {
                return (results, false);
            }
            match check.judge(input, namespace) {
                Ok(None) => {}
                Ok(Some(violation)) => results.violations.push(Arc::new(violation)),
                Err(reason) => {
                    let name = Arc::clone(&check.name);
                    results.failures.push(CustomFailure { name, reason: reason.into() });
                }
            }
        }
        (results, true)
    }
}

impl CustomCheck {
    fn compile(index: usize, spec: &api::CustomCheck) -> Result<Self, Vec<RefusedExpression>> {
        let name: Arc<str> = excerpt(&spec.name).into();
        let mut refused = Vec::new();
        let mut compiled = |field: &str, text: &str, result| {
            let program = Program::compile(text, &VARIABLES, result);
            program
                .map_err(|reason| {
                    refused.push(RefusedExpression {
                        path: format!("spec.custom[{index}].{field}"),
                        name: Arc::clone(&name),
                        reason: excerpt(&reason).into_owned(),
                    });
                })
                .ok()
        };
        let expression = compiled("expression", &spec.expression, ResultType::Bool);
        let message = spec.message_expression.as_deref();
        let message = message.map(|text| compiled("messageExpression", text, ResultType::String));
        let (Some(expression), true) = (expression, refused.is_empty()) else {
            return Err(refused);
        };
        Ok(Self {
            name,
            severity: spec.severity,
            weight: u8::try_from(spec.weight.clamp(0, 100)).unwrap_or(100),
            expression,
            message: message.flatten(),
            index,
        })
    }

    /// Its name; its id is `custom/` and the name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How severe its findings are.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// The points that a finding takes from the score.
    #[must_use]
    pub fn weight(&self) -> u8 {
        self.weight
    }

    /// Whether its expression depends on the labels of the namespace.
    fn needs_namespace(&self) -> bool {
        let message = self.message.as_ref();
        self.expression.uses(NAMESPACE) || message.is_some_and(|program| program.uses(NAMESPACE))
    }

    fn judge(
        &self,
        input: &CustomInput,
        namespace: Option<&CustomNamespace>,
    ) -> Result<Option<CustomViolation>, String> {
        let object = input.object()?;
        let namespace = match namespace {
            Some(namespace) => namespace.value(),
            None if self.needs_namespace() => {
                return Err("the labels of the namespace are not known here".to_owned());
            }
            None => &Value::Null,
        };
        let values = [object, namespace];
        let is_true = self.expression.is_true(&values).map_err(|failure| failure.to_string())?;
        Ok((!is_true).then(|| {
            let own = self.message.as_ref().map(|message| message.text(&values));
            CustomViolation {
                name: Arc::clone(&self.name),
                message: self.message(own).into(),
                severity: self.severity,
                weight: self.weight,
            }
        }))
    }

    /// The text of a finding. A message without a result is none, as in Kubernetes.
    fn message(&self, own: Option<Result<String, Failure>>) -> String {
        let own = own
            .and_then(Result::ok)
            .map(|text| printable(prefix(text.trim(), MAX_MESSAGE, usize::MAX)).into_owned());
        match own.filter(|text| !text.is_empty()) {
            Some(text) => format!("{}: {text}", self.name),
            None => plain_message(&self.name),
        }
    }
}
