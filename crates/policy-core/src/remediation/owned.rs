//! What `managedFields` says about who set which field of a workload.
//!
//! The format: <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>.

use serde_json::{Map, Value, json};

use super::fields::{ContainerFields, Fields};
use crate::api::FIELD_MANAGER;

/// The lists of containers of a pod spec that are patched.
pub(super) const LISTS: [&str; 2] = ["containers", "initContainers"];

/// The entries of `managedFields` about the object itself, not a subresource.
fn entries(workload: &Value) -> impl Iterator<Item = (usize, &Value)> {
    let all = workload["metadata"]["managedFields"].as_array();
    let all = all.map(Vec::as_slice).unwrap_or_default().iter().enumerate();
    all.filter(|(_, entry)| entry["subresource"].as_str().unwrap_or_default().is_empty())
}

fn is_ours(entry: &Value) -> bool {
    entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply"
}

/// The index of our entry, and what it owns.
pub(super) fn our_entry(workload: &Value) -> Option<(usize, &Value)> {
    entries(workload)
        .find(|(_, entry)| is_ours(entry))
        .map(|(index, entry)| (index, &entry["fieldsV1"]))
}

/// What other managers own of the object itself.
pub(super) fn other_entries(workload: &Value) -> impl Iterator<Item = &Value> {
    entries(workload).filter(|(_, entry)| !is_ours(entry)).map(|(_, entry)| &entry["fieldsV1"])
}

/// The pod spec in `fieldsV1`.
pub(super) fn pod_spec(fields: &Value) -> &Value {
    &fields["f:spec"]["f:template"]["f:spec"]
}

/// Another manager that applies the pod template on the server. What we add there would be a
/// conflict with whatever it adds later.
pub(super) fn other_applier(workload: &Value) -> Option<&str> {
    let mut others = entries(workload).filter(|(_, entry)| {
        entry["operation"] == "Apply"
            && !is_ours(entry)
            && entry["fieldsV1"]["f:spec"]["f:template"].is_object()
    });
    others.find_map(|(_, entry)| entry["manager"].as_str())
}

/// The part of a value that `fieldsV1` names. Lists of containers become objects by name.
fn projected(value: &Value, fields: &Value) -> Value {
    let Some(fields) = fields.as_object().filter(|fields| !fields.is_empty()) else {
        return value.clone();
    };
    let mut part = Map::new();
    for (key, below) in fields {
        let Some(name) = key.strip_prefix("f:") else { continue };
        if let Some(value) = value.get(name) {
            part.insert(name.to_owned(), projected(value, below));
        }
    }
    Value::Object(part)
}

/// The name of the container that such a key of `fieldsV1` stands for: `k:{"name":"web"}`.
fn container_of(key: &str) -> Option<String> {
    let key: Value = serde_json::from_str(key.strip_prefix("k:")?).ok()?;
    key["name"].as_str().map(str::to_owned)
}

/// The containers of a list that `fieldsV1` names, each with its fields there.
pub(super) fn containers<'a>(
    fields: &'a Value,
    list: &str,
) -> impl Iterator<Item = (String, &'a Value)> {
    let keys = pod_spec(fields)[format!("f:{list}")].as_object();
    keys.into_iter().flatten().filter_map(|(key, below)| Some((container_of(key)?, below)))
}

/// The containers with what `fieldsV1` gives to its manager, by list and in their order. Each has at
/// least its name.
pub(super) fn owned(workload: &Value, fields: &Value) -> [Vec<Value>; 2] {
    LISTS.map(|list| {
        let live = workload["spec"]["template"]["spec"][list].as_array();
        let live = live.map(Vec::as_slice).unwrap_or_default();
        let named: Vec<(String, &Value)> = containers(fields, list).collect();
        let part = |container: &Value| {
            let name = container["name"].as_str()?;
            let (_, below) = named.iter().find(|(of, _)| of == name)?;
            let mut part = projected(container, below);
            if !part.is_object() {
                part = json!({});
            }
            part["name"] = name.into();
            Some(part)
        };
        live.iter().filter_map(part).collect()
    })
}

/// The fields that we own, with the values that they have now.
pub(super) fn our_fields(ours: &[Vec<Value>; 2]) -> Fields {
    let fields = ours.iter().flatten().map(|container| {
        ContainerFields::of(container["name"].as_str().unwrap_or_default(), container)
    });
    Fields(fields.filter(|fields| !fields.is_empty()).collect())
}

/// Removes from a value what `fieldsV1` names, and what is empty then.
pub(super) fn remove(value: &mut Value, fields: &Value) {
    let (Some(value), Some(fields)) = (value.as_object_mut(), fields.as_object()) else { return };
    for (key, below) in fields {
        let Some(name) = key.strip_prefix("f:") else { continue };
        let is_leaf = below.as_object().is_none_or(Map::is_empty);
        if is_leaf {
            value.remove(name);
        } else if let Some(inner) = value.get_mut(name) {
            remove(inner, below);
            let is_empty = inner.as_object().is_some_and(Map::is_empty);
            if is_empty && name != "resources" {
                value.remove(name);
            }
        }
    }
}

/// The key of a container in `fieldsV1`.
#[cfg(test)]
pub(super) fn container_key(name: &str) -> String {
    format!("k:{}", json!({ "name": name }))
}
