//! Reading that takes `null` for a missing field.

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
