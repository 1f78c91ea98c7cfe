//! Pods of a cluster, with what custom checks see of them.

use std::collections::BTreeMap;

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

/// A pod that is read for custom checks as well.
#[derive(Clone, Debug)]
pub struct WholePod(LivePod);

impl From<WholePod> for LivePod {
    fn from(WholePod(pod): WholePod) -> Self {
        pod
    }
}

impl<'de> Deserialize<'de> for WholePod {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        let view = serde_json::from_str(json.get()).map_err(serde::de::Error::custom)?;
        let custom = Some(Box::new(CustomInput::of_pod_json(json.get().as_bytes())));
        Ok(Self(LivePod { view, custom }))
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
