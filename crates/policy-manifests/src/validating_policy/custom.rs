//! Custom checks as validations. Both are CEL: an expression stands as it is written, about the pod
//! or pod template in place of the object of the request.
//!
//! They have objects of their own, because an expression without a result lets the request in, as at
//! the webhook, whereas the checks of the registry deny what costs too much to evaluate.

use k8s_openapi::api::admissionregistration::v1::{Validation, Variable};
use policy_core::checks::CheckName;
use policy_core::custom::{CustomCheck, CustomChecks};
use policy_core::policy::Exemptions;

use super::expressions::{exempted, quoted};
use super::{Action, Exported};

/// The variables of the new and of the old pod.
const POD: &str = "variables.pod";
const OLD_POD: &str = "variables.oldPod";

impl Exported<'_> {
    /// The custom checks whose findings have that consequence.
    pub(super) fn custom(&self, action: Action) -> Vec<Validation> {
        let Some(checks) = self.rules.custom() else { return Vec::new() };
        let denies = action == Action::Deny;
        let own = checks.checks().filter(|check| self.rules.denies(check.severity()) == denies);
        own.map(|check| self.custom_validation(checks, check)).collect()
    }

    fn custom_validation(&self, checks: &CustomChecks, check: &CustomCheck) -> Validation {
        let (source, name) = (checks.source(check), check.name());
        let (new, old) =
            (with_object(&source.expression, POD), with_object(&source.expression, OLD_POD));
        let known = CheckName::Custom(name.clone());
        let exemptions = self.rules.exemptions().into_iter().flat_map(Exemptions::iter);
        let exempted = exemptions
            .filter(|(_, one)| one.has_check(&known) && one.container().is_none())
            .filter_map(|(_, exemption)| exempted(exemption));
        // Of an update, only what it brings in.
        let is_fine = format!("({new}) || (oldObject != null && !({old}))");
        let all: Vec<String> = exempted.chain([is_fine]).collect();
        let before = format!("policy {}: ", self.place.qualified(self.policy));
        let after = format!(" (check custom/{name}, {})", check.severity());
        let message_expression = source.message_expression.as_deref().map(|text| {
            let start = quoted(&format!("{before}{name}: "));
            format!("{start} + ({}) + {}", with_object(text, POD), quoted(&after))
        });
        Validation {
            expression: all.join(" || "),
            message: Some(format!("{before}custom check {name} failed{after}")),
            message_expression,
            reason: Some("Forbidden".to_owned()),
        }
    }
}

/// The variables that the validations use.
pub(super) fn variables() -> Vec<Variable> {
    let variable = |name: &str, object: &str| Variable {
        name: name.to_owned(),
        expression: format!(
            "request.kind.kind == 'Pod' ? dyn({object}) : request.kind.kind == 'CronJob' ? \
             dyn({object}).spec.jobTemplate.spec.template : dyn({object}).spec.template"
        ),
    };
    vec![variable("pod", "object"), variable("oldPod", "oldObject")]
}

/// The expression with another variable in place of `object`, without its comments: one at the end
/// would take in what is written behind it. It has been compiled: its texts are closed, and no other
/// variable has that name.
fn with_object(expression: &str, variable: &str) -> String {
    let mut written = String::new();
    let mut rest = expression;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
            written.truncate(written.trim_end_matches([' ', '\t']).len());
            continue;
        }
        let length = if c == '"' || c == '\'' {
            text_length(rest, written.ends_with(['r', 'R']))
        } else if is_of_word(c) {
            rest.find(|c| !is_of_word(c)).unwrap_or(rest.len())
        } else {
            c.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        let is_field = written.trim_end().ends_with('.');
        written.push_str(if token == "object" && !is_field { variable } else { token });
        rest = after;
    }
    written
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of the text in quotes at the start.
fn text_length(rest: &str, is_raw: bool) -> usize {
    let quote = &rest[..1];
    let triple = quote.repeat(3);
    let quote = if rest.starts_with(&triple) { &triple } else { quote };
    let mut position = quote.len();
    while let Some(c) = rest[position..].chars().next() {
        if rest[position..].starts_with(quote) {
            return position + quote.len();
        }
        position += c.len_utf8();
        if c == '\\' && !is_raw {
            position += rest[position..].chars().next().map_or(0, char::len_utf8);
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_variable_is_replaced() {
        for (expression, expected) in [
            ("object.spec.x == 1", "P.spec.x == 1"),
            ("has(object.spec.object) && my_object == 1", "has(P.spec.object) && my_object == 1"),
            ("namespaceObject.metadata . object", "namespaceObject.metadata . object"),
            (
                "object.a == 'object' && \"object\" == object.b",
                "P.a == 'object' && \"object\" == P.b",
            ),
            (r"'it\'s object' + object.a", r"'it\'s object' + P.a"),
            (r"r'\' + object.a", r"r'\' + P.a"),
            ("'''a 'object' b''' + object.a", "'''a 'object' b''' + P.a"),
            ("'é' + object.a", "'é' + P.a"),
            // Comments: a quote in one opens no text, and in a text there is none.
            ("object.a // b's object", "P.a"),
            ("true // it's\n&& object.a // \"", "true\n&& P.a"),
            ("'a//b' != object.a", "'a//b' != P.a"),
            ("object.// x\nobject / 2 == 1", "P.\nobject / 2 == 1"),
        ] {
            assert_eq!(with_object(expression, "P"), expected, "{expression}");
        }
    }
}
