//! A value and its line in a text.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

/// A value and its line in the text, counted from 1; 0 where the decoder has no lines, as for JSON
/// from the API server. The value of a YAML alias has the line of its anchor, because it has to be
/// changed there.
#[derive(Clone, Debug, Default)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// The line.
    pub line: u32,
}

/// The name by which the decoder of JSON manifests recognizes the type. It then gives the line and
/// the value as a sequence; every other deserializer gives the value only.
pub(crate) const LOCATED: &str = "$policy-core::Located";

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(LOCATED, LocatedVisitor(PhantomData))
    }
}

struct LocatedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for LocatedVisitor<T> {
    type Value = Located<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Self::Value, D::Error> {
        let Spanned { value, defined, .. } = Spanned::deserialize(deserializer)?;
        Ok(Located { value, line: u32::try_from(defined.line()).unwrap_or(u32::MAX) })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
        match (parts.next_element()?, parts.next_element()?) {
            (Some(line), Some(value)) => Ok(Located { value, line }),
            _ => Err(A::Error::custom("expected a line and a value")),
        }
    }
}
