//! Counts what anchors, aliases and merge keys of a document make the parser hold, before it is
//! parsed. A few bytes of text can stand for any number of nodes.

use granit_parser::{Event, Parser, ScalarStyle};

/// What the parser holds for a recorded event (`Ev` of serde-saphyr 2.1), in bytes.
const EVENT: usize = 150;
/// What it holds for an entry of a mapping that a `<<` names (`PendingEntry`), in bytes.
const ENTRY: usize = 800;
/// What the anchors and merge keys of a document may make the parser hold, in bytes.
pub(super) const MAX_HELD: usize = 32 << 20;
/// A document of this size cannot reach [`MAX_HELD`] within the parser's own limits.
const HARMLESS: usize = 8 << 10;

/// The line on which the anchors, aliases and merge keys so far take more than [`MAX_HELD`].
pub(super) fn excess(text: &str) -> Option<u32> {
    if text.len() <= HARMLESS || !(has_anchor(text.as_bytes()) || text.contains("<<")) {
        return None;
    }
    let options = granit_parser::options! { emit_comments: false };
    let mut scan = Scan::default();
    // Where the text is broken, the parser stops at the same place and says why.
    for (event, span) in Parser::new_from_str_with_options(text, options).map_while(Result::ok) {
        scan.event(&event);
        if scan.held > MAX_HELD {
            return Some(u32::try_from(span.start.line()).unwrap_or(u32::MAX));
        }
    }
    None
}

/// Whether a text may have an anchor: an `&` where a node can start.
pub(super) fn has_anchor(text: &[u8]) -> bool {
    memchr::memchr_iter(b'&', text).any(|at| {
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        let starts = before.is_none_or(|before| b" \t\r\n[{,:-".contains(before));
        let is_name = |after: &u8| !after.is_ascii_whitespace() && *after != b'&';
        starts && text.get(at + 1).is_some_and(is_name)
    })
}

/// The size of a node with its aliases and merge keys expanded.
#[derive(Clone, Copy, Default)]
struct Node {
    events: usize,
    /// Of a mapping its entries; of a list those of its members.
    entries: usize,
}

impl Node {
    const SCALAR: Self = Self { events: 1, entries: 0 };

    fn held(self) -> usize {
        self.events.saturating_mul(EVENT).saturating_add(self.entries.saturating_mul(ENTRY))
    }
}

/// A mapping or list that is open.
struct Open {
    anchor: usize,
    is_mapping: bool,
    node: Node,
    /// The number of keys and values, or of members.
    members: usize,
    /// Whether the last key is `<<`.
    is_merge: bool,
    /// What the merge keys of the mapping hold until it ends.
    held: usize,
}

#[derive(Default)]
struct Scan {
    open: Vec<Open>,
    /// The size of each anchored node by the number of its anchor.
    anchored: Vec<Node>,
    held: usize,
}

