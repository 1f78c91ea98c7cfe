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

/// For lists: `null` gives an empty one, and members after the first `MAX` are dropped while they
/// are decoded. In memory, a member takes up to a hundred times the bytes of its shortest text,
/// `{},`.
pub(super) fn bounded<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Bounded<T, MAX>>::deserialize(deserializer)?.map_or_else(Vec::new, |list| list.0))
}

struct Bounded<T, const MAX: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(BoundedVisitor(PhantomData))
    }
}

struct BoundedVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for BoundedVisitor<T, MAX> {
    type Value = Bounded<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while list.len() < MAX
            && let Some(member) = members.next_element()?
        {
            list.push(member);
        }
        while members.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Bounded(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Two(#[serde(deserialize_with = "bounded::<_, _, 2>")] Vec<u8>);

    #[test]
    fn members_over_the_limit_are_dropped() {
        let read = |text: &str| serde_json::from_str::<Two>(text).map(|two| two.0);
        assert_eq!(read("null").unwrap(), [0_u8; 0]);
        assert_eq!(read("[1, 2]").unwrap(), [1, 2]);
        assert_eq!(read(r#"[1, 2, 3, "four", {}]"#).unwrap(), [1, 2]);
        assert!(read("[1, 2, 3").is_err());
    }
}
