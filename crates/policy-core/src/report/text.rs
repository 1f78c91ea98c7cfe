//! What the renderers for people share.

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

/// The text, cut to so many characters.
pub(super) fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    if text.chars().nth(most).is_none() {
        return text.into();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…").into()
}

/// `1 pod`, `2 pods`.
pub(super) fn counted(number: u64, noun: &str) -> String {
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
    fn long_text_is_cut() {
        assert_eq!((shortened("abcd", 4), shortened("abcde", 4)), ("abcd".into(), "abc…".into()));
    }
}
