//! The class of a score.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The class of a score.
#[derive(
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::IntoStaticStr,
    strum::Display,
)]
pub enum Classification {
    /// 0 to 39.
    Critical,
    /// 40 to 59.
    Degraded,
    /// 60 to 79.
    Stable,
    /// 80 to 100.
    Healthy,
}

impl Classification {
    /// The class of a number from 0 to 100.
    #[must_use]
    pub const fn of(score: u8) -> Self {
        if score >= Self::Healthy.least() {
            Self::Healthy
        } else if score >= Self::Stable.least() {
            Self::Stable
        } else if score >= Self::Degraded.least() {
            Self::Degraded
        } else {
            Self::Critical
        }
    }

    /// The least number of the class.
    #[must_use]
    pub const fn least(self) -> u8 {
        match self {
            Self::Healthy => 80,
            Self::Stable => 60,
            Self::Degraded => 40,
            Self::Critical => 0,
        }
    }

    /// The name in reports and columns.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The schema has no description of its own, as that of [`Severity`](crate::severity::Severity).
impl JsonSchema for Classification {
    fn schema_name() -> Cow<'static, str> {
        "Classification".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let all = [Self::Healthy, Self::Stable, Self::Degraded, Self::Critical];
        json_schema!({ "type": "string", "enum": all.map(Self::as_str) })
    }
}
