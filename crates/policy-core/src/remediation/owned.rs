//! What `managedFields` says about who set which field of a workload.

use serde_json::{Map, Value, json};

use super::fields::{ContainerFields, Fields};
use crate::managed_fields::{self, FieldSet};

/// The lists of containers of a pod spec that are patched.
pub(super) const LISTS: [&str; 2] = ["containers", "initContainers"];

/// The entries of `managedFields` about the object itself, not a subresource.
fn entries(workload: &Value) -> impl Iterator<Item = (usize, &Value)> {
    let all = workload["metadata"]["managedFields"].as_array();
    let all = all.map(Vec::as_slice).unwrap_or_default().iter().enumerate();
    all.filter(|(_, entry)| entry["subresource"].as_str().unwrap_or_default().is_empty())
}

fn is_ours(entry: &Value) -> bool {
    let text = |field: &str| entry[field].as_str().unwrap_or_default();
    managed_fields::is_ours(text("manager"), text("operation"), text("subresource"))
}

/// The index of our entry, and what it owns.
pub(super) fn our_entry(workload: &Value) -> Option<(usize, FieldSet<'_>)> {
    entries(workload)
        .find(|(_, entry)| is_ours(entry))
        .map(|(index, entry)| (index, FieldSet::of(&entry["fieldsV1"])))
}

/// What other managers own of the object itself.
pub(super) fn other_entries(workload: &Value) -> impl Iterator<Item = FieldSet<'_>> {
    let others = entries(workload).filter(|(_, entry)| !is_ours(entry));
    others.map(|(_, entry)| FieldSet::of(&entry["fieldsV1"]))
}

/// The entries of what other managers have applied on the server.
fn other_appliers(workload: &Value) -> impl Iterator<Item = &Value> {
    let others = entries(workload).map(|(_, entry)| entry);
    others.filter(|entry| entry["operation"] == "Apply" && !is_ours(entry))
}

/// What other managers have applied on the server.
pub(super) fn other_applies(workload: &Value) -> impl Iterator<Item = FieldSet<'_>> {
    other_appliers(workload).map(|entry| FieldSet::of(&entry["fieldsV1"]))
}

/// Another manager that applies the pod template on the server. What we add there would be a
/// conflict with whatever it adds later.
pub(super) fn other_applier(workload: &Value) -> Option<&str> {
    let mut others = other_appliers(workload)
        .filter(|entry| FieldSet::of(&entry["fieldsV1"]).has(&["spec", "template"]));
    others.find_map(|entry| entry["manager"].as_str())
}

/// The part of a value that a set names. Lists of containers become objects by name.
fn projected(value: &Value, fields: FieldSet<'_>) -> Value {
    if fields.is_leaf() {
        return value.clone();
    }
    let part = fields
        .fields()
        .filter_map(|(name, below)| Some((name.to_owned(), projected(value.get(name)?, below))));
    Value::Object(part.collect())
}

/// The containers with what a set gives to its manager, by list and in their order. Each has at
/// least its name.
pub(super) fn owned(workload: &Value, fields: FieldSet<'_>) -> [Vec<Value>; 2] {
    LISTS.map(|list| {
        let live = workload["spec"]["template"]["spec"][list].as_array();
        let live = live.map(Vec::as_slice).unwrap_or_default();
        let named: Vec<_> = fields.containers(list).collect();
        let part = |container: &Value| {
            let name = container["name"].as_str()?;
            let (_, below) = named.iter().find(|(of, _)| of == name)?;
            let mut part = projected(container, *below);
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

/// Removes from a value what a set names, and what is empty then.
pub(super) fn remove(value: &mut Value, fields: FieldSet<'_>) {
    let Some(value) = value.as_object_mut() else { return };
    for (name, below) in fields.fields() {
        if below.is_leaf() {
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
