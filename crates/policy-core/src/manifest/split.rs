//! Splits a manifest into its documents before any of them is parsed, so that a document that
//! cannot be parsed does not affect the others.

use serde::de::IgnoredAny;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// One document of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// Its position in the file, from 1.
    pub number: u32,
    /// The line of the file on which it starts, from 1.
    pub first_line: u32,
    /// The byte of the file at which it starts.
    pub start: usize,
    /// Its bytes, in YAML with the separator before it.
    pub bytes: &'a [u8],
    /// Whether the document is JSON, which allows characters that YAML does not (RFC 8259
    /// section 7).
    pub is_json: bool,
    /// Whether its objects are read as custom checks see them, too.
    pub reads_custom: bool,
}

/// The line of the file for a line of a text that starts on `first_line`.
pub(super) fn file_line(first_line: u32, line: u32) -> u32 {
    first_line.saturating_add(line.saturating_sub(1))
}

/// The documents of a manifest: JSON objects one after the other, as `kubectl` accepts them, or
/// YAML documents between `---` and `...`.
///
/// YAML forbids both markers at the start of a line inside a document (`c-forbidden`,
/// <https://yaml.org/spec/1.2.2/#912-document-markers>), so splitting at such lines is exact, also
/// where the document between them is broken.
#[must_use]
pub fn documents(bytes: &[u8]) -> Vec<Document<'_>> {
    let mut documents = Documents { file: bytes, found: Vec::new(), count: 0, line: 1 };
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let rest = documents.take_json(bytes);
    documents.take_yaml(rest);
    documents.found
}

struct Documents<'a> {
    file: &'a [u8],
    found: Vec<Document<'a>>,
    /// Documents so far, empty ones included.
    count: usize,
    /// The line of the next byte.
    line: usize,
}

impl<'a> Documents<'a> {
    fn push(&mut self, first_line: usize, bytes: &'a [u8], is_json: bool) {
        self.count += 1;
        self.found.push(Document {
            number: saturate(self.count),
            first_line: saturate(first_line),
            start: bytes.as_ptr().addr() - self.file.as_ptr().addr(),
            bytes,
            is_json,
            reads_custom: false,
        });
    }

    /// Takes the JSON objects at the start and returns what follows them.
    fn take_json(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        loop {
            let text = rest.trim_ascii_start();
            let Some(length) = json_object(text) else {
                // Space at the start may be indentation that YAML needs.
                return if self.found.is_empty() { rest } else { self.skip(rest, text) };
            };
            let (object, after) = text.split_at(length);
            self.skip(rest, text);
            self.push(self.line, object, true);
            rest = self.skip(text, after);
        }
    }

    /// Advances from one position to a later one.
    fn skip(&mut self, from: &[u8], to: &'a [u8]) -> &'a [u8] {
        self.line += newlines(&from[..from.len() - to.len()]);
        to
    }

    fn take_yaml(&mut self, bytes: &'a [u8]) {
        let mut start = 0;
        let mut first_line = self.line;
        let mut offset = 0;
        // A document exists once it has a marker or a line that is more than a comment or a
        // directive; directives (`%YAML 1.2`) belong to the marker after them.
        let (mut has_marker, mut has_content) = (false, false);
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            let end = offset + line.len();
            let text = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
            if let Some(rest) = after_marker(text, b"---") {
                if has_marker || has_content {
                    self.end_document(first_line, &bytes[start..offset], has_content);
                }
                if has_marker || has_content || text.len() < line.len() {
                    (start, first_line) = (end - text.len(), self.line);
                }
                (has_marker, has_content) = (true, is_content(rest));
            } else if after_marker(text, b"...").is_some() {
                if has_marker || has_content {
                    self.end_document(first_line, &bytes[start..offset], has_content);
                }
                (start, first_line) = (end, self.line + 1);
                (has_marker, has_content) = (false, false);
            } else {
                // Concatenated files keep their byte-order marks, which the YAML parser refuses
                // after `---` (YAML 1.2.2 section 9.1.1 allows them before it).
                if text.len() < line.len() && !has_content {
                    (start, first_line) = (end - text.len(), self.line);
                }
                has_content |= is_content(text);
            }
            offset = end;
            self.line += 1;
        }
        if has_marker || has_content {
            self.end_document(first_line, &bytes[start..], has_content);
        }
    }

    /// An empty document is numbered, but not returned.
    fn end_document(&mut self, first_line: usize, bytes: &'a [u8], has_content: bool) {
        if !has_content {
            self.count += 1;
            return;
        }
        let body = after_marker(bytes, b"---").unwrap_or(bytes);
        let text = body.trim_ascii();
        if json_object(text) == Some(text.len()) {
            let before = newlines(&bytes[..bytes.len() - body.trim_ascii_start().len()]);
            self.push(first_line + before, text, true);
        } else {
            self.push(first_line, bytes, false);
        }
    }
}

/// The length of the JSON object at the start of a text.
fn json_object(text: &[u8]) -> Option<usize> {
    text.first().filter(|first| **first == b'{')?;
    let mut stream = serde_json::Deserializer::from_slice(text).into_iter();
    let Some(Ok(IgnoredAny)) = stream.next() else {
        return None;
    };
    Some(stream.byte_offset())
}

