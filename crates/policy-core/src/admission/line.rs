//! Length limits of lines for terminals and audit logs.

use crate::text::truncated;

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
    /// All lines together. The separator between two lines counts as two bytes.
    pub(super) bytes: usize,
}

impl Line {
    /// The text; where it is too long, its end is replaced by an ellipsis.
    pub(super) fn cut(self, text: String) -> String {
        truncated(text.into(), self.characters, self.bytes).into_owned()
    }
}

impl Lines {
    /// The lines that fit, followed by a line with the number of the others. `total` may be larger
    /// than the number of lines.
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
