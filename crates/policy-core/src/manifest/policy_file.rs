//! Reading a `DevOpsPolicy` from a file, strictly: what the API server would drop or refuse is
//! an error with its line.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_path_to_error::Track;

use super::object_type::Header;
use super::parse::{ParseError, parse};
use super::{Document, Failure, documents};
use crate::api::{API_VERSION, DevOpsPolicy};
use crate::policy::{CompiledPolicy, InvalidField};
use crate::view::Located;

/// The policy of a file that holds exactly one; documents of other kinds are passed over.
///
/// # Errors
/// Everything that is wrong with it: text that cannot be read, unknown fields, values outside
/// their range, no policy, or more than one.
pub fn read_policy(bytes: &[u8]) -> Result<DevOpsPolicy, Vec<Failure>> {
    let mut policies = Vec::new();
    for document in documents(bytes) {
        let header = parse::<Header>(document.bytes);
        match header.map_err(|error| vec![failure(&document, error)])? {
            Some(header) if header.kind.as_deref() == Some("DevOpsPolicy") => {
                policies.push((document, header));
            }
            _ => {}
        }
    }
    match policies.as_slice() {
        [(document, header)] => read_document(document, header.api_version.as_deref()),
        [] => Err(vec![Failure {
            line: 1,
            reason: "holds no DevOpsPolicy".to_owned(),
            is_manifest: true,
        }]),
        [_, (second, _), ..] => {
            let reason = "holds a second DevOpsPolicy; give one".to_owned();
            Err(vec![Failure { line: second.first_line, reason, is_manifest: true }])
        }
    }
}

fn read_document(
    document: &Document<'_>,
    api_version: Option<&str>,
) -> Result<DevOpsPolicy, Vec<Failure>> {
    if api_version != Some(API_VERSION) {
        let found = api_version.unwrap_or("nothing");
        let reason = format!("apiVersion of a DevOpsPolicy is {API_VERSION}, not {found}");
        return Err(vec![Failure { line: document.first_line, reason, is_manifest: true }]);
    }
    let value = parse::<Value>(document.bytes).map_err(|error| vec![failure(document, error)])?;
    let problems = match decode_policy(without_nulls(value.unwrap_or_default())) {
        Ok(policy) => return Ok(policy),
        Err(problems) => problems,
    };
    let lines = parse::<FieldLines>(document.bytes).ok().flatten().unwrap_or_default();
    let mut failures: Vec<Failure> = problems
        .into_iter()
        .map(|invalid| {
            let line = document.file_line(lines.line(&invalid.path));
            Failure { line, reason: invalid.to_string(), is_manifest: true }
        })
        .collect();
    failures.sort_by_key(|failure| failure.line);
    Err(failures)
}

/// The policy that an object is, as strictly as [`read_policy`] takes it.
///
/// # Errors
/// Everything that is wrong with it: unknown fields, wrong types, values outside their range.
pub fn decode_policy(object: Value) -> Result<DevOpsPolicy, Vec<InvalidField>> {
    let mut problems = Vec::new();
    let policy = decode(object, &mut problems);
    if let Some(policy) = &policy
        && let Err(invalid) = CompiledPolicy::compile(&policy.spec)
    {
        problems.extend(invalid);
    }
    policy.filter(|_| problems.is_empty()).ok_or(problems)
}

/// Decodes with the types that the API server insists on: a `"true"` is no boolean. Leaves the
/// paths of what is unknown or of the wrong type, and what is wrong with them.
fn decode(value: Value, problems: &mut Vec<InvalidField>) -> Option<DevOpsPolicy> {
    let mut track = Track::new();
    let mut unknown = Vec::new();
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    let decoded = serde_ignored::deserialize(tracked, |path| {
        // A `?` stands for an optional field on the way.
        unknown.push(path.to_string().replace(".?", ""));
    });
    unknown.retain(|path| !matches!(path.as_str(), "apiVersion" | "kind"));
    problems.extend(
        unknown.into_iter().map(|path| InvalidField { path, problem: "unknown field".to_owned() }),
    );
    decoded
        .map_err(|error| {
            let path = track.path().to_string();
            let path = if path == "." { "policy".to_owned() } else { path };
            problems.push(InvalidField { path, problem: wrong_type(&error) });
        })
        .ok()
}

fn wrong_type(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.starts_with("invalid type: boolean") && text.contains("string") {
        return format!("{text}; bare words such as off and yes are booleans in YAML, quote them");
    }
    ["i32", "i64"].iter().fold(text, |text, integer| {
        text.replace(&format!("expected {integer}"), "expected a whole number that fits")
    })
}

/// The API server drops a `null` that the schema does not ask for.
pub(super) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name, without_nulls(value)))
                .collect(),
        ),
        other => other,
    }
}

pub(super) fn failure(document: &Document<'_>, error: ParseError) -> Failure {
    Failure { line: document.file_line(error.line), reason: error.reason, is_manifest: true }
}

