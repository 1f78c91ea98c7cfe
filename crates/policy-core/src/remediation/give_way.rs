//! Giving way: what the operator has filled in never makes a later change of the owner invalid.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::facts::quantity;
use super::owned::{LISTS, other_entries, our_entry};
use super::release::last_applied;
use crate::api::PATCHED_BY;
use crate::managed_fields::FieldSet;

/// The handler that is filled in.
const HANDLER: &str = "tcpSocket";

/// The operations of a JSON patch that remove from the new object of an update what the operator has
/// filled in, where the API server would refuse the object because of it:
/// - a probe with two handlers, of which `tcpSocket` is ours, loses what is ours of it;
/// - a request above a limit that is ours loses the limit, and where only the request is ours, the
///   request.
///
/// A value is ours if the old object's `managedFields` give it to the operator, the update leaves it
/// as it is, and nobody else has it in what he applies. Where `managedFields` were cleared, the
/// annotation on the old object says that the operator has patched it, and a `tcpSocket` counts as
/// ours. Applied again to its own result, the patch is empty.
#[must_use]
pub fn give_way(old: &Value, new: &Value) -> Vec<Value> {
    let ours = our_entry(old).map(|(_, fields)| fields);
    let is_marked = old["metadata"]["annotations"][PATCHED_BY].is_string();
    if ours.is_none() && !is_marked {
        return Vec::new();
    }
    let applied = last_applied(new);
    let mut patch = Vec::new();
    for list in LISTS {
        let (before, applied) = (by_name(old, list), by_name(&applied, list));
        let ours: Option<BTreeMap<String, FieldSet<'_>>> =
            ours.map(|fields| fields.containers(list).collect());
        let mut others: BTreeMap<String, Vec<FieldSet<'_>>> = BTreeMap::new();
        for (name, fields) in other_entries(new).flat_map(|fields| fields.containers(list)) {
            others.entry(name).or_default().push(fields);
        }
        for (index, after) in live(new, list).iter().enumerate() {
            let Some(name) = after["name"].as_str() else { continue };
            let Some(before) = before.get(name) else { continue };
            let container = Container {
                at: format!("/spec/template/spec/{list}/{index}"),
                ours: ours.as_ref().map(|ours| ours.get(name).copied().unwrap_or_default()),
                others: others.get(name).map(Vec::as_slice).unwrap_or_default(),
                applied: applied.get(name).copied().unwrap_or(&Value::Null),
                before,
                after,
            };
            container.give_way(&mut patch);
        }
    }
    patch
}

fn live<'a>(workload: &'a Value, list: &str) -> &'a [Value] {
    let live = workload["spec"]["template"]["spec"][list].as_array();
    live.map(Vec::as_slice).unwrap_or_default()
}

fn by_name<'a>(workload: &'a Value, list: &str) -> BTreeMap<&'a str, &'a Value> {
    let named = |container: &'a Value| Some((container["name"].as_str()?, container));
    live(workload, list).iter().filter_map(named).collect()
}

/// A container of the new object.
struct Container<'a> {
    /// Its JSON pointer.
    at: String,
    /// What is ours; `None` where `managedFields` were cleared.
    ours: Option<FieldSet<'a>>,
    /// What is of others.
    others: &'a [FieldSet<'a>],
    /// What `kubectl apply` says that its user has applied.
    applied: &'a Value,
    before: &'a Value,
    after: &'a Value,
}

impl Container<'_> {
    fn give_way(&self, patch: &mut Vec<Value>) {
        for probe in ["livenessProbe", "readinessProbe"] {
            let has = |handler: &str| self.after[probe][handler].is_object();
            if has(HANDLER) && ["httpGet", "exec", "grpc"].into_iter().any(has) {
                self.give_way_of_probe(probe, patch);
            }
        }
        for resource in ["cpu", "memory"] {
            let amount = |list: &str| quantity(&self.after["resources"][list][resource]);
            let (request, limit) = (amount("requests"), amount("limits"));
            if limit.is_some() && request > limit {
                let ours = ["limits", "requests"].map(|list| ["resources", list, resource]);
                let ours = ours.iter().find(|path| self.is_ours(*path));
                patch.extend(ours.map(|path| self.remove(path)));
            }
        }
    }

    fn give_way_of_probe(&self, probe: &str, patch: &mut Vec<Value>) {
        let handler = [probe, HANDLER];
        let is_unknown = self.ours.is_none() && self.is_unchanged(&handler);
        if !is_unknown && !self.is_ours(&handler) {
            return;
        }
        patch.push(self.remove(&handler));
        let fields = self.ours.and_then(|ours| ours.at(&[probe]));
        let fields = fields.into_iter().flat_map(FieldSet::fields).map(|(name, _)| name);
        let fields = fields.filter(|name| *name != HANDLER && self.is_ours(&[probe, name]));
        patch.extend(fields.map(|name| self.remove(&[probe, name])));
    }

    /// Whether the field at that path is ours alone, and as it was.
    fn is_ours(&self, path: &[&str]) -> bool {
        let owns = |fields: FieldSet<'_>| fields.has(path);
        self.ours.is_some_and(owns)
            && !self.others.iter().copied().any(owns)
            && self.is_unchanged(path)
    }

    /// Whether the update leaves the field as it was, and `kubectl apply` does not name it.
    fn is_unchanged(&self, path: &[&str]) -> bool {
        let [before, after, applied] = [self.before, self.after, self.applied]
            .map(|container| path.iter().try_fold(container, |at, name| at.get(name)));
        after.is_some() && before == after && applied.is_none()
    }

    fn remove(&self, path: &[&str]) -> Value {
        json!({ "op": "remove", "path": format!("{}/{}", self.at, path.join("/")) })
    }
}
