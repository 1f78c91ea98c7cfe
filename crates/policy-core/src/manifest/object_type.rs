//! The type of an object: `apiVersion` and `kind`.

use std::fmt;

use serde::Deserialize;

use crate::api::{CLUSTER_POLICY, GROUP};
use crate::remediation::Source;
use crate::workload::ObjectKind;

/// What an object without a type is called.
pub(super) const UNTYPED: &str = "object without apiVersion and kind";

/// The type fields of an object.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Header {
    pub(super) api_version: Option<String>,
    pub(super) kind: Option<String>,
}

impl Header {
    pub(super) fn object_type(&self) -> Option<ObjectType> {
        ObjectType::of(self.api_version.as_deref(), self.kind.as_deref())
    }
}

/// The type of an object as written.
#[derive(Clone, Debug, Default)]
pub(super) struct ObjectType {
    api_version: String,
    pub(super) kind: String,
}

impl ObjectType {
    /// `None` where the object has neither.
    pub(super) fn of(api_version: Option<&str>, kind: Option<&str>) -> Option<Self> {
        let [api_version, kind] =
            [api_version, kind].map(|text| text.unwrap_or_default().to_owned());
        (!api_version.is_empty() || !kind.is_empty()).then_some(Self { api_version, kind })
    }

    /// Whether it has both `apiVersion` and kind.
    pub(super) fn is_whole(&self) -> bool {
        !self.api_version.is_empty() && !self.kind.is_empty()
    }

    /// Whether it is a policy or a cluster policy, of whatever version or without one.
    pub(super) fn is_policy(&self) -> bool {
        let group = self.api_version.split_once('/').map(|(group, _)| group);
        let is_kind = self.kind == "DevOpsPolicy" || self.kind == CLUSTER_POLICY;
        is_kind && (group == Some(GROUP) || self.api_version.is_empty())
    }

    /// Whether it is `List`, or the list of a workload kind or of policies. Any kind may end in
    /// `List` without being one.
    pub(super) fn is_list(&self) -> bool {
        let Some(member) = self.kind.strip_suffix("List") else {
            return false;
        };
        let is_core = !self.api_version.contains('/');
        (member.is_empty() && is_core)
            || ObjectKind::of(&self.api_version, member).is_some()
            || self.member().is_some_and(|member| member.is_policy())
    }

    /// The type of a member that does not say its own; a plain `List` has none.
    pub(super) fn member(&self) -> Option<Self> {
        let kind = self.kind.strip_suffix("List").filter(|kind| !kind.is_empty())?.to_owned();
        Some(Self { api_version: self.api_version.clone(), kind })
    }

    /// What it says of a namespace; `None` where that is nothing.
    pub(super) fn source(&self) -> Option<Source> {
        let group = self.api_version.split_once('/').map_or("", |(group, _)| group);
        match (group, self.kind.as_str()) {
            ("", "Namespace") => Some(Source::Namespace),
            ("", "LimitRange") => Some(Source::LimitRanges),
            ("autoscaling", "HorizontalPodAutoscaler") => Some(Source::HorizontalAutoscalers),
            ("autoscaling.k8s.io", "VerticalPodAutoscaler") => Some(Source::VerticalAutoscalers),
            _ => None,
        }
    }

    /// The workload kind; `None` for any other object; an error where half of the type is missing,
    /// so that it cannot be known.
    pub(super) fn classify(&self) -> Result<Option<ObjectKind>, String> {
        match (self.api_version.as_str(), self.kind.as_str()) {
            ("", kind) if kind.parse::<ObjectKind>().is_ok() => {
                Err(format!("{kind} without apiVersion"))
            }
            (api_version, "") if !api_version.is_empty() => {
                Err(format!("object of {api_version} without kind"))
            }
            (api_version, kind) => Ok(ObjectKind::of(api_version, kind)),
        }
    }

    /// Whether it is neither a workload nor a list.
    pub(super) fn is_other(&self) -> bool {
        self.classify() == Ok(None) && !self.is_list()
    }
}

impl fmt::Display for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.api_version.as_str(), self.kind.as_str()) {
            ("", "") => f.write_str(UNTYPED),
            ("", kind) => f.write_str(kind),
            (api_version, kind) => write!(f, "{api_version} {kind}"),
        }
    }
}
