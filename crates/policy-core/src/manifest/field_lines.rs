//! The line of each field of a document.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::view::Located;

/// The lines of the fields of an object, and those of the fields below each.
#[derive(Default)]
pub(super) struct FieldLines {
    fields: BTreeMap<String, (u32, FieldLines)>,
    /// The line and the name of each field that its object has twice, those below included.
    pub(super) repeated: Vec<(u32, String)>,
}

impl FieldLines {
    /// The line of a field by its path, such as `spec.weights.pending`, or of the deepest part of
    /// the path that exists.
    pub(super) fn line(&self, path: &str) -> Option<u32> {
        let (mut below, mut line) = (self, None);
        for name in path.split('.') {
            let Some((found, fields)) = below.fields.get(name) else {
                break;
            };
            (line, below) = (Some(*found), fields);
        }
        line
    }
}

impl<'de> Deserialize<'de> for FieldLines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self::default())
    }
}

impl<'de> Visitor<'de> for FieldLines {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(Located { value: name, line }) = map.next_key::<Located<String>>()? {
            let mut below: Self = map.next_value()?;
            self.repeated.append(&mut below.repeated);
            if self.fields.insert(name.clone(), (line, below)).is_some() {
                self.repeated.push((line, name));
            }
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Self, A::Error> {
        while let Some(mut member) = seq.next_element::<Self>()? {
            self.repeated.append(&mut member.repeated);
        }
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}