/// What follows the marker, where the line starts with it and the marker ends there.
fn after_marker<'a>(line: &'a [u8], marker: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(marker)?;
    rest.first().is_none_or(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')).then_some(rest)
}

/// Whether a line is more than a blank line, a comment or a directive.
fn is_content(line: &[u8]) -> bool {
    let text = line.trim_ascii();
    !text.is_empty() && text[0] != b'#' && line[0] != b'%'
}

fn newlines(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count()
}

fn saturate(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(number, first line, text)` of each document.
    fn split(text: &str) -> Vec<(u32, u32, &str)> {
        documents(text.as_bytes())
            .into_iter()
            .map(|d| (d.number, d.first_line, std::str::from_utf8(d.bytes).unwrap()))
            .collect()
    }

    #[test]
    fn documents_keep_their_lines() {
        assert_eq!(
            split("a: 1\n---\nb: 2\n--- # named\nc: 3\n"),
            [(1, 1, "a: 1\n"), (2, 2, "---\nb: 2\n"), (3, 4, "--- # named\nc: 3\n")]
        );
        assert_eq!(split("a: 1\r\n---\r\nb: 2"), [(1, 1, "a: 1\r\n"), (2, 2, "---\r\nb: 2")]);
    }

    #[test]
    fn documents_know_where_they_start() {
        for text in
            ["\u{feff}a: 1\n---\nb: 2\n...\nc: 3", "{\"a\": 1} {\"b\": 2}\n---\n{\"c\": 3}\n"]
        {
            for Document { start, bytes, .. } in documents(text.as_bytes()) {
                assert_eq!(&text.as_bytes()[start..start + bytes.len()], bytes, "{text}");
            }
        }
    }

    #[test]
    fn comments_and_directives_before_a_marker_are_no_document() {
        assert_eq!(split("# licence\n\n---\na: 1\n").len(), 1);
        assert_eq!(split("%YAML 1.2\n---\na: 1\n"), [(1, 1, "%YAML 1.2\n---\na: 1\n")]);
        assert_eq!(split("---\n# nothing\n---\na: 1\n"), [(2, 3, "---\na: 1\n")]);
        assert_eq!(split("--- {a: 1}\n--- # b\n").len(), 1);
        assert!(split("").is_empty() && split("# only\n\n").is_empty());
    }

    #[test]
    fn an_end_marker_ends_a_document() {
        assert_eq!(split("a: 1\n...\n# x\nb: 2\n"), [(1, 1, "a: 1\n"), (2, 3, "# x\nb: 2\n")]);
        assert!(split("...\n...\n").is_empty());
    }

    #[test]
    fn only_whole_markers_at_the_start_of_a_line_count() {
        for text in
            ["a: |\n  ---\n  b\n", "a: 1\n----\n", "a: 1\n---b\n", "a: 1\n ---\n", "a: ...\n"]
        {
            assert_eq!(split(text).len(), 1, "{text:?}");
        }
    }

    #[test]
    fn json_objects_may_follow_each_other() {
        assert_eq!(
            split("{\"a\":\n1}\n\n{\"b\": 2}{\"c\": 3}\n"),
            [(1, 1, "{\"a\":\n1}"), (2, 4, "{\"b\": 2}"), (3, 4, "{\"c\": 3}")]
        );
        assert_eq!(split("{\"a\": 1}\n---\nb: 2\n"), [(1, 1, "{\"a\": 1}"), (2, 2, "---\nb: 2\n")]);
    }

    #[test]
    fn what_only_looks_like_json_is_yaml() {
        for text in ["{a: b}\n", "{{ .Values.x }}\n", "{\"a\": 1", "{"] {
            assert_eq!(split(text), [(1, 1, text)]);
        }
        assert_eq!(split("{\"a\": 1}\n{\"b\": \n"), [(1, 1, "{\"a\": 1}"), (2, 2, "{\"b\": \n")]);
    }

    #[test]
    fn a_byte_order_mark_is_no_content() {
        assert_eq!(split("\u{feff}a: 1\n"), [(1, 1, "a: 1\n")]);
        assert_eq!(split("a: 1\n---\n\u{feff}b: 2\n"), [(1, 1, "a: 1\n"), (2, 3, "b: 2\n")]);
        assert_eq!(split("a: 1\n\u{feff}---\nb: 2\n")[1], (2, 2, "---\nb: 2\n"));
        assert_eq!(split("---\n# Source: x\n\u{feff}# y\na: 1\n"), [(1, 3, "# y\na: 1\n")]);
        assert_eq!(split("\u{feff}\u{feff}---\na: 1\n"), [(1, 1, "---\na: 1\n")]);
        assert_eq!(split("a: |\n  \u{feff}b\n").len(), 1);
    }

    #[test]
    fn a_json_object_between_markers_is_json() {
        let found = documents(b"a: 1\n---\n\n{\"b\":\n2}\n--- {\"c\": 3}\n---\n{d: 4}\n");
        let kinds: Vec<_> = found.iter().map(|d| (d.number, d.first_line, d.is_json)).collect();
        assert_eq!(kinds, [(1, 1, false), (2, 4, true), (3, 6, true), (4, 7, false)]);
        assert_eq!(found[1].bytes, b"{\"b\":\n2}");
    }
}
