//! A workload that was patched and that somebody applies on the server by now: the owner's next
//! apply with another value for one of our fields fails with a conflict (409).

use serde_json::{Map, Value};

use super::fields::{ContainerFields, Fields};
use super::owned::{LISTS, other_entries};
use crate::managed_fields::FieldSet;

/// The workload as it is once our fields are taken back, which `ours` are. What somebody else owns as
/// well stays.
pub(crate) fn unlocked(workload: &Value, ours: &Fields) -> Value {
    let alone = without_shared(ours, other_entries(workload));
    let mut unlocked = workload.clone();
    for list in LISTS {
        let live = unlocked["spec"]["template"]["spec"][list].as_array_mut();
        for container in live.into_iter().flatten() {
            if let Some(fields) = container["name"].as_str().and_then(|name| alone.of(name)) {
                remove_fields(container, fields);
            }
        }
    }
    unlocked
}

/// The fields without those that are in one of these sets as well.
pub(super) fn without_shared<'a>(
    fields: &Fields,
    others: impl Iterator<Item = FieldSet<'a>>,
) -> Fields {
    let others: Vec<_> = others
        .flat_map(|set| LISTS.into_iter().flat_map(move |list| set.containers(list)))
        .collect();
    let mut alone = fields.clone();
    alone.retain(|container, path| {
        let mut sets = others.iter().filter(|(name, _)| name == container);
        !sets.any(|(_, set)| match path {
            // Without the handler, which is ours, a probe is none.
            [probe] => set.has(&[probe, "tcpSocket"]),
            amount => set.has(amount),
        })
    });
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
