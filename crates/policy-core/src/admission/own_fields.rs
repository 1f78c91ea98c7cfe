//! What the platform has filled in for a workload, by the `managedFields` of the old object.
//!
//! To take it back is not a change for the worse: whoever does so, the operator or
//! `kubectl rollout undo`, brings nothing in that the owner's own template did not have.

use std::collections::HashMap;

use memchr::memmem;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::raw::Raw;
use crate::api::FIELD_MANAGER;
use crate::managed_fields::{FieldSet, is_ours};
use crate::view::{Amount, AmountsView, ContainerView, Located, ProbeView, SpecView, Text};
use crate::workload::ObjectKind;

/// The fields of a workload's pod template that the platform has applied.
#[derive(Default)]
pub(super) struct OwnFields(Vec<Value>);

impl OwnFields {
    /// Reads the metadata of a workload. Of all other objects, and of metadata without the name of
    /// the platform's field manager, nothing is decoded. What cannot be decoded names no fields.
    pub(super) fn of(kind: ObjectKind, metadata: Option<Raw<'_>>) -> Self {
        let Some(Raw(metadata)) = metadata.filter(|_| kind.is_patchable()) else {
            return Self::default();
        };
        // The API server escapes nothing in that name.
        let names_us = memmem::find(metadata, FIELD_MANAGER.as_bytes()).is_some();
        let read = names_us.then(|| serde_json::from_slice::<Metadata<'_>>(metadata).ok());
        let entries = read.flatten().unwrap_or_default().managed_fields.unwrap_or_default();
        let own = entries.into_iter().filter(Entry::is_own).filter_map(|entry| entry.fields);
        Self(own.filter_map(|fields| serde_json::from_str(fields.get()).ok()).collect())
    }

    /// Removes the fields from the spec of the workload.
    pub(super) fn remove_from(&self, spec: &mut SpecView) {
        let Some(template) = spec.template.as_mut().filter(|_| !self.0.is_empty()) else { return };
        for fields in self.0.iter().map(FieldSet::of) {
            let own = |list: &str| fields.containers(list).collect();
            remove_from_all(&own("containers"), &mut template.spec.containers);
            remove_from_all(&own("initContainers"), &mut template.spec.init_containers);
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    managed_fields: Option<Vec<Entry<'a>>>,
}

/// The fields of one manager.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry<'a> {
    #[serde(borrow)]
    manager: Text<'a>,
    #[serde(borrow)]
    operation: Text<'a>,
    #[serde(borrow)]
    subresource: Text<'a>,
    #[serde(borrow, rename = "fieldsV1")]
    fields: Option<&'a RawValue>,
}

impl Entry<'_> {
    fn is_own(&self) -> bool {
        is_ours(&self.manager.0, &self.operation.0, &self.subresource.0)
    }
}

/// Removes from the containers of a list what is ours of each, by name.
fn remove_from_all(own: &HashMap<String, FieldSet<'_>>, containers: &mut [Located<ContainerView>]) {
    for container in containers.iter_mut().filter(|_| !own.is_empty()) {
        let name = container.value.name.as_deref().unwrap_or_default();
        if let Some(own) = own.get(name) {
            remove_from(*own, &mut container.value);
        }
    }
}

fn remove_from(own: FieldSet<'_>, container: &mut ContainerView) {
    let probes = [
        ("livenessProbe", &mut container.liveness_probe),
        ("readinessProbe", &mut container.readiness_probe),
    ];
    for (name, probe) in probes {
        // A probe belongs to whoever has applied its handler.
        if own.has(&[name, "tcpSocket"]) {
            *probe = ProbeView::default();
        }
    }
    let resources = &mut container.resources;
    for (list, AmountsView { cpu, memory, .. }) in
        [("requests", &mut resources.requests), ("limits", &mut resources.limits)]
    {
        for (name, amount) in [("cpu", cpu), ("memory", memory)] {
            if own.has(&["resources", list, name]) {
                *amount = Amount::Unset;
            }
        }
    }
}
