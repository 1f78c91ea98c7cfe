//! Lines for terminals and audit logs, each within its limits whatever names there are.

use std::borrow::Cow;

use crate::text::printable;

/// The longest text of a name or a finding within a line, in characters.
const MAX_PART: usize = 200;
/// What is kept free for the line that counts the rest, in bytes.
const REST: usize = 32;

/// The limits of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) characters: usize,
    pub(super) bytes: usize,
}

/// The limits of several lines together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) lines: usize,
    /// Of the whole text, what stands between two lines counted as two bytes.
    pub(super) bytes: usize,
}

impl Line {
    /// The text, its end replaced by an ellipsis where it is too long.
    pub(super) fn cut(self, text: Cow<'_, str>) -> String {
        let has_room = |(number, (at, c)): &(usize, (usize, char))| {
            *number < self.characters && at + c.len_utf8() <= self.bytes
        };
        let characters = || text.char_indices().enumerate();
        if characters().all(|character| has_room(&character)) {
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

/// Text from a user as a part of a line: it begins no line of its own, and leaves room for the
/// rest of it.
pub(super) fn part(text: &str) -> String {
    let limit = Line { characters: MAX_PART, bytes: 4 * MAX_PART };
    // Cut before it is looked through: an image may be megabytes long. A character that is not
    // printable becomes one that is.
    let head = text.char_indices().nth(MAX_PART + 1).map_or(text, |(end, _)| &text[..end]);
    limit.cut(printable(head))
}

/// The lines that fit, and one that counts what is left out of so many.
pub(super) fn fitting(
    lines: impl IntoIterator<Item = String>,
    total: usize,
    room: Room,
) -> Vec<String> {
    let mut shown: Vec<String> = Vec::new();
    let mut free = room.bytes.saturating_sub(REST);
    for line in lines.into_iter().take(room.lines) {
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
    fn a_part_is_printable_and_short() {
        assert_eq!(part("web\nWarning: \u{202e}x"), "web\u{fffd}Warning: \u{fffd}x");
        let long = part(&"\u{7}".repeat(5_000_000));
        assert_eq!((long.chars().count(), long.ends_with("\u{fffd}…")), (200, true));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let lines = |number: usize| (0..number).map(|_| "x".repeat(10));
        let room = Room { lines: 3, bytes: 100 };
        assert_eq!(fitting(lines(3), 3, room).len(), 3);
        assert_eq!(fitting(lines(3), 7, room).last().unwrap(), "and 4 more");
        assert_eq!(fitting(lines(5), 5, room).last().unwrap(), "and 2 more");
        let narrow = Room { lines: 9, bytes: 56 };
        assert_eq!(fitting(lines(3), 3, narrow).len(), 3, "two and the rest");
    }
}
