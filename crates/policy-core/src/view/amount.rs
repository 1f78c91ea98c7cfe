//! Whether a request or limit says anything.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use crate::quantity::ParsedQuantity;

/// A request or limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Amount {
    /// Missing, `null`, or text that no API server takes for an amount.
    #[default]
    Unset,
    /// A request of nothing; as a limit, no limit.
    Zero,
    /// More than nothing.
    Positive,
}

impl Amount {
    fn of(parsed: Option<ParsedQuantity>) -> Self {
        match parsed {
            Some(parsed) if parsed.is_zero() => Self::Zero,
            Some(parsed) if !parsed.is_negative() => Self::Positive,
            _ => Self::Unset,
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AmountVisitor)
    }
}

/// Text, or any number: YAML reads `0.5` as one, and so does the API server.
struct AmountVisitor;

impl Visitor<'_> for AmountVisitor {
    type Value = Amount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quantity, such as 100m or 128Mi")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
        Ok(Amount::of(ParsedQuantity::parse(text)))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Amount, E> {
        Ok(match number {
            0 => Amount::Zero,
            1.. => Amount::Positive,
            _ => Amount::Unset,
        })
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Amount, E> {
        Ok(if number == 0 { Amount::Zero } else { Amount::Positive })
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Amount, E> {
        Ok(if number > 0.0 {
            Amount::Positive
        } else if number < 0.0 || number.is_nan() {
            Amount::Unset
        } else {
            Amount::Zero
        })
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Amount, E> {
        Ok(Amount::Unset)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Amount, E> {
        Ok(Amount::Unset)
    }
}
