//! Reads JSON by the rules of JSON (RFC 8259) into the same types as YAML, with line numbers. The
//! last value of a repeated name counts, as for `kubectl`.
//!
//! Every value stays a slice of the text until a type asks for it, so a value that cannot be read
//! does not affect the others, and memory does not grow with what is skipped.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::value::MapDeserializer;
use serde::de::{DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};
use serde_json::Error;
use serde_json::value::RawValue;

use super::parse::ParseError;
use crate::view::LOCATED;

/// A well-formed JSON text.
pub(super) struct JsonText<'a> {
    text: &'a str,
    /// A position and its line, from which the next line is counted.
    last_position: Cell<(usize, u32)>,
    /// The position of the innermost value that could not be read, and why.
    failure: RefCell<Option<(usize, String)>>,
}

impl<'a> JsonText<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, last_position: Cell::new((0, 1)), failure: RefCell::new(None) }
    }

    /// The value of the whole text.
    pub(super) fn root(&'a self) -> JsonValue<'a> {
        JsonValue { text: self.text.trim_ascii(), document: self }
    }

    /// The line of a position. Positions mostly grow, so that all of them together cost one pass.
    fn line(&self, position: usize) -> u32 {
        let (last, line) = self.last_position.get();
        let newlines = |from: usize, to: usize| {
            let between = self.text.as_bytes().get(from..to).unwrap_or_default();
            u32::try_from(memchr::memchr_iter(b'\n', between).count()).unwrap_or(u32::MAX)
        };
        let line = if last <= position {
            line.saturating_add(newlines(last, position))
        } else {
            line.saturating_sub(newlines(position, last))
        };
        self.last_position.set((position, line));
        line
    }
}

/// A value of a [`JsonText`], not decoded yet.
#[derive(Clone, Copy)]
pub(super) struct JsonValue<'a> {
    text: &'a str,
    document: &'a JsonText<'a>,
}

impl<'a> JsonValue<'a> {
    pub(super) fn text(self) -> &'a str {
        self.text
    }

    pub(super) fn is_null(self) -> bool {
        self.text == "null"
    }

    pub(super) fn is_object(self) -> bool {
        self.text.starts_with('{')
    }

    /// The line on which the value starts.
    pub(super) fn line(self) -> u32 {
        self.document.line(self.position())
    }

    fn position(self) -> usize {
        (self.text.as_ptr() as usize).saturating_sub(self.document.text.as_ptr() as usize)
    }

    pub(super) fn read<T: Deserialize<'a>>(self) -> Result<T, ParseError> {
        self.document.failure.take();
        self.located(T::deserialize(self)).map_err(|_| self.failure())
    }

    /// Passes each member of a list to `take`, of whatever type it is.
    pub(super) fn for_each_member(
        self,
        take: &mut dyn FnMut(JsonValue<'a>),
    ) -> Result<(), ParseError> {
        self.document.failure.take();
        let mut text = serde_json::Deserializer::from_str(self.text);
        let members = EachMember { list: self, take };
        self.located(self.starts_with("[", "a list").and_then(|()| text.deserialize_seq(members)))
            .map_err(|_| self.failure())
    }

    /// Another value of the same text.
    pub(super) fn part(self, raw: &'a RawValue) -> Self {
        Self { text: raw.get(), ..self }
    }

    fn starts_with(self, start: &str, expected: &str) -> Result<(), Error> {
        if self.text.starts_with(start) {
            return Ok(());
        }
        Err(Error::custom(format_args!("expected {expected}")))
    }

    /// Remembers where reading failed, unless a value inside of this one did so.
    fn located<T>(self, result: Result<T, Error>) -> Result<T, Error> {
        result.inspect_err(|error| {
            let mut failure = self.document.failure.borrow_mut();
            failure.get_or_insert_with(|| (self.position(), reason(error)));
        })
    }

    fn failure(self) -> ParseError {
        let (position, reason) = self.document.failure.take().unwrap_or_default();
        ParseError::mismatch(self.document.line(position), reason)
    }

    /// The string that a key is.
    fn key(self) -> Cow<'a, str> {
        let quoted = self.text.trim_matches('"');
        if quoted.contains('\\') {
            serde_json::from_str(self.text).map_or(Cow::Borrowed(quoted), Cow::Owned)
        } else {
            Cow::Borrowed(quoted)
        }
    }

    /// The keys and values of an object that have one of the names, each once.
    fn fields(self, names: &[&str]) -> Result<Vec<(Self, Self)>, Error> {
        serde_json::Deserializer::from_str(self.text).deserialize_map(Fields { of: self, names })
    }
}

/// The error without serde's position, which counts from the start of the part that was read.
fn reason(error: &Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).unwrap_or(&text).to_owned()
}

struct EachMember<'a, 'f> {
    list: JsonValue<'a>,
    take: &'f mut dyn FnMut(JsonValue<'a>),
}

impl<'a> Visitor<'a> for EachMember<'a, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(raw) = members.next_element()? {
            (self.take)(self.list.part(raw));
        }
        Ok(())
    }
}

struct Fields<'a, 'n> {
    of: JsonValue<'a>,
    names: &'n [&'n str],
}

