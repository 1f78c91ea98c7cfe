//! Reading that takes `null` for a missing field.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, SeqAccess, Visitor};
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

/// For lists: `null` gives an empty one, and more than `MOST` members are refused while they are
/// read. A member takes a hundred times the memory of its shortest text, `{},`.
pub(super) fn bounded<'de, D, T, const MOST: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Bounded<T, MOST>>::deserialize(deserializer)?.map_or_else(Vec::new, |list| list.0))
}

struct Bounded<T, const MOST: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Bounded<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(BoundedVisitor(PhantomData))
    }
}

struct BoundedVisitor<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for BoundedVisitor<T, MOST> {
    type Value = Bounded<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(member) = members.next_element()? {
            if list.len() == MOST {
                return Err(A::Error::custom(format_args!("list of more than {MOST} members")));
            }
            list.push(member);
        }
        Ok(Bounded(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Two(#[serde(deserialize_with = "bounded::<_, _, 2>")] Vec<u8>);

    #[test]
    fn a_list_over_its_limit_is_refused() {
        let read = |text: &str| serde_json::from_str::<Two>(text).map(|two| two.0);
        assert_eq!(read("null").unwrap(), [0_u8; 0]);
        assert_eq!(read("[1, 2]").unwrap(), [1, 2]);
        let error = read("[1, 2, 3]").unwrap_err().to_string();
        assert!(error.starts_with("list of more than 2 members"), "{error}");
    }
}
