//! Where the text of a document gets new fields, and how they are written.

use std::fmt::Write as _;

use granit_parser::{ScalarStyle, StructureStyle};

use super::addition::{Addition, Entry, written};
use super::obstacle::Obstacle;
use super::tree::{Content, Node, Tree};

/// A text that is put into another one; nothing of that is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insertion {
    /// The byte before which it is put.
    pub at: usize,
    /// The text.
    pub text: String,
}

/// The text with the insertions, which are sorted.
#[must_use]
pub fn inserted(text: &str, insertions: &[Insertion]) -> String {
    let more: usize = insertions.iter().map(|insertion| insertion.text.len()).sum();
    let mut result = String::with_capacity(text.len() + more);
    let mut written = 0;
    for Insertion { at, text: new } in insertions {
        result += text.get(written..*at).unwrap_or_default();
        result += new;
        written = *at;
    }
    result + text.get(written..).unwrap_or_default()
}

/// Writes new fields into a document.
pub(super) struct Inserter<'a> {
    text: &'a str,
    tree: &'a Tree<'a>,
    /// The spaces by which a mapping is indented in another one.
    step: usize,
}

impl<'a> Inserter<'a> {
    pub(super) fn new(text: &'a str, tree: &'a Tree<'a>) -> Self {
        Self { text, tree, step: step(&tree.root) }
    }

    /// The insertions that add the entries to a mapping.
    pub(super) fn add(
        &self,
        mapping: &Node<'_>,
        entries: &[Entry],
    ) -> Result<Vec<Insertion>, Obstacle> {
        let Content::Mapping(style, existing) = &mapping.content else {
            return Err(Obstacle::NotFound);
        };
        if self.tree.is_shared(mapping) {
            return Err(Obstacle::SharedAnchor);
        }
        let is_flow = *style == StructureStyle::Flow;
        if mapping.has_merge_key() {
            return Err(Obstacle::MergeKey);
        }
        let (mut insertions, mut missing) = (Vec::new(), Vec::new());
        for entry @ (name, addition) in entries {
            match mapping.entry(name) {
                None => missing.push(entry),
                Some((key, value)) => {
                    insertions.extend(self.add_to(mapping, (key, value), name, addition)?);
                }
            }
        }
        if !missing.is_empty() {
            insertions.push(if is_flow {
                self.in_flow(mapping, existing, &missing)?
            } else {
                let (_, last) = existing.last().ok_or(Obstacle::NotFound)?;
                let last_key = existing.last().map_or(mapping, |(key, _)| key);
                let first = existing.first().map_or(mapping, |(key, _)| key);
                self.below(self.content_end(last_key, last), first.column, &missing)?
            });
        }
        Ok(insertions)
    }

    /// The insertions into the value of a key that is there already.
    fn add_to(
        &self,
        mapping: &Node<'_>,
        (key, value): (&Node<'_>, &Node<'_>),
        name: &'static str,
        addition: &Addition,
    ) -> Result<Vec<Insertion>, Obstacle> {
        let Addition::Mapping(entries) = addition else { return Err(Obstacle::Set(name)) };
        match &value.content {
            Content::Mapping(..) => self.add(value, entries),
            Content::Alias(_) => Err(Obstacle::Alias(name)),
            // `resources:` with nothing behind it.
            Content::Scalar(text, ScalarStyle::Plain)
                if text.is_empty() && value.anchor == 0 && value.tag.is_none() =>
            {
                let is_block =
                    matches!(mapping.content, Content::Mapping(StructureStyle::Block, _));
                let column = key.column + self.step;
                let entries: Vec<&Entry> = entries.iter().collect();
                let below = || self.below(key.end, column, &entries).map(|below| vec![below]);
                if is_block { below() } else { Err(Obstacle::Set(name)) }
            }
            Content::Scalar(text, ScalarStyle::Plain) if matches!(&**text, "null" | "~") => {
                Err(Obstacle::Null(name))
            }
            _ => Err(Obstacle::Set(name)),
        }
    }

    /// New entries of a flow mapping, behind its last one.
    fn in_flow(
        &self,
        mapping: &Node<'_>,
        existing: &[(Node<'_>, Node<'_>)],
        missing: &[&Entry],
    ) -> Result<Insertion, Obstacle> {
        let text = self.text.get(mapping.start..mapping.end).ok_or(Obstacle::NotFound)?;
        // Only where lines break can a comment be in it.
        if text.contains('\n') && text.contains('#') {
            return Err(Obstacle::FlowWithComments);
        }
        let new = missing.iter().map(|entry| flow(entry)).collect::<Vec<_>>().join(", ");
        Ok(match existing.last() {
            Some((_, value)) => Insertion { at: value.end, text: format!(", {new}") },
            None => Insertion { at: mapping.start + 1, text: new },
        })
    }

