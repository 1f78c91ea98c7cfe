//! A YAML document as a tree of nodes with their places in the text.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle, Tag};

/// The deepest nesting, as where manifests are read.
const MAX_DEPTH: usize = 64;

/// A document.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    pub(super) root: Node<'a>,
    /// The bytes of the nodes that an alias refers to.
    aliased: Vec<Range<usize>>,
    /// Whether its values depend on more than its scalars: on aliases, merge keys or tags.
    pub(super) is_indirect: bool,
}

/// A node and its place, in bytes.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) start: usize,
    pub(super) end: usize,
    /// From 1.
    pub(super) line: u32,
    /// From 0, in characters.
    pub(super) column: usize,
    /// The number of its anchor; 0 without one.
    pub(super) anchor: usize,
    pub(super) tag: Option<Cow<'a, Tag>>,
    pub(super) content: Content<'a>,
}

/// What a node holds.
#[derive(Debug)]
pub(super) enum Content<'a> {
    Scalar(Cow<'a, str>, ScalarStyle),
    Mapping(StructureStyle, Vec<(Node<'a>, Node<'a>)>),
    Sequence(StructureStyle, Vec<Node<'a>>),
    Alias(usize),
}

impl<'a> Tree<'a> {
    /// Parses the only document of a text; `None` where it is not one, or is nested too deeply.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let options = granit_parser::options! { emit_comments: false };
        let mut building = Building::default();
        for event in Parser::new_from_str_with_options(text, options) {
            let (event, span) = event.ok()?;
            building.event(event, span)?;
        }
        let Building { root, anchored, aliased, is_indirect, .. } = building;
        let aliased = anchored.into_iter().filter(|(anchor, _)| aliased.contains(anchor));
        let aliased = aliased.map(|(_, bytes)| bytes).collect();
        Some(Self { root: root?, aliased, is_indirect })
    }

    /// Whether a change of the node would change other places as well: an alias refers to it, or to one
    /// that it is in.
    pub(super) fn is_shared(&self, node: &Node<'_>) -> bool {
        self.aliased.iter().any(|bytes| bytes.contains(&node.start))
    }
}

impl Node<'_> {
    /// The entries of a mapping.
    pub(super) fn entries(&self) -> &[(Self, Self)] {
        match &self.content {
            Content::Mapping(_, entries) => entries,
            _ => &[],
        }
    }

    /// The items of a sequence.
    pub(super) fn items(&self) -> &[Self] {
        match &self.content {
            Content::Sequence(_, items) => items,
            _ => &[],
        }
    }

    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(text, _) => Some(text),
            _ => None,
        }
    }

    /// The entry of a key in a mapping.
    pub(super) fn entry(&self, key: &str) -> Option<&(Self, Self)> {
        self.entries().iter().find(|(name, _)| name.text() == Some(key))
    }

    /// The value of a key in a mapping.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|(_, value)| value)
    }

    /// Whether it has keys of another mapping.
    pub(super) fn has_merge_key(&self) -> bool {
        self.entries().iter().any(|(key, _)| key.is_plain() && key.text() == Some("<<"))
    }

    pub(super) fn is_alias(&self) -> bool {
        matches!(self.content, Content::Alias(_))
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self.content, Content::Scalar(_, ScalarStyle::Plain))
    }
}

/// A collection that is not closed, and the key whose value comes next.
struct Open<'a> {
    node: Node<'a>,
    key: Option<Node<'a>>,
}

#[derive(Default)]
struct Building<'a> {
    open: Vec<Open<'a>>,
    root: Option<Node<'a>>,
    /// The numbers of anchors, and the bytes of their nodes.
    anchored: Vec<(usize, Range<usize>)>,
    /// The numbers of the anchors that an alias refers to.
    aliased: BTreeSet<usize>,
    is_indirect: bool,
}

impl<'a> Building<'a> {
    fn event(&mut self, event: Event<'a>, span: Span) -> Option<()> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.is_indirect |= style == ScalarStyle::Plain && text == "<<";
                let node = self.node(Content::Scalar(text, style), anchor, tag, span)?;
                self.add(node)
            }
            Event::Alias(anchor) => {
                self.aliased.insert(anchor);
                self.is_indirect = true;
                let node = self.node(Content::Alias(anchor), 0, None, span)?;
                self.add(node)
            }
            Event::MappingStart(style, anchor, tag) => {
                let node = self.node(Content::Mapping(style, Vec::new()), anchor, tag, span)?;
                self.start(node)
            }
            Event::SequenceStart(style, anchor, tag) => {
                let node = self.node(Content::Sequence(style, Vec::new()), anchor, tag, span)?;
                self.start(node)
            }
            Event::MappingEnd | Event::SequenceEnd => {
                let Open { mut node, key: None } = self.open.pop()? else { return None };
                node.end = span.end.byte_offset()?;
                self.add(node)
            }
            Event::UnresolvedAlias(_) => None,
            _ => Some(()),
        }
    }

    fn node(
        &mut self,
        content: Content<'a>,
        anchor: usize,
        tag: Option<Cow<'a, Tag>>,
        span: Span,
    ) -> Option<Node<'a>> {
        self.is_indirect |= tag.is_some();
        let range = span.byte_range()?;
        let content = match content {
            // The parser gives a value that is not written the text `~`.
            Content::Scalar(_, ScalarStyle::Plain) if range.is_empty() => {
                Content::Scalar("".into(), ScalarStyle::Plain)
            }
            content => content,
        };
        Some(Node {
            start: range.start,
            end: range.end,
            line: u32::try_from(span.start.line()).unwrap_or(u32::MAX),
            column: span.start.col(),
            anchor,
            tag,
            content,
        })
    }

    fn start(&mut self, node: Node<'a>) -> Option<()> {
        self.open.push(Open { node, key: None });
        (self.open.len() <= MAX_DEPTH).then_some(())
    }

    fn add(&mut self, node: Node<'a>) -> Option<()> {
        if node.anchor != 0 {
            self.anchored.push((node.anchor, node.start..node.end));
        }
        let Some(Open { node: parent, key }) = self.open.last_mut() else {
            return self.root.replace(node).is_none().then_some(());
        };
        match &mut parent.content {
            Content::Sequence(_, items) => items.push(node),
            Content::Mapping(_, entries) => match key.take() {
                Some(name) => entries.push((name, node)),
                None => *key = Some(node),
            },
            Content::Scalar(..) | Content::Alias(_) => return None,
        }
        Some(())
    }
}
