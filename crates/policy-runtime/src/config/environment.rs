//! What the environment says, and what text may mean.

use std::ffi::OsString;

use figment::value::{Empty, Tag, Value};

use super::PREFIX;
use super::keys::plain;

/// The variables with the prefix, in the order of their names.
pub(super) fn with_prefix(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    let has_prefix = |name: &OsString| {
        let start = name.as_encoded_bytes().get(..PREFIX.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(PREFIX.as_bytes()))
    };
    let mut found: Vec<_> = variables.into_iter().filter(|(name, _)| has_prefix(name)).collect();
    found.sort();
    found
}

/// The key that a variable names: by its letters only, whatever their case, group by group.
pub(super) fn key_of<'a>(
    variable: &str,
    mut keys: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let name = variable.get(PREFIX.len()..)?;
    let parts: Vec<String> = name.split("__").map(plain).collect();
    keys.find(|key| key.split('.').map(plain).eq(parts.iter().cloned()))
}

/// What a text may mean for a key, the likeliest first: text has no types, the key does.
pub(super) fn meanings(text: &str, default: &Value) -> Vec<Value> {
    let scalar = || [Value::from(text), parsed(text)];
    match default {
        Value::Array(..) => lists(text),
        Value::Empty(..) if text.is_empty() => vec![Value::Empty(Tag::Default, Empty::None)],
        Value::Empty(..) => scalar().into_iter().chain(lists(text)).collect(),
        _ => scalar().into(),
    }
}

/// `a,b` or `[a, b]`, its items once as texts and once as what they look like.
fn lists(text: &str) -> Vec<Value> {
    let text = text.trim();
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let items: Vec<&str> = match inner.trim() {
        "" => Vec::new(),
        inner => inner.split(',').map(|item| unquoted(item.trim())).collect(),
    };
    let as_seen: Vec<Value> = items.iter().map(|item| parsed(item)).collect();
    vec![Value::from(items), Value::from(as_seen)]
}

fn parsed(text: &str) -> Value {
    // Never fails: what is nothing else is a string.
    text.parse().unwrap_or_else(|_| Value::from(text))
}

fn unquoted(item: &str) -> &str {
    let inside = |quote| item.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(item)
}