    /// New lines below the line of a place.
    fn below(&self, end: usize, column: usize, entries: &[&Entry]) -> Result<Insertion, Obstacle> {
        let line_end = self.line_end(end);
        let behind = self.text.get(end.min(line_end)..line_end).ok_or(Obstacle::NotFound)?;
        // Of a key without a value, the colon.
        let behind = behind.strip_prefix(':').unwrap_or(behind).trim_start();
        if !(behind.is_empty() || behind.starts_with('#')) {
            return Err(Obstacle::NotFound);
        }
        let before = self.text.get(..line_end).ok_or(Obstacle::NotFound)?;
        let newline =
            if before.trim_end_matches(|c| c != '\n').ends_with("\r\n") { "\r\n" } else { "\n" };
        let mut text = String::new();
        for entry in entries {
            block(entry, column, self.step, newline, &mut text);
        }
        if !before.is_empty() && !before.ends_with('\n') {
            // The last line of a file without a line break at its end, which stays so.
            text.truncate(text.len() - newline.len());
            text.insert_str(0, newline);
        }
        Ok(Insertion { at: line_end, text })
    }

    /// Where the text of an entry ends. That of a value that is not written is the end of its key.
    fn content_end(&self, key: &Node<'_>, value: &Node<'_>) -> usize {
        match &value.content {
            Content::Mapping(StructureStyle::Block, entries) => {
                entries.last().map_or(key.end, |(key, value)| self.content_end(key, value))
            }
            Content::Sequence(StructureStyle::Block, items) => {
                items.last().map_or(key.end, |item| self.content_end(item, item))
            }
            Content::Scalar(text, ScalarStyle::Plain) if text.is_empty() => key.end,
            Content::Scalar(text, ScalarStyle::Literal | ScalarStyle::Folded) => {
                self.block_end(text, value.end)
            }
            _ => value.end,
        }
    }

    /// The end of a block scalar, which the parser sees where the next token starts. Blank lines
    /// below it are a part of it only with `+`.
    fn block_end(&self, scalar: &str, end: usize) -> usize {
        let before = self.text.get(..end).unwrap_or_default().trim_end_matches(' ');
        if scalar.ends_with("\n\n") || !before.ends_with('\n') {
            return before.len();
        }
        let content = before.trim_end();
        content.len()
            + before.get(content.len()..).and_then(|rest| rest.find('\n')).map_or(0, |at| at + 1)
    }

    /// The end of the line of a place, with its line break. The place is the end of a value: that of
    /// a block scalar can be the start of a later line.
    fn line_end(&self, place: usize) -> usize {
        let before = self.text.get(..place).unwrap_or_default();
        if before.ends_with('\n') {
            return place;
        }
        let rest = self.text.get(place..).unwrap_or_default();
        rest.find('\n').map_or(self.text.len(), |line_break| place + line_break + 1)
    }
}

/// By how much the first mapping in another one is indented.
fn step(root: &Node<'_>) -> usize {
    let nested = root.entries().iter().find_map(|(key, value)| {
        let Content::Mapping(StructureStyle::Block, entries) = &value.content else { return None };
        let (first, _) = entries.first()?;
        first.column.checked_sub(key.column)
    });
    nested.filter(|step| (1..=8).contains(step)).unwrap_or(2)
}

fn block((key, addition): &Entry, column: usize, step: usize, newline: &str, text: &mut String) {
    // Writing into a String cannot fail.
    let _ = match addition {
        Addition::Scalar(scalar) => {
            write!(text, "{:column$}{key}: {}{newline}", "", written(scalar))
        }
        Addition::Mapping(_) => write!(text, "{:column$}{key}:{newline}", ""),
    };
    if let Addition::Mapping(entries) = addition {
        for entry in entries {
            block(entry, column + step, step, newline, text);
        }
    }
}

fn flow((key, addition): &Entry) -> String {
    match addition {
        Addition::Scalar(scalar) => format!("{key}: {}", written(scalar)),
        Addition::Mapping(entries) => {
            let entries: Vec<String> = entries.iter().map(flow).collect();
            format!("{key}: {{{}}}", entries.join(", "))
        }
    }
}
