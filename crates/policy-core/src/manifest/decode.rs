//! Decoding a policy or a cluster policy strictly: what the API server would drop or refuse is a mistake.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Number, Value, json};
use serde_path_to_error::{Path, Segment, Track};

use crate::api::{CLUSTER_POLICY, ClusterDevOpsPolicySpec, DevOpsPolicy, LabelSelector, crds};
use crate::custom::CustomChecks;
use crate::policy::{ClusterScope, CompiledClusterPolicy, CompiledPolicy, InvalidField};

/// How alike two names must be for one to be suggested in place of the other.
const SIMILAR: f64 = 0.6;
/// The path of the policy itself in a mistake.
const ROOT: &str = "policy";
/// The fields of `metadata`, which are not in the schema.
const METADATA: &str = "annotations creationTimestamp deletionGracePeriodSeconds \
    deletionTimestamp finalizers generateName generation labels managedFields name namespace \
    ownerReferences resourceVersion selfLink uid";

/// What a policy is decoded to.
pub(super) struct Decoded {
    /// The policy; of a cluster policy, what any policy has.
    pub(super) policy: DevOpsPolicy,
    pub(super) compiled: CompiledPolicy,
    /// Where a cluster policy applies.
    pub(super) scope: Option<ClusterScope>,
}

/// The part of a cluster policy that no other has.
#[derive(Deserialize)]
struct ClusterFields {
    spec: ClusterFieldsOfSpec,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ClusterFieldsOfSpec {
    namespace_selector: Option<LabelSelector>,
    excluded_namespaces: Vec<String>,
    priority: i32,
}

/// The fields of [`ClusterFieldsOfSpec`].
const CLUSTER_FIELDS: [&str; 3] = ["namespaceSelector", "excludedNamespaces", "priority"];

/// The policy that an object is, and the same compiled.
///
/// # Errors
/// All of its mistakes: unknown fields, wrong types, values outside their range.
pub(super) fn decode(mut object: Value) -> Result<Decoded, Vec<InvalidField>> {
    let mut mistakes = Vec::new();
    let is_cluster = object["kind"] == CLUSTER_POLICY;
    has_shape(&mut object, &schema(is_cluster), "", &mut mistakes);
    if let Value::Object(fields) = &mut object {
        fields.entry("metadata").or_insert_with(|| json!({}));
    }
    let cluster_fields = if is_cluster {
        if object["metadata"].get("namespace").is_some() {
            let problem = "a cluster policy has none; namespaceSelector selects namespaces";
            let path = "metadata.namespace".to_owned();
            mistakes.push(InvalidField { path, problem: problem.to_owned() });
        }
        let fields = object.get_mut("spec").map(|spec| split_off(spec, &CLUSTER_FIELDS));
        let mut own = json!({ "spec": fields.unwrap_or_else(|| json!({})) });
        typed::<ClusterFields>(&mut own, &mut mistakes).map(|fields| fields.spec)
    } else {
        None
    };
    let policy = typed::<DevOpsPolicy>(&mut object, &mut mistakes);
    if mistakes.iter().any(|mistake| mistake.path == "spec") {
        // A spec that was removed is not missing.
        mistakes.retain(|mistake| mistake.path != ROOT);
    }
    match policy.map(|policy| (compile(&policy, cluster_fields), policy)) {
        Some((Ok((compiled, scope)), policy)) if mistakes.is_empty() => {
            return Ok(Decoded { policy, compiled, scope });
        }
        Some((Err(invalid), _)) => mistakes.extend(invalid),
        _ => {}
    }
    Err(mistakes)
}

fn compile(
    policy: &DevOpsPolicy,
    fields: Option<ClusterFieldsOfSpec>,
) -> Result<(CompiledPolicy, Option<ClusterScope>), Vec<InvalidField>> {
    let Some(ClusterFieldsOfSpec { namespace_selector, excluded_namespaces, priority }) = fields
    else {
        return Ok((applicable(CompiledPolicy::compile(&policy.spec)?)?, None));
    };
    let rules = policy.spec.clone();
    let spec = ClusterDevOpsPolicySpec { rules, namespace_selector, excluded_namespaces, priority };
    let CompiledClusterPolicy { rules, scope } = CompiledClusterPolicy::compile(&spec)?;
    Ok((applicable(rules)?, Some(scope)))
}

/// The rules, if all of their expressions can be evaluated. In a cluster the others go on; whoever
/// has the file can mend it.
fn applicable(rules: CompiledPolicy) -> Result<CompiledPolicy, Vec<InvalidField>> {
    let refused = rules.custom().map(CustomChecks::refused).unwrap_or_default();
    match refused {
        [] => Ok(rules),
        refused => Err(refused.iter().cloned().map(InvalidField::from).collect()),
    }
}

/// Moves these fields out of an object. The rest is decoded apart from them: serde does not say
/// where the mistake in a flattened field is.
fn split_off(object: &mut Value, names: &[&str]) -> Value {
    let Value::Object(fields) = object else { return json!({}) };
    let moved = names.iter().filter_map(|name| Some(((*name).to_owned(), fields.remove(*name)?)));
    Value::Object(moved.collect())
}

/// Decodes an object, and reports every value that cannot be. `None` where it has not the
/// structure.
fn typed<T: DeserializeOwned>(object: &mut Value, mistakes: &mut Vec<InvalidField>) -> Option<T> {
    // Serde stops at the first value that it cannot decode. That value is removed, so that the
    // next run finds the next one.
    loop {
        let mut track = Track::new();
        let tracked = serde_path_to_error::Deserializer::new(&*object, &mut track);
        let error = match T::deserialize(tracked) {
            Ok(decoded) => return Some(decoded),
            Err(error) => error,
        };
        let (path, names) = located(&track.path());
        mistakes.push(InvalidField { path, problem: wrong_type(&error, names.last()) });
        if !remove(object, &names) {
            return None;
        }
    }
}

/// The path of a mistake, and the names of the field to remove for it: a list is removed whole, so
/// that the indexes of its members stay true.
fn located(path: &Path) -> (String, Vec<String>) {
    let (mut text, mut names, mut is_in_list) = (String::new(), Vec::new(), false);
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                is_in_list = true;
                _ = write!(text, "[{index}]");
            }
            Segment::Map { key } => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
                if !is_in_list {
                    names.push(key.clone());
                }
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    (if text.is_empty() { ROOT.to_owned() } else { text }, names)
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

/// The schema of a policy, with the fields that every object has.
fn schema(is_cluster: bool) -> JSONSchemaProps {
    let [policy, cluster, _] = crds();
    let policy = if is_cluster { cluster } else { policy };
    let version = policy.spec.versions.into_iter().next();
    let root = version.and_then(|version| version.schema?.open_api_v3_schema);
    let mut root = root.unwrap_or_default();
    let properties = root.properties.get_or_insert_default();
    for (name, of_type) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
        let type_ = Some(of_type.to_owned());
        properties.insert(name.to_owned(), JSONSchemaProps { type_, ..Default::default() });
    }
    root
}

