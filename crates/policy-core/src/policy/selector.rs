//! A selector of labels, compiled. It means what it means to Kubernetes:
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>.

use std::collections::BTreeMap;
use std::fmt;

use crate::api::{LabelSelector, SelectorOperator, SelectorRequirement};

use super::Problems;

/// The longest value of a label, name of its key, and name of a namespace.
const MAX_NAME: usize = 63;
/// The longest prefix of the key of a label, and the longest name of an object.
const MAX_PREFIX: usize = 253;

/// A selector whose keys and values are labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<SelectorRequirement>);

impl Selector {
    /// Whether it selects what has these labels.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_by(|key| labels.get(key).map(String::as_str))
    }

    /// The same, with the labels as somebody else has them: the value of a key, if there is one.
    pub fn matches_by<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|requirement| is_met(requirement, label(&requirement.key)))
    }

    /// What all of the labels must fulfil.
    pub(super) fn requirements(&self) -> &[SelectorRequirement] {
        &self.0
    }
}

/// As kubectl writes it: `app=web,tier in (a,b),!legacy`.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, SelectorRequirement { key, operator, values }) in self.0.iter().enumerate() {
            let separator = if index > 0 { "," } else { "" };
            f.write_str(separator)?;
            match (operator, &**values) {
                (SelectorOperator::In, [value]) => write!(f, "{key}={value}")?,
                (SelectorOperator::NotIn, [value]) => write!(f, "{key}!={value}")?,
                (SelectorOperator::In, values) => write!(f, "{key} in ({})", values.join(","))?,
                (SelectorOperator::NotIn, values) => {
                    write!(f, "{key} notin ({})", values.join(","))?;
                }
                (SelectorOperator::Exists, _) => f.write_str(key)?,
                (SelectorOperator::DoesNotExist, _) => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

fn is_met(requirement: &SelectorRequirement, label: Option<&str>) -> bool {
    let is_listed =
        label.is_some_and(|label| requirement.values.iter().any(|value| value == label));
    match requirement.operator {
        SelectorOperator::In => is_listed,
        SelectorOperator::NotIn => !is_listed,
        SelectorOperator::Exists => label.is_some(),
        SelectorOperator::DoesNotExist => label.is_none(),
    }
}

/// Compiles the selector of a field, and reports what is wrong with it. Each of its lists and maps has
/// at most `max` entries.
pub(super) fn compile(
    (path, selector, max): (&str, &LabelSelector, usize),
    problems: &mut Problems,
) -> Selector {
    let mut requirements = Vec::new();
    problems.entries(&format!("{path}.matchLabels"), selector.match_labels.len(), max);
    for (key, value) in selector.match_labels.iter().take(max) {
        requirements.push(SelectorRequirement {
            key: key.clone(),
            operator: SelectorOperator::In,
            values: vec![value.clone()],
        });
        let requirement = &requirements[requirements.len() - 1];
        problems.requirement(&format!("{path}.matchLabels"), requirement, max);
    }
    problems.entries(&format!("{path}.matchExpressions"), selector.match_expressions.len(), max);
    for (index, requirement) in selector.match_expressions.iter().take(max).enumerate() {
        problems.requirement(&format!("{path}.matchExpressions[{index}]"), requirement, max);
        requirements.push(requirement.clone());
    }
    Selector(requirements)
}

impl Problems {
    fn entries(&mut self, path: &str, found: usize, max: usize) {
        if found > max {
            self.add(path, format!("must have at most {max}, not {found}"));
        }
    }

    fn requirement(&mut self, path: &str, requirement: &SelectorRequirement, max: usize) {
        let SelectorRequirement { key, operator, values } = requirement;
        if !is_key(key) {
            self.add(path, format!("`{key}` is no label key, such as example.com/tier"));
        }
        let needs_values = matches!(operator, SelectorOperator::In | SelectorOperator::NotIn);
        if needs_values == values.is_empty() {
            let verb = if needs_values { "needs" } else { "has no" };
            self.add(path, format!("{operator:?} {verb} values"));
        }
        self.entries(path, values.len(), max);
        for value in values.iter().take(max).filter(|value| !is_value(value)) {
            let rule = "at most 63 letters, digits, `-`, `_` and `.`";
            self.add(path, format!("`{value}` is no label value: {rule}"));
        }
    }
}

/// Whether it is the key of a label: a name, and before it a DNS subdomain and a slash where it has
/// a prefix.
fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && !name.is_empty() && is_value(name),
        None => !key.is_empty() && is_value(key),
    }
}

/// Whether it is the value of a label: empty, or letters and digits with `-`, `_` and `.` between.
fn is_value(value: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    value.len() <= MAX_NAME && is_bounded(value, is_inner, |byte| byte.is_ascii_alphanumeric())
}

pub(crate) fn is_subdomain(name: &str) -> bool {
    name.len() <= MAX_PREFIX && name.split('.').all(|part| !part.is_empty() && is_label(part))
}

