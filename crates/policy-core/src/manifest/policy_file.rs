//! Reading a `DevOpsPolicy` from a file, strictly: what the API server would drop or refuse is
//! an error with its line.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::parse::{ParseError, parse, parse_strictly};
use super::{Document, Failure, Header, documents};
use crate::api::{API_VERSION, DevOpsPolicy};
use crate::policy::CompiledPolicy;
use crate::view::Spanned;

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
        [] => Err(vec![Failure { line: 1, reason: "holds no DevOpsPolicy".to_owned() }]),
        [_, (second, _), ..] => {
            let reason = "holds a second DevOpsPolicy; give one".to_owned();
            Err(vec![Failure { line: second.first_line, reason }])
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
        return Err(vec![Failure { line: document.first_line, reason }]);
    }
    let (policy, unknown) = parse_strictly::<DevOpsPolicy>(document.bytes)
        .map_err(|error| vec![failure(document, error)])?;
    let mut problems: Vec<(String, String)> = unknown
        .into_iter()
        .filter(|path| !matches!(path.as_str(), "apiVersion" | "kind"))
        .map(|path| {
            let reason = format!("unknown field {path}");
            (path, reason)
        })
        .collect();
    if bare_off(document) {
        let path = "spec.admission.mode".to_owned();
        let reason = format!("{path}: a bare off is a boolean in YAML; write \"off\"");
        problems.push((path, reason));
    }
    if let Err(invalid) = CompiledPolicy::compile(&policy.spec) {
        problems.extend(invalid.into_iter().map(|field| (field.path.clone(), field.to_string())));
    }
    if problems.is_empty() {
        return Ok(policy);
    }
    let lines = parse::<FieldLines>(document.bytes).ok().flatten().unwrap_or_default();
    let mut failures: Vec<Failure> = problems
        .into_iter()
        .map(|(path, reason)| {
            let line = document.first_line.saturating_add(lines.line(&path).saturating_sub(1));
            Failure { line, reason }
        })
        .collect();
    failures.sort_by_key(|failure| failure.line);
    Err(failures)
}

/// Whether the admission mode is a bare `off`, which `kubectl` sends as `false`.
fn bare_off(document: &Document<'_>) -> bool {
    let value = parse::<serde_json::Value>(document.bytes).ok().flatten().unwrap_or_default();
    value["spec"]["admission"]["mode"].is_boolean()
}

fn failure(document: &Document<'_>, error: ParseError) -> Failure {
    let line = document.first_line.saturating_add(error.line.saturating_sub(1));
    Failure { line, reason: error.reason }
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
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let line = u32::try_from(key.defined.line()).unwrap_or(u32::MAX);
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
                "7: unknown field metadata.labls",
                "9: unknown field spec.forbidLatestTga",
                "11: spec.weights.pending: must be 0 to 100, not 101",
                "12: unknown field spec.weights.other",
                "13: spec.maxRestartCount: must be 0 or more, not -1",
            ]
        );
    }

    #[test]
    fn values_of_the_wrong_type_are_named_with_their_line() {
        let with =
            |spec: &str| problems(&format!("{HEAD}spec:\n  forbidLatestTag: true\n  {spec}\n"));
        for (spec, words) in [
            ("requireResources: maybe", "boolean"),
            ("enforcementMode: strict", "strict"),
            ("severityOverrides: {pending: urgent}", "urgent"),
            ("maxRestartCount: 99999999999", ""),
            ("defaultProbe: {}", "tcpPort"),
        ] {
            let found = with(spec);
            assert!(found[0].starts_with("7: ") && found[0].contains(words), "{spec}: {found:?}");
        }
    }

    #[test]
    fn a_bare_off_is_refused_as_the_api_server_does() {
        let mode = |mode: &str| problems(&format!("{HEAD}spec:\n  admission:\n    mode: {mode}\n"));
        assert!(mode("\"off\"").is_empty() && mode("warn").is_empty());
        let expected = "7: spec.admission.mode: a bare off is a boolean in YAML; write \"off\"";
        assert_eq!(mode("off"), [expected]);
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
