//! The id of a check to people: one of the registry, or a custom one.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::CheckId;
use crate::policy::is_dns_label;

/// What the ids of custom checks start with.
const CUSTOM: &str = "custom/";

/// A check by its id: `latest-tag`, or `custom/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckName {
    /// One of the registry.
    Registered(CheckId),
    /// A custom check of a policy, by its name.
    Custom(Arc<str>),
}

impl CheckName {
    /// The label of metrics: custom checks share one, because anybody may name any number of them.
    pub const CUSTOM_LABEL: &'static str = "custom";

    /// The check of the registry, if it is one.
    #[must_use]
    pub fn registered(&self) -> Option<CheckId> {
        match self {
            Self::Registered(check) => Some(*check),
            Self::Custom(_) => None,
        }
    }

    /// The id without the name of a custom check: a fixed set of words, for counts and labels.
    #[must_use]
    pub fn label(&self) -> &'static str {
        self.registered().map_or(Self::CUSTOM_LABEL, CheckId::as_str)
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> Cow<'static, str> {
        match self {
            Self::Registered(check) => check.as_str().into(),
            Self::Custom(name) => format!("{CUSTOM}{name}").into(),
        }
    }

    /// `violationType` in audit results.
    #[must_use]
    pub fn violation_type(&self) -> Cow<'static, str> {
        match self {
            Self::Registered(check) => check.meta().violation_type.into(),
            Self::Custom(_) => self.as_str(),
        }
    }
}

impl From<CheckId> for CheckName {
    fn from(check: CheckId) -> Self {
        Self::Registered(check)
    }
}

impl PartialEq<CheckId> for CheckName {
    fn eq(&self, other: &CheckId) -> bool {
        self.registered() == Some(*other)
    }
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.as_str())
    }
}

/// There is no check of that id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no check `{id}`; choose {}, or custom/NAME", known())]
pub struct UnknownCheck {
    id: String,
}

fn known() -> String {
    CheckId::all().map(CheckId::as_str).collect::<Vec<_>>().join(", ")
}

impl FromStr for CheckName {
    type Err = UnknownCheck;

    fn from_str(id: &str) -> Result<Self, UnknownCheck> {
        match id.strip_prefix(CUSTOM) {
            Some(name) if is_dns_label(name) => Ok(Self::Custom(name.into())),
            _ => {
                let registered = CheckId::from_name(id).map(Self::Registered);
                registered.ok_or_else(|| UnknownCheck { id: crate::text::excerpt(id).into() })
            }
        }
    }
}

impl Serialize for CheckName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.as_str())
    }
}

impl<'de> Deserialize<'de> for CheckName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        id.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for CheckName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "CheckName".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}
