//! What the platform has filled in for a workload, by the `managedFields` of the old object.
//!
//! To take it back is not a change for the worse: whoever does so, the operator or
//! `kubectl rollout undo`, brings nothing in that the owner's own template did not have.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use memchr::memmem;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::raw::Raw;
use crate::api::FIELD_MANAGER;
use crate::view::{Amount, AmountsView, ContainerView, Located, ProbeView, SpecView, Text};
use crate::workload::ObjectKind;

/// The fields of a workload's pod template that the platform has applied.
#[derive(Default)]
pub(super) struct OwnFields<'a>(Vec<FieldsV1<'a>>);

impl<'a> OwnFields<'a> {
    /// Reads the metadata of a workload. Of all other objects, and of metadata without the name of
    /// the platform's field manager, nothing is decoded. What cannot be decoded names no fields.
    pub(super) fn of(kind: ObjectKind, metadata: Option<Raw<'a>>) -> Self {
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
        for fields in &self.0 {
            let own = &fields.spec.template.spec;
            own.containers.remove_from(&mut template.spec.containers);
            own.init_containers.remove_from(&mut template.spec.init_containers);
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    managed_fields: Option<Vec<Entry<'a>>>,
}

/// The fields of one manager:
/// <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>.
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
        self.manager.0 == FIELD_MANAGER
            && self.operation.0 == "Apply"
            && self.subresource.0.is_empty()
    }
}

/// The part of a set of fields that leads to the containers.
#[derive(Deserialize, Default)]
#[serde(default)]
struct FieldsV1<'a> {
    #[serde(borrow, rename = "f:spec")]
    spec: WorkloadSpec<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WorkloadSpec<'a> {
    #[serde(borrow, rename = "f:template")]
    template: Template<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Template<'a> {
    #[serde(borrow, rename = "f:spec")]
    spec: PodSpec<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PodSpec<'a> {
    #[serde(borrow, rename = "f:containers")]
    containers: OwnContainers<'a>,
    #[serde(borrow, rename = "f:initContainers")]
    init_containers: OwnContainers<'a>,
}

/// The fields of the containers of a list, by the name of the container.
#[derive(Default)]
struct OwnContainers<'a>(HashMap<Cow<'a, str>, OwnContainer>);

impl OwnContainers<'_> {
    fn remove_from(&self, containers: &mut [Located<ContainerView>]) {
        for container in containers.iter_mut().filter(|_| !self.0.is_empty()) {
            let name = container.value.name.as_deref().unwrap_or_default();
            if let Some(own) = self.0.get(name) {
                own.remove_from(&mut container.value);
            }
        }
    }
}

/// Keys such as `k:{"name":"web"}`. Others are skipped.
impl<'de: 'a, 'a> Deserialize<'de> for OwnContainers<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(KeysVisitor).map(Self)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = HashMap<Cow<'de, str>, OwnContainer>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fields of containers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        #[derive(Deserialize)]
        struct Key {
            name: String,
        }
        let mut containers = HashMap::new();
        while let Some(Text(key)) = map.next_key()? {
            let key = key.strip_prefix("k:").and_then(|key| serde_json::from_str::<Key>(key).ok());
            match key {
                Some(Key { name }) => drop(containers.insert(name.into(), map.next_value()?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(containers)
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OwnContainer {
    #[serde(rename = "f:livenessProbe")]
    liveness: OwnProbe,
    #[serde(rename = "f:readinessProbe")]
    readiness: OwnProbe,
    #[serde(rename = "f:resources")]
    resources: OwnResources,
}

impl OwnContainer {
    fn remove_from(&self, container: &mut ContainerView) {
        self.liveness.remove_from(&mut container.liveness_probe);
        self.readiness.remove_from(&mut container.readiness_probe);
        self.resources.requests.remove_from(&mut container.resources.requests);
        self.resources.limits.remove_from(&mut container.resources.limits);
    }
}

/// A probe belongs to whoever has applied its handler.
#[derive(Deserialize, Default)]
#[serde(default)]
struct OwnProbe {
    #[serde(rename = "f:tcpSocket")]
    handler: Option<IgnoredAny>,
}

impl OwnProbe {
    fn remove_from(&self, probe: &mut ProbeView) {
        if self.handler.is_some() {
            *probe = ProbeView::default();
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OwnResources {
    #[serde(rename = "f:requests")]
    requests: OwnAmounts,
    #[serde(rename = "f:limits")]
    limits: OwnAmounts,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OwnAmounts {
    #[serde(rename = "f:cpu")]
    cpu: Option<IgnoredAny>,
    #[serde(rename = "f:memory")]
    memory: Option<IgnoredAny>,
}

impl OwnAmounts {
    fn remove_from(&self, amounts: &mut AmountsView) {
        for (own, amount) in [(self.cpu, &mut amounts.cpu), (self.memory, &mut amounts.memory)] {
            if own.is_some() {
                *amount = Amount::Unset;
            }
        }
    }
}
