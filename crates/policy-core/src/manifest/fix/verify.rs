//! Whether an edited document is the original one and exactly what was planned.

use std::collections::BTreeMap;

use super::addition::{Addition, Entry};
use super::tree::{Content, Node};
use super::value::value;

/// What each container gets, by the place of the container in the original text.
pub(super) type Planned = BTreeMap<usize, Vec<Entry>>;

/// Whether a node of the edited text is that of the original text with what is planned for the
/// containers in it: the same values, order, styles, anchors and tags.
pub(super) fn is_as_planned(original: &Node<'_>, edited: &Node<'_>, planned: &Planned) -> bool {
    if original.anchor != edited.anchor || original.tag != edited.tag {
        return false;
    }
    match (&original.content, &edited.content) {
        (Content::Scalar(text, style), Content::Scalar(now, style_now)) => {
            (text, style) == (now, style_now)
        }
        (Content::Alias(anchor), Content::Alias(now)) => anchor == now,
        (Content::Sequence(style, items), Content::Sequence(style_now, now)) => {
            style == style_now
                && items.len() == now.len()
                && items.iter().zip(now).all(|(item, now)| is_as_planned(item, now, planned))
        }
        (Content::Mapping(style, entries), Content::Mapping(style_now, now)) => {
            let added = planned.get(&original.start).map(Vec::as_slice).unwrap_or_default();
            style == style_now && has_added(entries, now, added, planned)
        }
        _ => false,
    }
}

type Pair<'a> = (Node<'a>, Node<'a>);

/// Whether a mapping has its own entries, then those of `added` that it lacks.
fn has_added(entries: &[Pair<'_>], now: &[Pair<'_>], added: &[Entry], planned: &Planned) -> bool {
    let Some((kept, new)) = now.split_at_checked(entries.len()) else { return false };
    let of = |key: &Node<'_>| added.iter().find(|(name, _)| key.text() == Some(*name));
    let is_kept = entries.iter().zip(kept).all(|((key, value), (key_now, value_now))| {
        is_as_planned(key, key_now, planned)
            && match of(key) {
                None => is_as_planned(value, value_now, planned),
                Some((_, addition)) => is_extended(value, value_now, addition, planned),
            }
    });
    let lacking =
        added.iter().filter(|(name, _)| !entries.iter().any(|(key, _)| key.text() == Some(*name)));
    let lacking: Vec<&Entry> = lacking.collect();
    is_kept
        && lacking.len() == new.len()
        && lacking.iter().zip(new).all(|(entry, (key, value))| is_new(entry, key, value))
}

/// Whether a value has what is added below its key.
fn is_extended(value: &Node<'_>, now: &Node<'_>, addition: &Addition, planned: &Planned) -> bool {
    let Addition::Mapping(added) = addition else { return false };
    if value.anchor != now.anchor || value.tag != now.tag {
        return false;
    }
    match (&value.content, &now.content) {
        (Content::Mapping(style, entries), Content::Mapping(style_now, now)) => {
            style == style_now && has_added(entries, now, added, planned)
        }
        (Content::Scalar(text, _), Content::Mapping(_, now)) => {
            text.is_empty() && has_added(&[], now, added, planned)
        }
        _ => false,
    }
}

fn is_new((name, addition): &Entry, key: &Node<'_>, now: &Node<'_>) -> bool {
    let is_bare = now.anchor == 0 && now.tag.is_none();
    is_bare
        && key.text() == Some(*name)
        && match addition {
            Addition::Scalar(scalar) => value(now).as_ref() == Some(scalar),
            Addition::Mapping(added) => {
                let entries = now.entries();
                entries.len() == added.len()
                    && added
                        .iter()
                        .zip(entries)
                        .all(|(entry, (key, value))| is_new(entry, key, value))
            }
        }
}
