//! Length limits of lines for terminals and audit logs.

use std::borrow::Cow;

/// Bytes that are reserved for the line that counts the rest.
const RESERVED: usize = 32;

/// The limits of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) characters: usize,
    pub(super) bytes: usize,
}

/// The limits of several lines together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines {
    pub(super) lines: usize,
    /// Of the whole text. A separator of two lines counts as two bytes.
    pub(super) bytes: usize,
}

impl Line {
    /// The text; where it is too long, its end is replaced by an ellipsis.
    pub(super) fn cut(self, text: Cow<'_, str>) -> String {
        let fits = |(number, (at, c)): &(usize, (usize, char))| {
            *number < self.characters && at + c.len_utf8() <= self.bytes
        };
        let characters = || text.char_indices().enumerate();
        if characters().all(|character| fits(&character)) {
            return text.into_owned();
        }
        let (last, mark) = (self.characters.saturating_sub(1), '…');
        let kept = characters().take_while(|(number, (at, c))| {
            *number < last && at + c.len_utf8() + mark.len_utf8() <= self.bytes
        });
        let end = kept.last().map_or(0, |(_, (at, c))| at + c.len_utf8());
        format!("{}{mark}", &text[..end])
    }
}

impl Lines {
    /// The lines that fit, followed by the number of the others, of a total that may be larger than
    /// the number of lines.
    pub(super) fn fit(self, lines: impl IntoIterator<Item = String>, total: usize) -> Vec<String> {
        let mut shown: Vec<String> = Vec::new();
        let mut free = self.bytes.saturating_sub(RESERVED);
        for line in lines.into_iter().take(self.lines) {
            let Some(left) = free.checked_sub(line.len() + 2) else { break };
            free = left;
            shown.push(line);
        }
        match total.saturating_sub(shown.len()) {
            0 => {}
            more => shown.push(format!("and {more} more")),
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_by_characters_and_by_bytes() {
        let cut = |text: &str, characters, bytes| Line { characters, bytes }.cut(text.into());
        assert_eq!(cut("abcd", 4, 4), "abcd");
        assert_eq!(cut("abcde", 4, 100), "abc…");
        assert_eq!(cut("ééééé", 5, 10), "ééééé");
        assert_eq!(cut("ééééé", 5, 9), "ééé…");
        assert_eq!(cut("", 4, 4), "");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let lines = |number: usize| (0..number).map(|_| "x".repeat(10));
        let limits = Lines { lines: 3, bytes: 100 };
        assert_eq!(limits.fit(lines(3), 3).len(), 3);
        assert_eq!(limits.fit(lines(3), 7).last().unwrap(), "and 4 more");
        assert_eq!(limits.fit(lines(5), 5).last().unwrap(), "and 2 more");
        let narrow = Lines { lines: 9, bytes: 56 };
        assert_eq!(narrow.fit(lines(3), 3).len(), 3, "two and the rest");
    }
}
