//! Limits of the Kubernetes API on names and texts.

use policy_kube::names::LONGEST_SUBDOMAIN;

/// The name of an object: the start, cut so that the end fits, and the end.
pub(crate) fn object_name(start: &str, end: &str) -> String {
    let start = prefix(start, LONGEST_SUBDOMAIN.saturating_sub(end.len()));
    // A label of a DNS subdomain ends with a letter or a digit.
    format!("{}{end}", start.trim_end_matches(['.', '-']))
}

/// The longest prefix of at most that many bytes.
pub(crate) fn prefix(text: &str, bytes: usize) -> &str {
    let ends = text.char_indices().map(|(start, char)| start + char.len_utf8());
    &text[..ends.take_while(|end| *end <= bytes).last().unwrap_or_default()]
}

/// A text of at most that many bytes, with an ellipsis where it was cut.
pub(crate) fn truncated(text: String, bytes: usize) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() <= bytes {
        return text;
    }
    format!("{}{ELLIPSIS}", prefix(&text, bytes.saturating_sub(ELLIPSIS.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_to_a_valid_one() {
        assert_eq!(object_name("strict", "-1"), "strict-1");
        let long = format!("{}.{}", "a".repeat(229), "b".repeat(23));
        assert_eq!(object_name(&long, "-end"), format!("{}-end", &long[..249]));
        let end = format!(".{}", "e".repeat(22));
        assert_eq!(object_name(&long, &end), format!("{}{end}", "a".repeat(229)));
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(prefix("aé", 2), "a");
        assert_eq!(prefix("aé", 3), "aé");
        assert_eq!(truncated("aéb".to_owned(), 4), "aéb");
        assert_eq!(truncated("aéé".to_owned(), 4), "a…");
    }
}