impl<'a> Visitor<'a> for Fields<'a, '_> {
    type Value = Vec<(JsonValue<'a>, JsonValue<'a>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields: Self::Value = Vec::new();
        while let Some((key, value)) = map.next_entry()? {
            let (key, value) = (self.of.part(key), self.of.part(value));
            let name = key.key();
            if self.names.contains(&&*name) {
                fields.retain(|(earlier, _)| earlier.key() != name);
                fields.push((key, value));
            }
        }
        Ok(fields)
    }
}

/// Passes the members of a list or object on, each as a [`JsonValue`] and one at a time.
struct EachPart<'a, V> {
    of: JsonValue<'a>,
    visitor: V,
}

impl<'a, V: Visitor<'a>> Visitor<'a> for EachPart<'a, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_seq<A: SeqAccess<'a>>(self, parts: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(Parts { of: self.of, parts })
    }

    fn visit_map<A: MapAccess<'a>>(self, parts: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Parts { of: self.of, parts })
    }
}

struct Parts<'a, A> {
    of: JsonValue<'a>,
    parts: A,
}

impl<'a, A: SeqAccess<'a>> SeqAccess<'a> for Parts<'a, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, A::Error> {
        let Some(raw) = self.parts.next_element()? else { return Ok(None) };
        seed.deserialize(self.of.part(raw)).map(Some).map_err(A::Error::custom)
    }
}

impl<'a, A: MapAccess<'a>> MapAccess<'a> for Parts<'a, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let Some(raw) = self.parts.next_key()? else { return Ok(None) };
        seed.deserialize(self.of.part(raw)).map(Some).map_err(A::Error::custom)
    }

    fn next_value_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        let raw = self.parts.next_value()?;
        seed.deserialize(self.of.part(raw)).map_err(A::Error::custom)
    }
}

impl<'de> Deserializer<'de> for JsonValue<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.text.as_bytes().first() {
            Some(b'{') => self.deserialize_map(visitor),
            Some(b'[') => self.deserialize_seq(visitor),
            _ => {
                self.located(serde_json::Deserializer::from_str(self.text).deserialize_any(visitor))
            }
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.located(self.starts_with("{", "an object").and_then(|()| {
            let visitor = EachPart { of: self, visitor };
            serde_json::Deserializer::from_str(self.text).deserialize_map(visitor)
        }))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.located(self.starts_with("{", "an object").and_then(|()| {
            visitor.visit_map(MapDeserializer::new(self.fields(names)?.into_iter()))
        }))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.located(self.starts_with("[", "a list").and_then(|()| {
            let visitor = EachPart { of: self, visitor };
            serde_json::Deserializer::from_str(self.text).deserialize_seq(visitor)
        }))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            LOCATED => visitor.visit_seq(LineAndValue { line: Some(self.line()), value: self }),
            // A raw value, which is the rest of the text.
            _ if name.starts_with("$serde_json") => serde_json::Deserializer::from_str(self.text)
                .deserialize_newtype_struct(name, visitor),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if !matches!(self.text, "true" | "false") {
            return self.located(Err(Error::custom("expected true or false")));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.located(self.starts_with("\"", "a string"))?;
        self.deserialize_any(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple
        tuple_struct enum
    }
}

impl<'de> IntoDeserializer<'de, Error> for JsonValue<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The two parts of a [`Located`](crate::view::Located).
struct LineAndValue<'a> {
    line: Option<u32>,
    value: JsonValue<'a>,
}

impl<'de> SeqAccess<'de> for LineAndValue<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        match self.line.take() {
            Some(line) => seed.deserialize(line.into_deserializer()),
            None => seed.deserialize(self.value),
        }
        .map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Located;

    #[derive(Deserialize, Debug)]
    #[serde(rename_all = "camelCase")]
    struct Object {
        name: Option<Located<String>>,
        #[serde(default)]
        members: Vec<Located<bool>>,
    }

    #[test]
    fn values_have_lines_and_the_last_of_a_name_counts() {
        let text = "\n{\"name\": 5, \"other\": {\"name\": [1]},\n\"n\\u0061me\":\n\"a\\u007f\u{7f}\u{fffe}\",\n\"members\": [true,\n\nfalse]}";
        let json = JsonText::new(text);
        let object: Object = json.root().read().unwrap();
        let name = object.name.unwrap();
        assert_eq!((&*name.value, name.line), ("a\u{7f}\u{7f}\u{fffe}", 4));
        let members: Vec<_> = object.members.iter().map(|m| (m.value, m.line)).collect();
        assert_eq!(members, [(true, 5), (false, 7)]);
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line() {
        let read = |text: &str| {
            let json = JsonText::new(text);
            let error = json.root().read::<Object>().unwrap_err();
            (error.line, error.reason)
        };
        for (text, line, reason) in [
            ("[]", 1, "expected an object"),
            ("{\n\"name\": 5}", 2, "expected a string"),
            ("{\"members\":\n{}}", 2, "expected a list"),
            ("{\"members\": [true,\n\n0]}", 3, "expected true or false"),
            ("{\n\"name\":\n\"\\ud800\"}", 3, "unexpected end of hex escape"),
        ] {
            assert_eq!(read(text), (line, reason.to_owned()), "{text}");
        }
    }
}
