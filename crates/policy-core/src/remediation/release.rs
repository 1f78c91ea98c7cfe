//! What takes back a patch.

use serde_json::{Value, json};

use super::fields::{Fields, TcpProbe};
use super::owned::{LISTS, container_key, containers, our_entry, without};
use super::patch::identity;
use super::target::Target;
use crate::api::PATCHED_BY;

/// `kubectl apply` stores what it applied here.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The requests that take back what the operator owns of a workload, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// A JSON patch that gives up fields without removing them, because the owner has them in his
    /// own manifest as well: `kubectl apply` does not take over a field that has its value already.
    pub hand_over: Option<Value>,
    /// The body of a server-side apply, which removes all other fields of ours. `None` where
    /// nothing is left to be removed.
    pub apply: Option<Value>,
}

/// What takes back what the operator owns of a workload; `None` where it owns nothing. `workload` is
/// what `target` was read from.
#[must_use]
pub fn release(target: &Target, workload: &Value) -> Option<Release> {
    let (index, fields) = our_entry(workload)?;
    let applied = last_applied(workload);
    let shared = |list: &str, name: &str| {
        let list = applied["spec"]["template"]["spec"][list].as_array();
        let list = list.map(Vec::as_slice).unwrap_or_default();
        list.iter().find(|container| container["name"] == *name).cloned().unwrap_or_default()
    };
    let (mut kept, mut has_shared) = (fields.clone(), false);
    let spec = &mut kept["f:spec"]["f:template"]["f:spec"];
    for list in LISTS {
        for (name, below) in containers(fields, list) {
            let left = without(below, &shared(list, &name));
            // Without the name itself, which belongs to no value.
            has_shared |= left != without(below, &Value::Null);
            let containers = spec.get_mut(format!("f:{list}")).and_then(Value::as_object_mut);
            if let Some(containers) = containers {
                match left {
                    Some(left) => containers.insert(container_key(&name), left),
                    None => containers.remove(&container_key(&name)),
                };
            }
        }
    }
    let has_rest = LISTS.iter().any(|list| containers(&kept, list).next().is_some());
    let path = format!("/metadata/managedFields/{index}");
    let is_still_ours = json!({ "op": "test", "path": format!("{path}/manager"), "value": crate::api::FIELD_MANAGER });
    let hand_over = match (has_shared, has_rest) {
        (false, _) => None,
        (true, true) => {
            let path = format!("{path}/fieldsV1");
            Some(json!([is_still_ours, { "op": "replace", "path": path, "value": kept }]))
        }
        (true, false) => {
            let mut operations = vec![is_still_ours, json!({ "op": "remove", "path": path })];
            operations.extend(without_annotation(workload));
            Some(operations.into())
        }
    };
    let apply = (has_rest || !has_shared).then(|| identity(target));
    Some(Release { hand_over, apply })
}

fn last_applied(workload: &Value) -> Value {
    let text = workload["metadata"]["annotations"][LAST_APPLIED].as_str();
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn without_annotation(workload: &Value) -> Option<Value> {
    let is_set = workload["metadata"]["annotations"][PATCHED_BY].is_string();
    let path = format!("/metadata/annotations/{}", PATCHED_BY.replace('/', "~1"));
    is_set.then(|| json!({ "op": "remove", "path": path }))
}

/// A JSON patch that removes these fields where they still have these values; `None` where none has.
///
/// For a workload whose `managedFields` were cleared, where an apply answers 200 and removes
/// nothing; and for a probe to which somebody has added an empty object, which makes the apply fail
/// with 422.
#[must_use]
pub fn removal(workload: &Value, fields: &Fields) -> Option<Value> {
    let mut operations = Vec::new();
    for list in LISTS {
        let live = workload["spec"]["template"]["spec"][list].as_array();
        for (index, container) in live.into_iter().flatten().enumerate() {
            let Some(fields) = container["name"].as_str().and_then(|name| fields.of(name)) else {
                continue;
            };
            let at = format!("/spec/template/spec/{list}/{index}");
            let mut remove = |below: String, value: &Value| {
                let path = format!("{at}/{below}");
                operations.push(json!({ "op": "test", "path": path, "value": value }));
                operations.push(json!({ "op": "remove", "path": path }));
            };
            for (name, probe) in fields.probes() {
                let live = &container[name];
                if TcpProbe::of(live) == Some(probe) {
                    remove(name.to_owned(), live);
                }
            }
            for (kind, name, amount) in fields.amounts() {
                let live = &container["resources"][kind][name];
                if *live == *amount {
                    remove(format!("resources/{kind}/{name}"), live);
                }
            }
        }
    }
    if operations.is_empty() {
        return None;
    }
    operations.extend(without_annotation(workload));
    let uid = &workload["metadata"]["uid"];
    operations.insert(0, json!({ "op": "test", "path": "/metadata/uid", "value": uid }));
    Some(operations.into())
}
