//! The JSON of a value that is decoded later, or not at all.

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::compact;
use super::review::reason;

/// The name by which the [compact](super::compact) reader knows the type.
pub(super) const RAW: &str = "Raw";

/// The JSON of a value, borrowed from the input. The compact reader has not validated it.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a>(pub(super) &'a [u8]);

/// Of nothing.
impl Default for Raw<'_> {
    fn default() -> Self {
        Self(b"")
    }
}

/// Not its JSON, which may be large, and be the same value written in another way.
impl fmt::Debug for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(RAW)
    }
}

impl<'a> Raw<'a> {
    /// Decodes the value, which is a part of that.
    pub(super) fn read<T: Deserialize<'a>>(self, what: &str) -> Result<T, String> {
        compact::read(self.0).map_or_else(
            || {
                let read = serde_json::from_slice(self.0);
                read.map_err(|error| format!("the {what} cannot be read: {}", reason(&error)))
            },
            Ok,
        )
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(RAW, RawVisitor).map(Self)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = &'de [u8];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    /// From the compact reader.
    fn visit_borrowed_bytes<E>(self, json: &'de [u8]) -> Result<Self::Value, E> {
        Ok(json)
    }

    /// From `serde_json`.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        <&RawValue>::deserialize(json).map(|json| json.get().as_bytes())
    }
}
