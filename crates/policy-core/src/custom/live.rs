//! Pods of a cluster, with what custom checks see of them.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{CustomInput, CustomNamespace, ObjectDocument};
use crate::view::PodView;
use crate::workload::ObjectKind;

/// Namespaces as expressions see them, by name.
pub type CustomNamespaces = BTreeMap<String, CustomNamespace>;

/// A pod of a cluster.
#[derive(Clone, Debug)]
pub struct LivePod {
    /// What facts come from.
    pub view: PodView,
    /// What expressions see; `None` where no policy has one, as it costs as much again.
    pub custom: Option<Box<CustomInput>>,
}

impl From<PodView> for LivePod {
    fn from(view: PodView) -> Self {
        Self { view, custom: None }
    }
}

impl From<Whole<PodView>> for LivePod {
    fn from(Whole { view, document }: Whole<PodView>) -> Self {
        Self { view, custom: Some(Box::new(CustomInput::of_read(ObjectKind::Pod, document))) }
    }
}

/// An object of a cluster that is read for custom checks as well.
#[derive(Clone, Debug)]
pub struct Whole<V> {
    /// What facts come from.
    pub view: V,
    /// What expressions see; `None` where it cannot be read.
    pub document: Option<ObjectDocument>,
}

impl<'de, V: DeserializeOwned> Deserialize<'de> for Whole<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        let view = serde_json::from_str(json.get()).map_err(D::Error::custom)?;
        Ok(Self { view, document: serde_json::from_str(json.get()).ok() })
    }
}

impl CustomInput {
    /// The pod in the JSON of the API server.
    #[must_use]
    pub fn of_pod_json(json: &[u8]) -> Self {
        let document = serde_json::from_slice::<ObjectDocument>(json).ok();
        Self::of_read(ObjectKind::Pod, document)
    }
}