/// The line of each field of a document, whatever its values are.
#[derive(Default)]
struct FieldLines(BTreeMap<String, (u32, FieldLines)>);

impl FieldLines {
    /// The line of a field by its path, such as `spec.weights.pending`; of the part of the path
    /// that is there, else 1.
    fn line(&self, path: &str) -> u32 {
        let (mut fields, mut line) = (self, 1);
        for name in path.split('.') {
            let Some((found, below)) = fields.0.get(name) else {
                break;
            };
            (line, fields) = (*found, below);
        }
        line
    }
}

impl<'de> Deserialize<'de> for FieldLines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldLines::default())
    }
}

impl<'de> Visitor<'de> for FieldLines {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(key) = map.next_key::<Located<String>>()? {
            let line = u32::try_from(u64::from(key.line)).unwrap_or(u32::MAX);
            self.0.insert(key.value, (line, map.next_value()?));
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::DevOpsPolicySpec;
    use crate::bundle::Bundle;

    const HEAD: &str =
        "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata:\n  name: p\n";

    fn problems(text: &str) -> Vec<String> {
        match read_policy(text.as_bytes()) {
            Ok(_) => Vec::new(),
            Err(found) => found.iter().map(|f| format!("{}: {}", f.line, f.reason)).collect(),
        }
    }

    #[test]
    fn a_bundle_as_it_is_printed_reads_back() {
        for bundle in Bundle::all() {
            let policy = bundle.policy("shop", "p");
            let text = serde_saphyr::to_string(&policy).unwrap();
            assert_eq!(read_policy(text.as_bytes()).unwrap(), policy, "{}", bundle.name);
        }
    }

    #[test]
    fn unknown_fields_and_impossible_values_are_named_with_their_lines() {
        let text = format!(
            "# mine\n---\n{HEAD}  labls: {{}}\nspec:\n  forbidLatestTga: true\n  weights:\n    pending: 101\n    other: 1\n  maxRestartCount: -1\n"
        );
        assert_eq!(
            problems(&text),
            [
                "7: metadata.labls: unknown field",
                "9: spec.forbidLatestTga: unknown field",
                "11: spec.weights.pending: must be 0 to 100, not 101",
                "12: spec.weights.other: unknown field",
                "13: spec.maxRestartCount: must be 0 or more, not -1",
            ]
        );
    }

    #[test]
    fn values_of_the_wrong_type_are_named_with_their_line() {
        let with =
            |spec: &str| problems(&format!("{HEAD}spec:\n  forbidLatestTag: true\n  {spec}\n"));
        for (spec, words) in [
            ("requireResources: maybe", "spec.requireResources: invalid type: string"),
            ("requireResources: \"true\"", "spec.requireResources: invalid type: string"),
            ("enforcementMode: strict", "spec.enforcementMode: unknown variant `strict`"),
            ("severityOverrides: {pending: urgent}", "spec.severityOverrides.pending: unknown"),
            ("maxRestartCount: 99999999999", "expected a whole number that fits"),
            ("maxRestartCount: \"3\"", "spec.maxRestartCount: invalid type: string"),
            ("defaultProbe: {}", "spec.defaultProbe: missing field `tcpPort`"),
            ("defaultResources: {cpuLimit: [1]}", "expected a quantity"),
            ("defaultResources: {cpuLimit: 1.5}", "expected a quantity"),
            ("admission: {mode: off}", "quote them"),
        ] {
            let found = with(spec);
            assert_eq!(found.len(), 1, "{spec}: {found:?}");
            assert!(found[0].starts_with("7: ") && found[0].contains(words), "{spec}: {found:?}");
        }
        assert!(with("admission: {mode: \"off\"}").is_empty());
    }

    #[test]
    fn null_is_a_field_that_is_not_there() {
        let text =
            format!("{HEAD}spec:\n  enforcementMode: null\n  weights:\n  forbidLatestTag: ~\n");
        assert_eq!(read_policy(text.as_bytes()).unwrap().spec, DevOpsPolicySpec::default());
    }

    #[test]
    fn exactly_one_policy_is_wanted() {
        assert_eq!(problems("kind: Pod\n"), ["1: holds no DevOpsPolicy"]);
        assert_eq!(problems(""), ["1: holds no DevOpsPolicy"]);
        assert_eq!(problems("kind: [\n").len(), 1);
        let two = format!("{HEAD}spec: {{}}\n---\n{HEAD}spec: {{}}\n");
        assert_eq!(problems(&two), ["6: holds a second DevOpsPolicy; give one"]);
        let other = HEAD.replace("/v1", "/v2");
        assert_eq!(
            problems(&format!("{other}spec: {{}}\n")),
            [
                "1: apiVersion of a DevOpsPolicy is devops.stochastic.io/v1, not devops.stochastic.io/v2"
            ]
        );
    }
}
