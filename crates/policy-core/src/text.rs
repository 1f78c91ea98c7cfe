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
    bounded(name, MAX_NAME)
}

/// The text, cut to that many characters.
pub(crate) fn bounded(text: &str, max_characters: usize) -> &str {
    if text.len() <= max_characters {
        return text;
    }
    text.char_indices().nth(max_characters).map_or(text, |(end, _)| &text[..end])
}

/// The longest text from outside within a message, in characters.
const MAX_EXCERPT: usize = 200;

/// Text from outside as a part of a message: printable, and cut so that the rest of the message
/// stays readable. An image reference, for example, may be megabytes long.
pub(crate) fn excerpt(text: &str) -> Cow<'_, str> {
    let head = bounded(text, MAX_EXCERPT);
    if head.len() == text.len() {
        return printable(text);
    }
    format!("{}…", printable(bounded(head, MAX_EXCERPT - 1))).into()
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

    #[test]
    fn an_excerpt_is_printable_and_short() {
        assert_eq!(excerpt("web\nWarning: \u{202e}x"), "web\u{fffd}Warning: \u{fffd}x");
        assert_eq!(excerpt(&"x".repeat(200)), "x".repeat(200));
        let long = excerpt(&"\u{7}".repeat(5_000_000)).into_owned();
        assert_eq!((long.chars().count(), long.ends_with("\u{fffd}…")), (200, true));
    }
}
