//! Names from outside made short and printable, and plurals.

use std::borrow::Cow;

/// Text from a manifest or of a file name as it may be shown: it can hold anything, also what
/// moves the cursor, reorders the line, begins a line of its own, or is not allowed in XML.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_odd = |c: char| {
        let reorders = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        c.is_control() || reorders || matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    if text.contains(is_odd) { text.replace(is_odd, "\u{fffd}").into() } else { text.into() }
}

/// The longest name that Kubernetes accepts of anything, in characters. A longer one is cut, because
/// every finding of its object repeats it.
const MAX_NAME: usize = 253;

/// The name, cut to [`MAX_NAME`].
pub(crate) fn bounded_name(name: &str) -> &str {
    if name.len() <= MAX_NAME {
        return name;
    }
    name.char_indices().nth(MAX_NAME).map_or(name, |(end, _)| &name[..end])
}

/// `1 pod`, `2 pods`.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_not_shown() {
        assert_eq!(printable("web"), "web");
        assert_eq!(printable("\u{1b}[2Jweb\0"), "\u{fffd}[2Jweb\u{fffd}");
        assert_eq!(printable("a\u{202e}b\u{2028}\u{feff}"), "a\u{fffd}b\u{fffd}\u{fffd}");
    }
}
