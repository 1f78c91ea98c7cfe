//! Kubernetes quantities (`100m`, `128Mi`, `2`), as
//! <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/> defines them.

mod canonical;

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

pub(crate) use canonical::canonical;

/// A quantity as in a manifest: a string or a whole number. Not validated; see
/// [`Quantity::parse`].
#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
#[serde(untagged)]
pub enum Quantity {
    /// A bare number, such as `2` or `134217728`.
    Number(i64),
    /// A number with an optional suffix, such as `100m`.
    Text(String),
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": 64,
        })
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(QuantityVisitor)
    }
}

struct QuantityVisitor;

impl Visitor<'_> for QuantityVisitor {
    type Value = Quantity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quantity: a whole number, or a string such as 100m")
    }

    fn visit_i64<E>(self, number: i64) -> Result<Quantity, E> {
        Ok(Quantity::Number(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Quantity, E> {
        let out_of_range = |_| E::invalid_value(de::Unexpected::Unsigned(number), &self);
        i64::try_from(number).map(Quantity::Number).map_err(out_of_range)
    }

    fn visit_str<E>(self, text: &str) -> Result<Quantity, E> {
        Ok(Quantity::Text(text.to_owned()))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl Quantity {
    /// The value; `None` where the text is not a quantity (unknown suffix, no digits) or the value
    /// is too large to compare (from about 10²⁰).
    #[must_use]
    pub fn parse(&self) -> Option<ParsedQuantity> {
        match self {
            Self::Number(number) => {
                i128::from(*number).checked_mul(NANOS_PER_UNIT).map(ParsedQuantity)
            }
            Self::Text(text) => ParsedQuantity::parse(text),
        }
    }
}

/// The value of a [`Quantity`], for comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ParsedQuantity(i128);

impl ParsedQuantity {
    /// The value of a quantity's text; `None` as with [`Quantity::parse`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse(text).map(Self)
    }

    /// Whether the value is zero. A limit of zero is no limit.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The value in whole units, rounded up; 0 for one below.
    #[must_use]
    pub fn units(self) -> u64 {
        let whole = self.0.max(0);
        let units = whole / NANOS_PER_UNIT + i128::from(whole % NANOS_PER_UNIT > 0);
        u64::try_from(units).unwrap_or(u64::MAX)
    }

    /// The value as a manifest has it: whole bytes of memory, or thousandths of a CPU, rounded up.
    pub(crate) fn written(self, resource: &str) -> String {
        if resource == "cpu" {
            let millis = Self(self.0.saturating_mul(1_000)).units();
            return format!("{millis}m");
        }
        match self.units() {
            bytes if bytes % (1 << 20) == 0 => format!("{}Mi", bytes >> 20),
            bytes => bytes.to_string(),
        }
    }

    /// Whether this is more than `ratio` times `other`.
    #[must_use]
    pub(crate) fn exceeds(self, other: Self, ratio: Self) -> bool {
        // Thousandths are enough for a ratio, and do not overflow.
        let thousandths = ratio.0 / (NANOS_PER_UNIT / 1_000);
        self.0.saturating_mul(1_000) > other.0.saturating_mul(thousandths)
    }

    /// Whether the value is below zero; no request or limit may be.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }
}

impl std::iter::Sum for ParsedQuantity {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        Self(all.fold(0, |sum, one| sum.saturating_add(one.0)))
    }
}

/// Kubernetes rounds up to the next nano-unit, its smallest.
const NANOS_PER_UNIT: i128 = 1_000_000_000;
/// The same as a power of ten.
const NANOS: i32 = 9;

fn parse(text: &str) -> Option<i128> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mut value, mut digits, mut end) = (0_u128, 0, 0);
    let mut point = None;
    for byte in unsigned.bytes() {
        match byte {
            b'0'..=b'9' => {
                value = value.checked_mul(10)?.checked_add(u128::from(byte - b'0'))?;
                digits += 1;
            }
            b'.' if point.is_none() => point = Some(digits),
            _ => break,
        }
        end += 1;
    }
    if digits == 0 {
        return None;
    }
    let (multiplier, mut exponent) = suffix_value(&unsigned[end..])?;
    let fraction = point.map_or(0, |point| digits - point);
    exponent += NANOS - fraction;
    value = value.checked_mul(multiplier)?;
    let power = 10_u128.checked_pow(exponent.unsigned_abs())?;
    value = if exponent < 0 { value.div_ceil(power) } else { value.checked_mul(power)? };
    let value = i128::try_from(value).ok()?;
    Some(if negative { -value } else { value })
}

/// The suffix as a factor and a power of ten.
fn suffix_value(suffix: &str) -> Option<(u128, i32)> {
    let decimal = |exponent| Some((1, exponent));
    let binary = |shift: u32| Some((1_u128 << shift, 0));
    match suffix {
        "" => decimal(0),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (-18..=18).contains(&exponent).then_some((1, exponent))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> Option<ParsedQuantity> {
        Quantity::Text(text.to_owned()).parse()
    }

    #[test]
    fn equal_amounts_compare_equal_however_they_are_written() {
        for (left, right) in [
            ("1", "1000m"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("1.", "1"),
            ("128Mi", "134217728"),
            ("1Gi", "1024Mi"),
            ("1e3", "1k"),
            ("1E3", "1000"),
            ("+1", "1"),
            ("12E", "12000000000000000000"),
        ] {
            assert_eq!(value(left), value(right), "{left} and {right}");
            assert!(value(left).is_some(), "{left}");
        }
        assert_eq!(Quantity::Number(2).parse(), value("2"));
    }

    proptest! {
        #[test]
        fn any_number_is_read_or_refused(
            text in "[+-]?[0-9]{0,42}(\\.[0-9]{0,42})?(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e-?[0-9]{1,3})?",
        ) {
            if let Some(parsed) = value(&text) {
                prop_assert!(!parsed.is_negative() || text.starts_with('-'), "{}", text);
            }
        }
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let close_to_the_limit = value("0.170141183460469231731687303715").unwrap();
        assert!(!close_to_the_limit.is_negative());
        assert!(close_to_the_limit < value("0.2").unwrap());
        assert_eq!(value("0.0000000001"), value("1n"), "rounded up");
    }

    #[test]
    fn order_follows_the_amount() {
        assert!(value("100m") < value("0.2"));
        assert!(value("1G") < value("1Gi"));
        assert!(value("-1").unwrap().is_negative());
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "-", ".", "Mi", "1mi", "1 Gi", "1..2", "1.2.3", "1e", "1e99", "lots", "１"]
        {
            assert_eq!(value(text), None, "{text}");
        }
    }
}
