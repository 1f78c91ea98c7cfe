//! External text made short and printable, and plurals.

use std::borrow::Cow;

use k8s_openapi::jiff::Timestamp;

/// Whether a character is safe to show. One is not if it moves the cursor, reorders or breaks the
/// line, or is not allowed in XML.
#[must_use]
pub fn is_printable(c: char) -> bool {
    let reorders =
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !reorders && !matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Text from a manifest, a kubeconfig, a server or a file name, on one line and safe to show.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_unsafe = |c: char| !is_printable(c);
    if text.contains(is_unsafe) { text.replace(is_unsafe, "\u{fffd}").into() } else { text.into() }
}

/// The longest prefix of at most so many characters and bytes.
#[must_use]
pub fn prefix(text: &str, characters: usize, bytes: usize) -> &str {
    if text.len() <= characters.min(bytes) {
        return text;
    }
    let ends = text.char_indices().map(|(start, c)| start + c.len_utf8());
    let end = ends.take(characters).take_while(|end| *end <= bytes).last();
    &text[..end.unwrap_or_default()]
}

/// The text; if it has more characters or bytes, its end is replaced by an ellipsis.
#[must_use]
pub fn truncated(text: Cow<'_, str>, characters: usize, bytes: usize) -> Cow<'_, str> {
    const ELLIPSIS: &str = "…";
    if prefix(&text, characters, bytes).len() == text.len() {
        return text;
    }
    let bytes = bytes.saturating_sub(ELLIPSIS.len());
    format!("{}{ELLIPSIS}", prefix(&text, characters.saturating_sub(1), bytes)).into()
}

/// The longest name of any object in Kubernetes, in characters. A longer one is cut, because every
/// finding of its object repeats it.
const MAX_NAME: usize = 253;

/// The name, cut to [`MAX_NAME`].
pub(crate) fn bounded_name(name: &str) -> &str {
    prefix(name, MAX_NAME, usize::MAX)
}

/// The longest external text within a message, in characters.
const MAX_EXCERPT: usize = 200;

/// External text as a part of a message: printable, and cut so that the rest of the message stays
/// readable. An image reference, for example, may be megabytes long.
pub(crate) fn excerpt(text: &str) -> Cow<'_, str> {
    match truncated(text.into(), MAX_EXCERPT, usize::MAX) {
        Cow::Borrowed(text) => printable(text),
        Cow::Owned(text) => printable(&text).into_owned().into(),
    }
}

/// What a finding is about, and its name: a container, or the volume whose facts are named
/// `volumes[NAME]`.
#[must_use]
pub fn container_or_volume(name: &str) -> (&'static str, &str) {
    let volume = name.strip_prefix("volumes[").and_then(|rest| rest.strip_suffix(']'));
    volume.map_or(("container", name), |volume| ("volume", volume))
}

/// `container web missing liveness probe`: what was found, with what it is about.
#[must_use]
pub fn clause(container: Option<&str>, message: &str) -> String {
    match container.map(container_or_volume) {
        Some((what, name)) => format!("{what} {name} {message}"),
        None => message.to_owned(),
    }
}

/// Why a finding is accepted, and until when: `exempted until 2027-01-01T00:00:00Z: it is replaced`.
#[must_use]
pub fn exempted(until: Option<Timestamp>, reason: &str) -> String {
    let until = until.map(|ends| format!(" until {ends}")).unwrap_or_default();
    format!("exempted{until}: {reason}")
}

/// `1 pod`, `2 pods`.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// The note on a workload whose rollout is stuck, with the reason.
#[must_use]
pub fn stuck_rollout(why: &str) -> String {
    format!("rollout is stuck: {why}")
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
    fn a_text_is_cut_between_characters() {
        assert_eq!(prefix("aé", 9, 2), "a");
        assert_eq!(prefix("aé", 9, 3), "aé");
        let cut =
            |text: &str, characters, bytes| truncated(text.into(), characters, bytes).into_owned();
        assert_eq!(cut("aéb", 9, 4), "aéb");
        assert_eq!(cut("aéé", 9, 4), "a…");
        assert_eq!(cut("abcd", 4, 4), "abcd");
        assert_eq!(cut("abcde", 4, 100), "abc…");
        assert_eq!(cut("ééééé", 5, 10), "ééééé");
        assert_eq!(cut("ééééé", 5, 9), "ééé…");
        assert_eq!(cut("", 4, 4), "");
    }

    #[test]
    fn an_image_volume_is_no_container() {
        assert_eq!(container_or_volume("web"), ("container", "web"));
        assert_eq!(container_or_volume("containers[2]"), ("container", "containers[2]"));
        assert_eq!(container_or_volume("volumes[models]"), ("volume", "models"));
    }

    #[test]
    fn an_excerpt_is_printable_and_short() {
        assert_eq!(excerpt("web\nWarning: \u{202e}x"), "web\u{fffd}Warning: \u{fffd}x");
        assert_eq!(excerpt(&"x".repeat(200)), "x".repeat(200));
        let long = excerpt(&"\u{7}".repeat(5_000_000)).into_owned();
        assert_eq!((long.chars().count(), long.ends_with("\u{fffd}…")), (200, true));
    }
}
