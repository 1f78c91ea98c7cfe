//! Reading JSON as the API server writes it: in one pass that goes over what nobody wants by 64
//! bytes at a time.
//!
//! Half of a pod's JSON says who has set which of its fields, and a general parser takes most of
//! its time for such parts. Here they are passed over by their brackets alone: whether they are
//! JSON inside is not looked at. What is wanted has to be plain, without white space around it and
//! without escapes. Whatever is otherwise is left to `serde_json`, which reads everything and says
//! what is wrong with the rest.

mod skip;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::de::value::BorrowedBytesDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

/// Reads a value that is the whole text, but for the line feed that the API server puts at the
/// end. `None` where the text is not plain enough, or not JSON at all.
pub(super) fn read<'de, T: Deserialize<'de>>(text: &'de [u8]) -> Option<T> {
    let mut reader = Reader { rest: text };
    let value = T::deserialize(&mut reader).ok()?;
    matches!(reader.rest, b"" | b"\n").then_some(value)
}

/// Reads from the front.
struct Reader<'de> {
    rest: &'de [u8],
}

/// Something else has to read this, and to say what is wrong with it.
#[derive(Clone, Copy, Debug)]
struct NotPlain;

impl fmt::Display for NotPlain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not plain JSON")
    }
}

impl std::error::Error for NotPlain {}

impl de::Error for NotPlain {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl<'de> Reader<'de> {
    fn peek(&self) -> Result<u8, NotPlain> {
        self.rest.first().copied().ok_or(NotPlain)
    }

    fn take(&mut self, byte: u8) -> Result<(), NotPlain> {
        let (first, rest) = self.rest.split_first().ok_or(NotPlain)?;
        self.rest = rest;
        if *first == byte { Ok(()) } else { Err(NotPlain) }
    }

    fn take_word(&mut self, word: &[u8]) -> Result<(), NotPlain> {
        self.rest = self.rest.strip_prefix(word).ok_or(NotPlain)?;
        Ok(())
    }

    fn split(&mut self, length: usize) -> Result<&'de [u8], NotPlain> {
        let (first, rest) = self.rest.split_at_checked(length).ok_or(NotPlain)?;
        self.rest = rest;
        Ok(first)
    }

    /// A string that is written as it is meant, and what is behind it.
    fn quoted(&self) -> Option<(&'de [u8], &'de [u8])> {
        let text = self.rest.strip_prefix(b"\"")?;
        let (inner, rest) = text.split_at_checked(skip::plain_string(text)?)?;
        Some((inner, rest.strip_prefix(b"\"")?))
    }

    fn string(&mut self) -> Result<&'de [u8], NotPlain> {
        let (text, rest) = self.quoted().ok_or(NotPlain)?;
        self.rest = rest;
        Ok(text)
    }

    fn key(&mut self) -> Result<&'de [u8], NotPlain> {
        let (key, rest) = self.quoted().ok_or(NotPlain)?;
        self.rest = rest.strip_prefix(b":").ok_or(NotPlain)?;
        Ok(key)
    }

    /// Passes over a value.
    fn skip(&mut self) -> Result<(), NotPlain> {
        let length = match self.peek()? {
            b'"' => skip::string(self.rest),
            b'{' | b'[' => skip::nested(self.rest),
            _ => skip::scalar(self.rest),
        };
        self.split(length.ok_or(NotPlain)?)?;
        Ok(())
    }

    fn members<T>(
        &mut self,
        [open, close]: [u8; 2],
        read: impl FnOnce(Members<'_, 'de>) -> Result<T, NotPlain>,
    ) -> Result<T, NotPlain> {
        self.take(open)?;
        let value = read(Members { reader: self, is_first: true })?;
        self.take(close)?;
        Ok(value)
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = NotPlain;

    /// Numbers are not among the things that are wanted.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotPlain> {
        match self.peek()? {
            b'"' => {
                let text = std::str::from_utf8(self.string()?).map_err(|_| NotPlain)?;
                visitor.visit_borrowed_str(text)
            }
            b'{' => self.members([b'{', b'}'], |members| visitor.visit_map(members)),
            b'[' => self.members([b'[', b']'], |members| visitor.visit_seq(members)),
            b't' => {
                self.take_word(b"true")?;
                visitor.visit_bool(true)
            }
            b'f' => {
                self.take_word(b"false")?;
                visitor.visit_bool(false)
            }
            b'n' => {
                self.take_word(b"null")?;
                visitor.visit_unit()
            }
            _ => Err(NotPlain),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotPlain> {
        if self.peek()? == b'n' {
            self.take_word(b"null")?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, NotPlain> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotPlain> {
        self.skip()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier
    }
}

/// What is between two brackets.
struct Members<'a, 'de> {
    reader: &'a mut Reader<'de>,
    is_first: bool,
}

impl Members<'_, '_> {
    fn has_next(&mut self, close: u8) -> Result<bool, NotPlain> {
        if self.reader.peek()? == close {
            return Ok(false);
        }
        if !std::mem::take(&mut self.is_first) {
            self.reader.take(b',')?;
        }
        Ok(true)
    }
}

impl<'de> MapAccess<'de> for Members<'_, 'de> {
    type Error = NotPlain;

    /// Keys are handed on as bytes: one that is no text is none of those that are wanted.
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, NotPlain> {
        if !self.has_next(b'}')? {
            return Ok(None);
        }
        let key = self.reader.key()?;
        seed.deserialize(BorrowedBytesDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, NotPlain> {
        seed.deserialize(&mut *self.reader)
    }
}

impl<'de> SeqAccess<'de> for Members<'_, 'de> {
    type Error = NotPlain;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, NotPlain> {
        if !self.has_next(b']')? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }
}
