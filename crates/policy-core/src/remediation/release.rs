//! What takes back a patch.

use serde_json::{Value, json};

use super::fields::{ContainerFields, Fields, TcpProbe};
use super::lock::without_shared;
use super::owned::{LISTS, other_applies, other_entries, our_entry};
use super::patch::identity;
use super::target::Target;
use crate::api::{FIELD_MANAGER, PATCHED_BY};
use crate::managed_fields::FieldSet;
use crate::view::has_handler;

/// `kubectl apply` stores what it applied here.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The request that takes back what the operator owns of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    /// The body of a server-side apply: the bare object. The API server removes what only the
    /// operator owns.
    Apply(Value),
    /// A JSON patch that removes what is the operator's alone, and gives up the rest. For a workload
    /// whose owner has some of the values in his own manifest as well: `kubectl apply` does not
    /// take over a field that has its value already, so that an apply would remove them. A smaller
    /// apply does not help: together with a field it removes all of its siblings that nobody owns
    /// (`EnsureNamedFieldsAreMembers` in
    /// <https://github.com/kubernetes-sigs/structured-merge-diff/blob/v6.3.0/merge/update.go>).
    Patch(Value),
}

/// What takes back what the operator owns of a workload; `None` where it owns nothing. `workload` is
/// what `target` was read from.
#[must_use]
pub fn release(target: &Target, workload: &Value) -> Option<Release> {
    let (index, _) = our_entry(workload)?;
    let applied = last_applied(workload);
    let rest = without(&target.ours, &applied);
    if rest == target.ours {
        return Some(Release::Apply(identity(target)));
    }
    let entry = format!("/metadata/managedFields/{index}");
    let manager = format!("{entry}/manager");
    let mut operations = removals(workload, &rest);
    operations.insert(0, is_of_uid(workload));
    operations.push(json!({ "op": "test", "path": manager, "value": FIELD_MANAGER }));
    operations.push(json!({ "op": "remove", "path": entry }));
    operations.extend(without_annotation(workload));
    Some(Release::Patch(operations.into()))
}

/// Those of the fields that a workload has with the same value, whoever owns them.
#[must_use]
pub fn present(workload: &Value, fields: &Fields) -> Fields {
    let spec = &workload["spec"]["template"]["spec"];
    let containers = LISTS.iter().flat_map(|list| spec[*list].as_array().into_iter().flatten());
    let containers: Vec<&Value> = containers.collect();
    let mut same = fields.clone();
    for fields in &mut same.0 {
        let live = containers.iter().find(|live| live["name"] == *fields.name);
        let live = ContainerFields::of(&fields.name, live.unwrap_or(&&Value::Null));
        fields.readiness = fields.readiness.filter(|probe| live.readiness == Some(*probe));
        fields.liveness = fields.liveness.filter(|probe| live.liveness == Some(*probe));
        let amounts = [(&mut fields.requests, live.requests), (&mut fields.limits, live.limits)];
        for (amounts, live) in amounts {
            amounts.cpu.take_if(|amount| live.cpu.as_ref() != Some(amount));
            amounts.memory.take_if(|amount| live.memory.as_ref() != Some(amount));
        }
    }
    same.0.retain(|fields| !fields.is_empty());
    same
}

/// Whether a workload that was patched has all of the fields and nobody owns any of them: somebody
/// has cleared its `managedFields`.
#[must_use]
pub fn is_disowned(workload: &Value, fields: &Fields) -> bool {
    let is_there = || !fields.is_empty() && present(workload, fields) == *fields;
    let owns = |name: &str, set: FieldSet<'_>| {
        fields.of(name).is_some_and(|fields| {
            fields.probes().any(|(probe, _)| set.has(&[probe]))
                || fields.amounts().any(|(list, name, _)| set.has(&["resources", list, name]))
        })
    };
    let is_owned = || {
        other_entries(workload).any(|set| {
            let mut containers = LISTS.iter().flat_map(|list| set.containers(list));
            containers.any(|(name, set)| owns(&name, set))
        })
    };
    workload["metadata"]["annotations"][PATCHED_BY].is_string()
        && our_entry(workload).is_none()
        && is_there()
        && !is_owned()
}

/// Those of the fields that a workload has with the same value and that its owner's
/// `kubectl apply` did not set: what may be removed.
#[must_use]
pub fn removable(workload: &Value, fields: &Fields) -> Fields {
    without(&present(workload, fields), &last_applied(workload))
}

/// The fields without those that a manifest of the owner has as well.
fn without(fields: &Fields, manifest: &Value) -> Fields {
    let spec = &manifest["spec"]["template"]["spec"];
    let containers = LISTS.iter().flat_map(|list| spec[*list].as_array().into_iter().flatten());
    let containers: Vec<&Value> = containers.collect();
    let mut left = fields.clone();
    left.retain(|container, path| {
        let own = containers.iter().find(|own| own["name"] == *container);
        !own.is_some_and(|own| match path {
            // One without a handler is a probe by means of ours alone.
            [probe] => has_handler(&own[*probe]),
            amount => !amount.iter().fold(*own, |at, name| &at[*name]).is_null(),
        })
    });
    left
}

/// What `kubectl apply` has applied.
pub(super) fn last_applied(workload: &Value) -> Value {
    let text = workload["metadata"]["annotations"][LAST_APPLIED].as_str();
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn without_annotation(workload: &Value) -> Option<Value> {
    let is_set = workload["metadata"]["annotations"][PATCHED_BY].is_string();
    let path = format!("/metadata/annotations/{}", PATCHED_BY.replace('/', "~1"));
    is_set.then(|| json!({ "op": "remove", "path": path }))
}

/// A JSON patch that removes these fields where they still have these values and nobody applies them
/// on the server; `None` where that is true of none.
///
/// For a workload whose `managedFields` were cleared, where an apply answers 200 and removes
/// nothing; and for a probe to which somebody has added an empty object, which makes the apply fail
/// with 422.
#[must_use]
pub fn removal(workload: &Value, fields: &Fields) -> Option<Value> {
    let mut operations = removals(workload, &without_shared(fields, other_applies(workload)));
    if operations.is_empty() {
        return None;
    }
    operations.insert(0, is_of_uid(workload));
    operations.extend(without_annotation(workload));
    Some(operations.into())
}

fn is_of_uid(workload: &Value) -> Value {
    json!({ "op": "test", "path": "/metadata/uid", "value": workload["metadata"]["uid"] })
}

/// The operations that remove these fields where they still have these values.
fn removals(workload: &Value, fields: &Fields) -> Vec<Value> {
    let mut operations = Vec::new();
    for list in LISTS {
        let live = workload["spec"]["template"]["spec"][list].as_array();
        for (index, container) in live.into_iter().flatten().enumerate() {
            let Some(fields) = container["name"].as_str().and_then(|name| fields.of(name)) else {
                continue;
            };
            let mut remove = |below: String, value: &Value| {
                let path = format!("/spec/template/spec/{list}/{index}/{below}");
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
    operations
}
