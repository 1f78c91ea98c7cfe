//! A request or limit, as far as checks need it.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use crate::quantity::ParsedQuantity;

/// A request or limit, as the API server would store it. Ordered: the less, the worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Amount {
    /// The key is absent.
    #[default]
    Unset,
    /// A value that the API server refuses, such as `1GB` or `-1`.
    Invalid,
    /// Zero. The API server stores `null` as `"0"`, because the Go type of a quantity decodes it
    /// so. A limit of zero is no limit.
    Zero,
    /// Greater than zero.
    Positive,
}

impl Amount {
    fn of(parsed: Option<ParsedQuantity>) -> Self {
        match parsed {
            Some(parsed) if parsed.is_zero() => Self::Zero,
            Some(parsed) if !parsed.is_negative() => Self::Positive,
            _ => Self::Invalid,
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AmountVisitor)
    }
}

/// Takes a string or any number: YAML decodes `0.5` as a number, and so does the API server.
struct AmountVisitor;

impl Visitor<'_> for AmountVisitor {
    type Value = Amount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quantity, such as 100m or 128Mi")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
        // The API server trims: `UnmarshalJSON` in
        // <https://github.com/kubernetes/apimachinery/blob/master/pkg/api/resource/quantity.go>.
        Ok(Amount::of(ParsedQuantity::parse(text.trim())))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Amount, E> {
        Ok(match number {
            0 => Amount::Zero,
            1.. => Amount::Positive,
            _ => Amount::Invalid,
        })
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Amount, E> {
        Ok(if number == 0 { Amount::Zero } else { Amount::Positive })
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Amount, E> {
        Ok(if number > 0.0 {
            Amount::Positive
        } else if number < 0.0 || number.is_nan() {
            Amount::Invalid
        } else {
            Amount::Zero
        })
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Amount, E> {
        Ok(Amount::Invalid)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Amount, E> {
        Ok(Amount::Zero)
    }
}
