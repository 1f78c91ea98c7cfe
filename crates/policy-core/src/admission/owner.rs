//! The workload that an object names as its own.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Deserialize;

use super::raw::Raw;
use crate::labels::{Labels, has_own_labels, is_controlled};
use crate::view::POD_TEMPLATE_HASH;
use crate::workload::{ObjectKind, Workload};

/// The metadata that names the workload of an object.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OwnerParts<'a> {
    #[serde(borrow)]
    pub(super) labels: Option<Raw<'a>>,
    #[serde(borrow)]
    pub(super) owner_references: Option<Raw<'a>>,
}

#[derive(Deserialize)]
struct TemplateLabels {
    #[serde(rename = "pod-template-hash")]
    hash: Option<String>,
}

impl OwnerParts<'_> {
    /// All labels; `None` where they cannot be read.
    pub(super) fn labels(&self) -> Option<Labels> {
        let labels = self.labels.as_ref();
        let labels = labels.map(|labels| labels.read::<Option<BTreeMap<String, String>>>("object"));
        labels.transpose().ok().map(|labels| labels.flatten().unwrap_or_default().into())
    }

    /// The workload of an object of that kind and name; the object itself where it names none.
    pub(super) fn workload(&self, kind: ObjectKind, name: &str) -> Result<Workload, String> {
        Ok(Workload::of(kind, name, &self.metadata()?))
    }

    /// The controller, and the label that tells of which Deployment a `ReplicaSet` is.
    fn metadata(&self) -> Result<ObjectMeta, String> {
        let owners = self.owner_references.as_ref();
        let owners =
            owners.map(|owners| owners.read::<Vec<OwnerReference>>("object")).transpose()?;
        let controller = owners.into_iter().flatten().find(|owner| owner.controller == Some(true));
        let labels = self.labels.as_ref();
        let labels = labels.map(|labels| labels.read::<TemplateLabels>("object")).transpose()?;
        let hash = labels.and_then(|labels| labels.hash);
        Ok(ObjectMeta {
            owner_references: controller.map(|controller| vec![controller]),
            labels: hash.map(|hash| BTreeMap::from([(POD_TEMPLATE_HASH.to_owned(), hash)])),
            ..ObjectMeta::default()
        })
    }
}

/// The labels in the metadata of an object that is a workload itself. Metadata that cannot be read has
/// none that exempt.
pub(super) fn labels_of(kind: ObjectKind, name: &str, metadata: Raw<'_>) -> Option<Labels> {
    let owner: OwnerParts<'_> = metadata.read("metadata").ok()?;
    let metadata = owner.metadata().ok()?;
    let workload = Workload::of(kind, name, &metadata);
    let is_own = has_own_labels(kind, name, &workload, is_controlled(&metadata));
    is_own.then(|| owner.labels()).flatten()
}

/// The workload in the metadata of an object. Metadata that cannot be read names none, and exempts
/// nothing.
pub(super) fn workload_of(kind: ObjectKind, name: &str, metadata: Raw<'_>) -> Option<Workload> {
    let owner: OwnerParts<'_> = metadata.read("metadata").ok()?;
    owner.workload(kind, name).ok()
}
