//! Decoding a `DevOpsPolicy` strictly: what the API server would drop or refuse is a mistake.

use std::collections::BTreeSet;

use serde_json::{Map, Number, Value};
use serde_path_to_error::{Segment, Track};

use crate::api::{DevOpsPolicy, crds};
use crate::policy::{CompiledPolicy, InvalidField};

/// How alike two names must be for one to be suggested in place of the other.
const SIMILAR: f64 = 0.6;

/// The policy that an object is, and the same compiled.
///
/// # Errors
/// All of its mistakes: unknown fields, wrong types, values outside their range.
pub(super) fn decode(
    mut object: Value,
) -> Result<(DevOpsPolicy, CompiledPolicy), Vec<InvalidField>> {
    let mut mistakes = Vec::new();
    let mut unknown = BTreeSet::new();
    if let Value::Object(fields) = &mut object {
        fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    }
    // Serde stops at the first value that it cannot decode. That value is removed, so that the
    // next run finds the next one.
    let policy = loop {
        let mut track = Track::new();
        let tracked = serde_path_to_error::Deserializer::new(&object, &mut track);
        let decoded: Result<DevOpsPolicy, serde_json::Error> =
            serde_ignored::deserialize(tracked, |path| {
                // A `?` stands for an optional field on the way.
                unknown.insert(path.to_string().replace(".?", ""));
            });
        let error = match decoded {
            Ok(policy) => break Some(policy),
            Err(error) => error,
        };
        let path = track.path();
        let path: Vec<String> = path
            .iter()
            .filter(|s| matches!(s, Segment::Map { .. }))
            .map(Segment::to_string)
            .collect();
        let field = if path.is_empty() { "policy".to_owned() } else { path.join(".") };
        mistakes.push(InvalidField { path: field, problem: wrong_type(&error) });
        if !remove(&mut object, &path) {
            break None;
        }
    };
    unknown.retain(|path| !matches!(path.as_str(), "apiVersion" | "kind"));
    mistakes.extend(unknown.into_iter().map(unknown_field));
    match policy.map(|policy| (CompiledPolicy::compile(&policy.spec), policy)) {
        Some((Ok(compiled), policy)) if mistakes.is_empty() => return Ok((policy, compiled)),
        Some((Err(invalid), _)) => mistakes.extend(invalid),
        _ => {}
    }
    Err(mistakes)
}

/// Removes a field; `false` where there is none of that path.
fn remove(object: &mut Value, path: &[String]) -> bool {
    let Some((name, parents)) = path.split_last() else {
        return false;
    };
    let parent = parents.iter().try_fold(object, |value, name| value.get_mut(name));
    let fields = parent.and_then(Value::as_object_mut);
    fields.is_some_and(|fields| fields.remove(name).is_some())
}

fn unknown_field(path: String) -> InvalidField {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", &path));
    let nearest = known_fields(parent)
        .into_iter()
        .map(|known| {
            let (known_name, name) = (known.to_lowercase(), name.to_lowercase());
            (strsim::normalized_damerau_levenshtein(&known_name, &name), known)
        })
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    let hint = nearest.map(|(_, known)| format!("; did you mean `{known}`?"));
    let problem = format!("unknown field{}", hint.unwrap_or_default());
    InvalidField { path, problem }
}

/// The fields that an object of a policy can have.
fn known_fields(path: &str) -> Vec<String> {
    if path == "metadata" {
        return ["name", "namespace", "labels", "annotations"].map(str::to_owned).to_vec();
    }
    let [policy, _] = crds();
    let version = policy.spec.versions.into_iter().next();
    let root = version.and_then(|version| version.schema?.open_api_v3_schema);
    let mut segments = path.split('.').filter(|segment| !segment.is_empty());
    let schema = segments.try_fold(root, |schema, name| Some(schema?.properties?.remove(name)));
    let properties = schema.flatten().and_then(|schema| schema.properties);
    properties.unwrap_or_default().into_keys().collect()
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

/// The object as the API server stores it: it drops a `null` that the schema does not ask for,
/// and reads `3.0` as an integer.
pub(super) fn as_stored(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(name, value)| (name, as_stored(value))).collect())
        }
        Value::Array(members) => Value::Array(members.into_iter().map(as_stored).collect()),
        Value::Number(number) => Value::Number(whole(&number).unwrap_or(number)),
        other => other,
    }
}

/// The integer that a floating-point number is.
fn whole(number: &Number) -> Option<Number> {
    let float = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0)?;
    // Without an exponent, and without a point where there is no fraction.
    format!("{float:.0}").parse::<i64>().ok().map(Number::from)
}