impl Scan {
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let is_merge_key = *style == ScalarStyle::Plain && text == "<<";
                self.end(Node::SCALAR, *anchor, is_merge_key);
            }
            Event::Alias(anchor) => {
                // An alias to a node that is still open is refused by the parser.
                let node = self.anchored.get(*anchor).copied().unwrap_or(Node::SCALAR);
                self.end(node, 0, false);
            }
            Event::SequenceStart(_, anchor, _) => self.start(*anchor, false),
            Event::MappingStart(_, anchor, _) => self.start(*anchor, true),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { anchor, node, held, .. }) = self.open.pop() {
                    self.held = self.held.saturating_sub(held);
                    let events = node.events.saturating_add(2);
                    self.end(Node { events, ..node }, anchor, false);
                }
            }
            _ => {}
        }
    }

    fn start(&mut self, anchor: usize, is_mapping: bool) {
        let node = Node::default();
        self.open.push(Open { anchor, is_mapping, node, members: 0, is_merge: false, held: 0 });
    }

    /// Adds a whole node to the mapping or list that it is in.
    fn end(&mut self, node: Node, anchor: usize, is_merge_key: bool) {
        if anchor != 0 {
            self.anchored.resize(self.anchored.len().max(anchor + 1), Node::default());
            self.anchored[anchor] = node;
            self.held = self.held.saturating_add(node.events.saturating_mul(EVENT));
        }
        let Some(parent) = self.open.last_mut() else { return };
        parent.node.events = parent.node.events.saturating_add(node.events);
        parent.members += 1;
        if !parent.is_mapping {
            parent.node.entries = parent.node.entries.saturating_add(node.entries);
        } else if parent.members % 2 == 1 {
            parent.is_merge = is_merge_key;
        } else if parent.is_merge {
            let held = node.held();
            parent.node.entries = parent.node.entries.saturating_add(node.entries);
            parent.held = parent.held.saturating_add(held);
            self.held = self.held.saturating_add(held);
        } else {
            parent.node.entries = parent.node.entries.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a text holds at most.
    fn peak(text: &str) -> usize {
        let (mut scan, mut peak) = (Scan::default(), 0);
        for (event, _) in Parser::new_from_str(text).map_while(Result::ok) {
            scan.event(&event);
            peak = peak.max(scan.held);
        }
        peak
    }

    #[test]
    fn anchors_are_held_and_merge_keys_until_their_mapping_ends() {
        assert_eq!(peak("a: 1\nb: [2, {c: d}]\n"), 0);
        assert_eq!(peak("a: &a 1\n"), EVENT);
        assert_eq!(peak("a: &a {b: &b [1]}\n"), 9 * EVENT, "an inner one with the outer one again");
        let merged = 4 * EVENT + ENTRY;
        assert_eq!(peak("a: {<<: {b: 1}}\nc: {<<: {d: 1}}\n"), merged, "one after the other");
        assert_eq!(peak("a: {<<: {b: 1}, <<: {c: 1}}\n"), 2 * merged, "both at once");
        let anchored = 4 * EVENT;
        assert_eq!(peak("a: &a {b: 1}\nc: {<<: *a}\n"), anchored + merged);
        let list = 2 * 4 * EVENT + 2 * EVENT + 2 * ENTRY;
        assert_eq!(peak("a: &a {b: 1}\nc: {<<: [*a, *a]}\n"), anchored + list);
    }

    #[test]
    fn aliases_of_aliases_are_counted_without_being_made() {
        let level = |level: usize| match level.checked_sub(1) {
            None => "a0: &a0 {x: 1, y: 2, z: 3}".to_owned(),
            Some(before) => {
                format!("a{level}: &a{level} [{}]", vec![format!("*a{before}"); 9].join(", "))
            }
        };
        let levels: Vec<String> = (0..60).map(level).collect();
        let text = format!("{}\n# {}\n", levels.join("\n"), "x".repeat(HARMLESS));
        assert_eq!(excess(&text), Some(6));
    }

    #[test]
    fn a_text_without_anchors_is_not_scanned() {
        for text in ["a: b & c\n", "a: &\n", "a: x&y\n", "run: a && b\n", "- '*'\n"] {
            assert!(!has_anchor(text.as_bytes()), "{text}");
        }
        for text in ["&a b", "a: &a b\n", "- &a b", "[&a b]", "{a: &a b,&c d: e}", "a:\n&a b\n"] {
            assert!(has_anchor(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn ordinary_use_is_not_refused() {
        let template =
            "x: &common {image: a, env: [{name: A, value: b}], ports: [{containerPort: 1}]}\n";
        let one = |i| format!("w{i}: {{<<: *common, name: w{i}}}");
        let uses = (0..20_000).map(one).collect::<Vec<_>>().join("\n");
        assert_eq!(excess(&format!("{template}{uses}")), None);
        let merges: String = (0..20_000).map(|_| "  <<: *common\n").collect();
        assert_eq!(excess(&format!("{template}w:\n{merges}")), Some(6_216));
    }
}