/// Removes the fields that the schema does not have, and what is a list in place of an object,
/// which serde would read as the object's fields in their order; of a list with such a member, the
/// whole. Returns whether the value itself
/// has the shape.
fn has_shape(
    value: &mut Value,
    schema: &JSONSchemaProps,
    path: &str,
    mistakes: &mut Vec<InvalidField>,
) -> bool {
    let properties = schema.properties.as_ref();
    let known: Vec<&str> = match path {
        "metadata" => METADATA.split(' ').collect(),
        _ => properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect(),
    };
    match value {
        Value::Object(fields) if !known.is_empty() => fields.retain(|name, value| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if !known.contains(&name.as_str()) {
                mistakes.push(unknown_field(path, name, &known));
                return false;
            }
            let schema = properties.and_then(|properties| properties.get(name));
            schema.is_none_or(|schema| has_shape(value, schema, &path, mistakes))
        }),
        Value::Array(_) if schema.type_.as_deref() == Some("object") => {
            let problem = "invalid type: sequence, expected an object".to_owned();
            mistakes.push(InvalidField { path: path.to_owned(), problem });
            return false;
        }
        Value::Array(members) => {
            if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
                let mut has = true;
                for (index, member) in members.iter_mut().enumerate() {
                    has &= has_shape(member, items, &format!("{path}[{index}]"), mistakes);
                }
                return has;
            }
        }
        _ => {}
    }
    true
}

fn unknown_field(path: String, name: &str, known: &[&str]) -> InvalidField {
    let name = name.to_lowercase();
    let similarity =
        |known: &str| strsim::normalized_damerau_levenshtein(&known.to_lowercase(), &name);
    let similar = known.iter().map(|known| (similarity(known), known));
    let similar = similar.filter(|(similarity, _)| *similarity >= SIMILAR);
    let nearest = similar.max_by(|(a, _), (b, _)| a.total_cmp(b));
    let hint = nearest.map(|(_, known)| format!("; did you mean `{known}`?"));
    InvalidField { path, problem: format!("unknown field{}", hint.unwrap_or_default()) }
}

fn wrong_type(error: &serde_json::Error, field: Option<&String>) -> String {
    let text = error.to_string();
    if text.starts_with("invalid type: boolean") && text.contains("string") {
        if field.is_some_and(|field| field == "mode") {
            return format!("{text}; a bare off is a boolean in YAML, write disabled");
        }
        return format!("{text}; bare words such as off and yes are booleans in YAML, quote them");
    }
    let (found, expected) = text.rsplit_once("expected ").unwrap_or((&text, ""));
    match expected {
        "i32" | "i64" => format!("{found}expected a whole number that fits"),
        _ if expected.starts_with("struct ") => format!("{found}expected an object"),
        _ => text,
    }
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
