//! A pod spec as the API server sends it to webhooks, from one as it is written: else an expression
//! has one result for a manifest and another one at admission.

use policy_cel::{Fields, Value};

use crate::quantity::canonical;

/// Fields of a pod and of a container that the API server leaves out where they are false
/// (`omitempty`, no pointers, in
/// <https://github.com/kubernetes/api/blob/master/core/v1/types.go>).
const FALSE_IN_POD: [&str; 3] = ["hostNetwork", "hostPID", "hostIPC"];
const FALSE_IN_CONTAINER: [&str; 3] = ["stdin", "stdinOnce", "tty"];
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Writes quantities in canonical form, and leaves out what is false and would not be stored.
pub(super) fn as_served(spec: &mut Value) {
    let Value::Map(pod) = spec else { return };
    drop_false(pod, &FALSE_IN_POD);
    in_resources(pod);
    in_amounts(pod, "overhead");
    for list in CONTAINERS {
        for container in members(pod, list) {
            drop_false(container, &FALSE_IN_CONTAINER);
            in_resources(container);
        }
    }
    for volume in members(pod, "volumes") {
        if let Some(Value::Map(directory)) = volume.get_mut("emptyDir")
            && let Some(limit) = directory.get_mut("sizeLimit")
        {
            in_value(limit);
        }
    }
}

/// The members of a list that are objects.
fn members<'a>(fields: &'a mut Fields, list: &str) -> impl Iterator<Item = &'a mut Fields> {
    let list = match fields.get_mut(list) {
        Some(Value::List(members)) => Some(members),
        _ => None,
    };
    list.into_iter().flatten().filter_map(|member| match member {
        Value::Map(fields) => Some(fields),
        _ => None,
    })
}

fn drop_false(fields: &mut Fields, names: &[&str]) {
    for name in names {
        if fields.get(*name) == Some(&Value::Bool(false)) {
            fields.remove(*name);
        }
    }
}

fn in_resources(fields: &mut Fields) {
    if let Some(Value::Map(resources)) = fields.get_mut("resources") {
        in_amounts(resources, "requests");
        in_amounts(resources, "limits");
    }
}

fn in_amounts(fields: &mut Fields, name: &str) {
    if let Some(Value::Map(amounts)) = fields.get_mut(name) {
        amounts.values_mut().for_each(in_value);
    }
}

fn in_value(amount: &mut Value) {
    let written = match &*amount {
        Value::Int(number) => canonical(&number.to_string()),
        Value::Double(number) => canonical(&number.to_string()),
        Value::String(text) => canonical(text),
        _ => None,
    };
    if let Some(written) = written {
        *amount = Value::String(written.into());
    }
}
