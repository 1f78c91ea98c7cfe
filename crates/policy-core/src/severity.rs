//! How severe a finding is.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// How severe a finding is under a policy. Ordered: `Low < Medium < High < Critical`.
/// Severities never change a score.
#[derive(
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::IntoStaticStr,
    strum::Display,
    strum::EnumString,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
#[strum(parse_err_ty = UnknownSeverity, parse_err_fn = UnknownSeverity::new)]
pub enum Severity {
    /// The least severe.
    Low,
    /// The default of every check.
    #[default]
    Medium,
    /// The least severe that is denied at admission, unless the policy has another
    /// `denySeverity`.
    High,
    /// The most severe.
    Critical,
}

impl Severity {
    /// All severities, the most severe first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Medium, Self::Low];

    /// The name in policies, reports and labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The schema has no description of its own, because it would replace that of each field in the
/// custom resource definition, and with it the text of `kubectl explain`.
impl JsonSchema for Severity {
    fn schema_name() -> Cow<'static, str> {
        "Severity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Self::ALL.map(Self::as_str) })
    }
}

/// A word that is not a severity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a severity; choose critical, high, medium or low")]
pub struct UnknownSeverity(String);

impl UnknownSeverity {
    fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
}
