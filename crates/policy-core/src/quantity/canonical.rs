//! Quantities as the API server writes them.

use super::{NANOS, NANOS_PER_UNIT, ParsedQuantity};

const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];

/// The text in canonical form: the largest suffix of its own sort without a fraction, so that `1024Mi`
/// is `1Gi` and `1000m` is `1` (`CanonicalizeBytes` in
/// <https://github.com/kubernetes/apimachinery/blob/master/pkg/api/resource/quantity.go>). `None`
/// where it is no quantity, or one that no suffix is large enough for.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let ParsedQuantity(nanos) = ParsedQuantity::parse(text)?;
    let (units, is_whole) = (nanos / NANOS_PER_UNIT, nanos % NANOS_PER_UNIT == 0);
    if nanos == 0 {
        return Some("0".to_owned());
    }
    if text.ends_with('i') && is_whole && units.abs() >= 1024 {
        let (mantissa, power) = without_factors(units, 1024);
        // Binary suffixes end at 2⁶⁰.
        return BINARY.get(power).map(|suffix| format!("{mantissa}{suffix}"));
    }
    let (mantissa, power) = without_factors(nanos, 1000);
    // Not the suffix `E`, which no digit follows.
    let is_exponent = text.contains('e') || text.contains('E') && !text.ends_with('E');
    if is_exponent && !text.ends_with('i') {
        return Some(match i32::try_from(power).ok()? * 3 - NANOS {
            0 => mantissa.to_string(),
            exponent => format!("{mantissa}e{exponent}"),
        });
    }
    DECIMAL.get(power).map(|suffix| format!("{mantissa}{suffix}"))
}

/// A number that is not zero without these factors, and how many it had.
fn without_factors(mut number: i128, factor: i128) -> (i128, usize) {
    let mut power = 0;
    while number % factor == 0 {
        number /= factor;
        power += 1;
    }
    (number, power)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The right values are those of `resource.ParseQuantity` and `String` of apimachinery 0.37.
    #[test]
    fn a_quantity_is_written_as_the_api_server_writes_it() {
        for (text, expected) in [
            ("1", "1"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1025Ki", "1025Ki"),
            ("1000Mi", "1000Mi"),
            ("1000k", "1M"),
            ("1000000", "1M"),
            ("134217728", "134217728"),
            ("0.1Ki", "102400m"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("1000e0", "1e3"),
            ("12E", "12E"),
            ("1Ei", "1Ei"),
            ("-1000m", "-1"),
            ("+2", "2"),
            ("0Gi", "0"),
            ("100u", "100u"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "1x", "Gi"] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }
}
