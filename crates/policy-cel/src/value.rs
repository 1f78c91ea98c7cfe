//! What an expression is evaluated on: JSON or YAML, read whole and bounded.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The fields of an object.
pub type Fields = BTreeMap<Box<str>, Value>;

/// The most that a [`Bounded`] value holds: a unit for each byte of its texts and names, and
/// [`NODE`] for each value.
pub const MAX_SIZE: usize = 512 << 10;
/// What a value costs of [`MAX_SIZE`] beside its text.
pub const NODE: usize = 8;
/// The deepest nesting.
const MAX_DEPTH: usize = 64;

/// A value of JSON, in the types of CEL: an integer is an `int` as in Kubernetes, whatever its sign.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`. A field that is null is no field, as for the API server.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// Any other number.
    Double(f64),
    /// A text.
    String(Box<str>),
    /// A list.
    List(Vec<Value>),
    /// An object.
    Map(Fields),
}

/// A value that was read whole; `None` where it is larger than [`MAX_SIZE`].
#[derive(Clone, Debug, PartialEq)]
pub struct Bounded(pub Option<Value>);

impl<'de> Deserialize<'de> for Bounded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let left = Cell::new(Some(MAX_SIZE));
        let value = Reader { left: &left, depth: 0 }.deserialize(deserializer)?;
        Ok(Self(left.get().map(|_| value)))
    }
}

/// Reads a value as long as there is something left of the size; what comes after is skipped.
#[derive(Clone, Copy)]
struct Reader<'a> {
    /// `None` once the value is too large.
    left: &'a Cell<Option<usize>>,
    depth: usize,
}

impl Reader<'_> {
    /// Whether a value with so much text fits.
    fn fits(self, text: usize) -> bool {
        let left = self.left.get().and_then(|left| left.checked_sub(NODE + text));
        self.left.set(left.filter(|_| self.depth <= MAX_DEPTH));
        self.left.get().is_some()
    }

    fn below(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.left.get().is_none() || self.depth > MAX_DEPTH {
            self.left.set(None);
            IgnoredAny::deserialize(deserializer)?;
            return Ok(Value::Null);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        self.fits(0);
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        self.fits(0);
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        self.fits(0);
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        self.fits(0);
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        self.fits(0);
        #[expect(clippy::cast_precision_loss, reason = "as in Go's decoder of Kubernetes")]
        Ok(i64::try_from(value).map_or_else(|_| Value::Double(value as f64), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        self.fits(0);
        Ok(Value::Double(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(if self.fits(text.len()) { Value::String(text.into()) } else { Value::Null })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        self.fits(0);
        while let Some(member) = members.next_element_seed(self.below())? {
            if self.left.get().is_some() {
                list.push(member);
            }
        }
        Ok(Value::List(list))
    }

    /// Of fields with the same name the last counts, as in Go.
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Fields::new();
        self.fits(0);
        while let Some(name) = fields.next_key::<Box<str>>()? {
            let value = fields.next_value_seed(self.below())?;
            if !self.fits(name.len()) {
                continue;
            }
            if value == Value::Null {
                map.remove(&name);
            } else {
                map.insert(name, value);
            }
        }
        Ok(Value::Map(map))
    }
}

impl Value {
    /// A field of an object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(fields) => fields.get(name),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Value> {
        serde_json::from_str::<Bounded>(json).unwrap().0
    }

    #[test]
    fn values_have_the_types_of_kubernetes() {
        let value = read(
            r#"{"a": 1, "b": -1, "c": 1.5, "d": 18446744073709551615, "n": null, "l": [null, true], "a": 2}"#,
        );
        let value = value.unwrap();
        assert_eq!(value.get("a"), Some(&Value::Int(2)));
        assert_eq!(value.get("b"), Some(&Value::Int(-1)));
        assert_eq!(value.get("c"), Some(&Value::Double(1.5)));
        assert!(matches!(value.get("d"), Some(Value::Double(_))));
        assert_eq!(value.get("n"), None);
        assert_eq!(value.get("l"), Some(&Value::List(vec![Value::Null, Value::Bool(true)])));
    }

    #[test]
    fn a_value_that_is_too_large_is_read_to_its_end_and_not_kept() {
        let text = |bytes: usize| format!("[{:?}, 1]", "x".repeat(bytes));
        assert!(read(&text(MAX_SIZE - 3 * NODE)).is_some());
        assert!(read(&text(MAX_SIZE - 3 * NODE + 1)).is_none());
        let numbers = |count: usize| format!("[{}]", vec!["0"; count].join(","));
        assert!(read(&numbers(MAX_SIZE / NODE - 1)).is_some());
        assert!(read(&numbers(MAX_SIZE / NODE)).is_none());
        let deep = |depth: usize| format!("{}0{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&deep(MAX_DEPTH)).is_some());
        assert!(read(&deep(MAX_DEPTH + 1)).is_none());
    }
}
