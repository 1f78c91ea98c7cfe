//! What custom checks see of an object and its namespace.

use std::collections::BTreeMap;
use std::fmt;

use policy_cel::{Bounded, Fields, MAX_SIZE, Value};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::served::as_served;
use crate::workload::ObjectKind;

/// Metadata and spec of a pod or pod template, as expressions see them.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomInput(Result<Value, InputError>);

/// Why an object cannot be judged by expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum InputError {
    #[error("the object is too large: a part of it has more than {} KiB", MAX_SIZE >> 10)]
    TooLarge,
    #[error("the object cannot be read")]
    Unreadable,
}

impl CustomInput {
    /// The object of that kind in a document.
    #[must_use]
    pub fn of(kind: ObjectKind, document: ObjectDocument) -> Self {
        let ObjectDocument { metadata, spec, .. } = document;
        Self(object(kind, metadata, spec))
    }

    /// The same where the document could be read.
    #[must_use]
    pub fn of_read(kind: ObjectKind, document: Option<ObjectDocument>) -> Self {
        document.map_or_else(Self::unreadable, |document| Self::of(kind, document))
    }

    /// The same of a manifest, as the API server would send it. A custom resource it sends as it is
    /// written.
    #[must_use]
    pub fn of_written(kind: ObjectKind, document: Option<ObjectDocument>) -> Self {
        let mut input = Self::of_read(kind, document);
        if !matches!(kind, ObjectKind::Configured(_))
            && let Ok(Value::Map(pod)) = &mut input.0
            && let Some(spec) = pod.get_mut("spec")
        {
            as_served(spec);
        }
        input
    }

    /// An object that cannot be read.
    #[must_use]
    pub const fn unreadable() -> Self {
        Self(Err(InputError::Unreadable))
    }

    pub(super) fn object(&self) -> Result<&Value, String> {
        self.0.as_ref().map_err(ToString::to_string)
    }
}

/// The pod, or the pod template, in an object.
fn object(
    kind: ObjectKind,
    metadata: ObjectMetadata,
    Bounded(spec): Bounded,
) -> Result<Value, InputError> {
    let spec = spec.ok_or(InputError::TooLarge)?;
    let path: Vec<&str> = match (kind, kind.template_path()) {
        (ObjectKind::Pod, _) => return Ok(pod(metadata.fields()?, spec)),
        (ObjectKind::CronJob, _) => vec!["jobTemplate", "spec", "template"],
        (_, Some(path)) => path.collect(),
        (_, None) => vec!["template"],
    };
    let template = path.iter().try_fold(spec, take).ok_or(InputError::Unreadable)?;
    let Value::Map(mut template) = template else { return Err(InputError::Unreadable) };
    let mut metadata = Fields::new();
    if let Some(Value::Map(mut own)) = template.remove("metadata") {
        metadata.extend(SEEN.iter().filter_map(|name| own.remove_entry(*name)));
    }
    Ok(pod(metadata, template.remove("spec").unwrap_or(Value::Map(Fields::new()))))
}

fn take(value: Value, name: &&str) -> Option<Value> {
    match value {
        Value::Map(mut fields) => fields.remove(*name),
        _ => None,
    }
}

fn pod(metadata: Fields, spec: Value) -> Value {
    let parts = [("metadata", Value::Map(metadata)), ("spec", spec)];
    Value::Map(parts.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

/// The metadata that expressions see.
const SEEN: [&str; 5] = ["name", "generateName", "namespace", "labels", "annotations"];

/// The same in an object; the rest, much of which only the API server reads, is skipped.
#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default, rename_all = "camelCase")]
struct ObjectMetadata {
    name: Option<Bounded>,
    generate_name: Option<Bounded>,
    namespace: Option<Bounded>,
    labels: Option<Bounded>,
    annotations: Option<Bounded>,
}

impl ObjectMetadata {
    fn fields(self) -> Result<Fields, InputError> {
        let Self { name, generate_name, namespace, labels, annotations } = self;
        let all = SEEN.into_iter().zip([name, generate_name, namespace, labels, annotations]);
        let present = all.filter_map(|(name, value)| Some((name, value?.0)));
        present.map(|(name, value)| Ok((name.into(), value.ok_or(InputError::TooLarge)?))).collect()
    }
}

/// A namespace, as expressions see it.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomNamespace(Value);

impl CustomNamespace {
    /// The namespace of that name with these labels.
    #[must_use]
    pub fn new(name: &str, labels: &BTreeMap<String, String>) -> Self {
        let text = |text: &str| Value::String(text.into());
        let labels = labels.iter().map(|(key, value)| (key.as_str().into(), text(value)));
        let metadata = [("name", text(name)), ("labels", Value::Map(labels.collect()))];
        let map = |fields: &[(&str, Value)]| {
            Value::Map(fields.iter().map(|(key, value)| ((*key).into(), value.clone())).collect())
        };
        Self(map(&[("metadata", map(&metadata))]))
    }

    pub(super) const fn value(&self) -> &Value {
        &self.0
    }
}

/// Metadata and spec of an object of a manifest, or the members of a List, as they are written.
#[derive(Clone, Debug)]
pub struct ObjectDocument {
    metadata: ObjectMetadata,
    spec: Bounded,
    /// The members of a List.
    pub items: Vec<ObjectDocument>,
}

impl Default for ObjectDocument {
    fn default() -> Self {
        let spec = Bounded(Some(Value::Map(Fields::new())));
        Self { metadata: ObjectMetadata::default(), spec, items: Vec::new() }
    }
}

impl<'de> Deserialize<'de> for ObjectDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(DocumentVisitor)
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = ObjectDocument;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<ObjectDocument, A::Error> {
        let mut document = ObjectDocument::default();
        while let Some(name) = fields.next_key::<String>()? {
            match name.as_str() {
                "metadata" => {
                    document.metadata = fields.next_value::<Option<_>>()?.unwrap_or_default();
                }
                "spec" => document.spec = fields.next_value()?,
                "items" => document.items = fields.next_value::<Option<_>>()?.unwrap_or_default(),
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(document)
    }
}
