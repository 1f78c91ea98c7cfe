//! Objects of any kind, as manifests have them.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::lenient::for_each;
use super::metadata::labelled_metadata;
use super::template_at::TemplateAt;
use super::{Located, PodStatusView, SpecView};
use crate::workload::ObjectKind;

/// The most members of a List that are decoded at once. Those of a longer one are read one by one.
const MAX_ITEMS: usize = 10_000;

/// An object of any kind, with the fields that pods and workloads have. In an object of another
/// kind, fields of these names are skipped, whatever their type.
#[derive(Clone, Debug, Default)]
pub struct ObjectView {
    /// Group and version.
    pub api_version: Option<String>,
    /// The kind.
    pub kind: Option<String>,
    /// Name, namespace, times, controller and labels.
    pub metadata: ObjectMeta,
    /// The spec.
    pub spec: SpecView,
    /// The status; used only of a pod and of a Job.
    pub status: PodStatusView,
    /// The members of a List.
    pub items: Vec<Located<ObjectView>>,
    /// Whether it has `$patch`, as a patch that Kustomize merges into another object.
    pub is_patch: bool,
}

impl ObjectView {
    /// The fields to the pod template, once group and kind have been read, of a kind that has it
    /// elsewhere than most.
    fn template_path(&self) -> Option<Vec<&'static str>> {
        let kind = ObjectKind::of(self.api_version.as_deref()?, self.kind.as_deref()?);
        Some(kind?.template_path()?.collect())
    }

    /// Whether kind and group have been read and are not those of a pod or workload.
    fn is_of_another_kind(&self) -> bool {
        match (&self.api_version, &self.kind) {
            (Some(api_version), Some(kind)) => ObjectKind::of(api_version, kind).is_none(),
            _ => false,
        }
    }
}

/// Decodes the members of a List. A longer List is an error, so that none is lost.
fn items<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Located<ObjectView>>, D::Error> {
    let mut items = Vec::new();
    let mut is_longer = false;
    for_each(deserializer, |item| {
        is_longer = items.len() == MAX_ITEMS;
        if !is_longer {
            items.push(item);
        }
        !is_longer
    })?;
    if is_longer {
        return Err(D::Error::custom(format_args!("List of more than {MAX_ITEMS} objects")));
    }
    Ok(items)
}

impl<'de> Deserialize<'de> for ObjectView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct("ObjectView", FIELDS, ObjectVisitor)
    }
}

const FIELDS: &[&str] = &["apiVersion", "kind", "metadata", "spec", "status", "items", "$patch"];

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Field {
    ApiVersion,
    Kind,
    Metadata,
    Spec,
    Status,
    Items,
    #[serde(rename = "$patch")]
    Patch,
    #[serde(other)]
    Other,
}

/// Fields that are decoded by a function of their own.
#[derive(Deserialize)]
struct Metadata(#[serde(deserialize_with = "labelled_metadata")] ObjectMeta);
#[derive(Deserialize)]
struct Items(#[serde(deserialize_with = "items")] Vec<Located<ObjectView>>);

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = ObjectView;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ObjectView, A::Error> {
        let mut object = ObjectView::default();
        let mut spec_is_first = false;
        while let Some(field) = map.next_key::<Field>()? {
            match field {
                Field::ApiVersion => object.api_version = map.next_value()?,
                Field::Kind => object.kind = map.next_value()?,
                Field::Items => object.items = map.next_value::<Items>()?.0,
                Field::Metadata | Field::Spec | Field::Status if object.is_of_another_kind() => {
                    map.next_value::<IgnoredAny>()?;
                }
                Field::Metadata => object.metadata = map.next_value::<Metadata>()?.0,
                Field::Spec => {
                    spec_is_first = object.kind.is_none() || object.api_version.is_none();
                    object.spec = match object.template_path() {
                        Some(path) => map.next_value_seed(TemplateAt(&path))?,
                        None => map.next_value::<Option<_>>()?.unwrap_or_default(),
                    };
                }
                Field::Status => object.status = map.next_value::<Option<_>>()?.unwrap_or_default(),
                Field::Patch => object.is_patch = map.next_value::<Option<IgnoredAny>>()?.is_some(),
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if spec_is_first && object.template_path().is_some() {
            let kind = object.kind.unwrap_or_default();
            return Err(A::Error::custom(format_args!(
                "apiVersion and kind have to come before spec, as {kind} has its pod template in a \
                 place of its own"
            )));
        }
        Ok(object)
    }
}
