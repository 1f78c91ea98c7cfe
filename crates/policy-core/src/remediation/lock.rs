//! A workload that was patched and that somebody applies on the server by now: the owner's next
//! apply with another value for one of our fields fails with a conflict (409).

use serde_json::{Map, Value};

use super::fields::{ContainerFields, Fields};
use super::owned::{LISTS, other_entries, our_entry, our_fields, owned};
use super::owner::Owner;
use crate::managed_fields::FieldSet;

/// The workload as it is once our fields are taken back; `None` where nobody is locked out. What
/// somebody else owns as well stays.
pub(crate) fn unlocked(workload: &Value) -> Option<Value> {
    let (_, ours) = our_entry(workload)?;
    let fields = our_fields(&owned(workload, ours));
    if fields.is_empty() || Owner::of(workload).can_share() {
        return None;
    }
    let alone = without_shared(&fields, &other_entries(workload).collect::<Vec<_>>());
    let mut unlocked = workload.clone();
    for list in LISTS {
        let live = unlocked["spec"]["template"]["spec"][list].as_array_mut();
        for container in live.into_iter().flatten() {
            if let Some(fields) = container["name"].as_str().and_then(|name| alone.of(name)) {
                remove_fields(container, fields);
            }
        }
    }
    Some(unlocked)
}

/// The fields without those that are in one of these sets as well.
pub(super) fn without_shared(fields: &Fields, others: &[FieldSet<'_>]) -> Fields {
    let mut alone = fields.clone();
    for fields in &mut alone.0 {
        let sets = others.iter().flat_map(|set| LISTS.map(|list| set.containers(list)));
        let sets: Vec<_> = sets.flatten().filter(|(name, _)| *name == fields.name).collect();
        let is_shared = |path: &[&str]| sets.iter().any(|(_, set)| set.has(path));
        // Without the handler, which is ours, a probe is none.
        fields.readiness.take_if(|_| is_shared(&["readinessProbe", "tcpSocket"]));
        fields.liveness.take_if(|_| is_shared(&["livenessProbe", "tcpSocket"]));
        for (list, amounts) in [("requests", &mut fields.requests), ("limits", &mut fields.limits)]
        {
            amounts.cpu.take_if(|_| is_shared(&["resources", list, "cpu"]));
            amounts.memory.take_if(|_| is_shared(&["resources", list, "memory"]));
        }
    }
    alone.0.retain(|fields| !fields.is_empty());
    alone
}

fn remove_fields(container: &mut Value, fields: &ContainerFields) {
    let Some(container) = container.as_object_mut() else { return };
    for (probe, _) in fields.probes() {
        container.remove(probe);
    }
    let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else {
        return;
    };
    for (list, name, _) in fields.amounts() {
        if let Some(amounts) = resources.get_mut(list).and_then(Value::as_object_mut) {
            amounts.remove(name);
        }
    }
    resources.retain(|_, amounts| !amounts.as_object().is_some_and(Map::is_empty));
}
