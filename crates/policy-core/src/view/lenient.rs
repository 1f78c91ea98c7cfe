//! Decoding that treats `null` as a missing field.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// For fields whose type has a default: `null` gives the default. Kubernetes' own decoder treats
/// an explicit `null` as a field that is not there.
pub(super) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Calls the function with each member of a list until it returns `false`, and skips the rest.
/// `null` is an empty list.
pub(super) fn for_each<'de, D, T, F>(deserializer: D, function: F) -> Result<(), D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
    F: FnMut(T) -> bool,
{
    deserializer.deserialize_option(MembersVisitor(function, PhantomData))
}

struct MembersVisitor<T, F>(F, PhantomData<T>);

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> bool> Visitor<'de> for MembersVisitor<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        while let Some(member) = members.next_element()? {
            if !(self.0)(member) {
                while members.next_element::<IgnoredAny>()?.is_some() {}
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The members until the second.
    fn two<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let mut members = Vec::new();
        for_each(deserializer, |member| {
            members.push(member);
            members.len() < 2
        })?;
        Ok(members)
    }

    #[derive(Deserialize)]
    struct Two(#[serde(deserialize_with = "two")] Vec<u8>);

    #[test]
    fn members_that_are_not_wanted_are_skipped() {
        let read = |text: &str| serde_json::from_str::<Two>(text).map(|two| two.0);
        assert_eq!(read("null").unwrap(), [0_u8; 0]);
        assert_eq!(read("[1, 2]").unwrap(), [1, 2]);
        assert_eq!(read(r#"[1, 2, 3, "four", {}]"#).unwrap(), [1, 2]);
        assert!(read("[1, 2, 3").is_err());
    }
}