/// Whether it is a DNS label, as the name of a namespace.
pub(crate) fn is_dns_label(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && is_label(name)
}

/// Whether it is a DNS label but for its length: lower case letters and digits with `-` between.
fn is_label(name: &str) -> bool {
    is_bounded(name, |byte| is_lower(byte) || byte == b'-', is_lower)
}

/// Whether it has lower case letters and digits, with `-` and `.` between, as the names of most
/// objects.
pub(super) fn is_object_name(name: &str) -> bool {
    let is_inner = |byte| is_lower(byte) || b"-.".contains(&byte);
    (1..=MAX_PREFIX).contains(&name.len()) && is_bounded(name, is_inner, is_lower)
}

/// Whether it is a lower case letter or a digit.
const fn is_lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Whether all bytes are of one kind, and the first and last of another.
fn is_bounded(text: &str, inner: impl Fn(u8) -> bool, outer: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    bytes.iter().all(|byte| inner(*byte)) && ends.into_iter().flatten().all(|byte| outer(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn compiled(json: &str) -> Result<Selector, Vec<String>> {
        let selector = serde_json::from_str(json).map_err(|error| vec![error.to_string()])?;
        let mut problems = Problems::default();
        let selector = compile(("s", &selector, 64), &mut problems);
        let problems: Vec<_> = problems.0.iter().map(ToString::to_string).collect();
        if problems.is_empty() { Ok(selector) } else { Err(problems) }
    }

    /// As `TestSelectorMatches` and `TestRequirementMatches` of apimachinery have it:
    /// <https://github.com/kubernetes/apimachinery/blob/v0.34.0/pkg/labels/selector_test.go>.
    #[test]
    fn requirements_mean_what_they_mean_to_kubernetes() {
        let prod = labels(&[("tier", "web"), ("env", "prod"), ("empty", "")]);
        let none = labels(&[]);
        for (expression, of_prod, of_none) in [
            (r#"{"key": "tier", "operator": "In", "values": ["api", "web"]}"#, true, false),
            (r#"{"key": "tier", "operator": "In", "values": ["api"]}"#, false, false),
            (r#"{"key": "tier", "operator": "NotIn", "values": ["api"]}"#, true, true),
            (r#"{"key": "tier", "operator": "NotIn", "values": ["web"]}"#, false, true),
            (r#"{"key": "tier", "operator": "Exists"}"#, true, false),
            (r#"{"key": "tier", "operator": "DoesNotExist"}"#, false, true),
            (r#"{"key": "empty", "operator": "Exists"}"#, true, false),
            (r#"{"key": "empty", "operator": "In", "values": [""]}"#, true, false),
            (r#"{"key": "Tier", "operator": "Exists"}"#, false, false),
        ] {
            let selector = compiled(&format!(r#"{{"matchExpressions": [{expression}]}}"#)).unwrap();
            assert_eq!(selector.matches(&prod), of_prod, "{expression}");
            assert_eq!(selector.matches(&none), of_none, "{expression}");
        }
    }

    #[test]
    fn all_requirements_must_hold_and_none_selects_everything() {
        let both = compiled(
            r#"{"matchLabels": {"tier": "web"}, "matchExpressions": [{"key": "legacy", "operator": "DoesNotExist"}]}"#,
        )
        .unwrap();
        assert!(both.matches(&labels(&[("tier", "web"), ("env", "prod")])));
        assert!(!both.matches(&labels(&[("tier", "web"), ("legacy", "true")])));
        assert!(!both.matches(&labels(&[("tier", "api")])));
        assert!(compiled("{}").unwrap().matches(&labels(&[])));
        assert!(compiled("{}").unwrap().matches(&labels(&[("tier", "web")])));
    }

    #[test]
    fn keys_values_and_operators_are_checked() {
        for key in ["tier", "a.b_c-D", "example.com/tier", "kubernetes.io/metadata.name"] {
            assert!(is_key(key), "{key}");
        }
        for key in ["", "/tier", "example.com/", "a/b/c", "-tier", "tier.", "A.com/tier", "a..b/c"]
        {
            assert!(!is_key(key), "{key}");
        }
        assert!(!is_key(&"a".repeat(64)) && !is_key(&format!("{}/a", "a".repeat(254))));
        let problems = compiled(
            r#"{"matchLabels": {"tier": "we b"}, "matchExpressions": [
                {"key": "not a key", "operator": "Exists"},
                {"key": "tier", "operator": "In"},
                {"key": "tier", "operator": "Exists", "values": ["web"]}]}"#,
        );
        let expected = [
            "spec.s.matchLabels: `we b` is no label value: at most 63 letters, digits, `-`, `_` and `.`",
            "spec.s.matchExpressions[0]: `not a key` is no label key, such as example.com/tier",
            "spec.s.matchExpressions[1]: In needs values",
            "spec.s.matchExpressions[2]: Exists has no values",
        ];
        assert_eq!(problems.unwrap_err(), expected);
    }
}
