//! Which keys there are, and which one somebody may have meant.

use figment::value::{Dict, Value};

use super::{Configuration, PREFIX};

/// A key that may be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// As it stands in the file, the names of the groups around it before it: `log.format`.
    pub path: String,
    /// The environment variable: `GOV_LOG__FORMAT`.
    pub variable: String,
    /// The default, as JSON.
    pub default: String,
}

/// All keys of a service in alphabetical order, so that its documentation can be compared.
#[must_use]
pub fn keys<T: Configuration>() -> Vec<Key> {
    let defaults = Value::serialize(T::default()).ok().and_then(Value::into_dict);
    let defaults = defaults.unwrap_or_default();
    let key = |(path, default): (String, &Value)| Key {
        variable: variable_of(&path),
        default: serde_json::to_string(default).unwrap_or_default(),
        path,
    };
    leaves(&defaults).into_iter().map(key).collect()
}

/// The values that are no groups, by their paths.
pub(super) fn leaves(group: &Dict) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    collect("", group, &mut found);
    found
}

fn collect<'a>(prefix: &str, group: &'a Dict, found: &mut Vec<(String, &'a Value)>) {
    for (name, value) in group {
        let path = format!("{prefix}{name}");
        match as_group(value) {
            Some(inner) => collect(&format!("{path}."), inner, found),
            None => found.push((path, value)),
        }
    }
}

/// The keys of a group. A map that is empty by default is a value: its keys are free.
pub(super) fn as_group(value: &Value) -> Option<&Dict> {
    value.as_dict().filter(|inner| !inner.is_empty())
}

/// `shutdown.graceSeconds` as `GOV_SHUTDOWN__GRACE_SECONDS`.
pub(super) fn variable_of(path: &str) -> String {
    let mut name = PREFIX.to_owned();
    for letter in path.chars() {
        match letter {
            '.' => name.push_str("__"),
            _ if letter.is_uppercase() => name.extend(['_', letter]),
            _ => name.extend(letter.to_uppercase()),
        }
    }
    name
}

/// A name without what people write differently: case and punctuation.
pub(super) fn plain(name: &str) -> String {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The name that is meant by another, if one is close.
pub(super) fn nearest<'a>(
    wrong: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    let meant = plain(wrong);
    let near = names.clone().map(|name| (distance(&meant, &plain(name)), name)).min()?;
    if near.0 == 0 {
        return Some(near.1);
    }
    // The right name in the wrong group.
    let last = |path: &str| path.rsplit('.').next().map(plain);
    let mut namesakes = names.filter(|name| last(name) == last(wrong));
    if let (Some(name), None) = (namesakes.next(), namesakes.next()) {
        return Some(name);
    }
    let most = meant.chars().count().div_ceil(4).min(3);
    (near.0 <= most).then_some(near.1)
}

/// The number of letters to change, add or remove.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, letter) in left.chars().enumerate() {
        let mut diagonal = i;
        let mut before = i + 1;
        for (cell, other) in row.iter_mut().skip(1).zip(&right) {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = *cell;
            *cell = changed.min(before + 1).min(diagonal + 1);
            before = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted() {
        for (left, right, expected) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }

    #[test]
    fn only_what_is_close_is_suggested() {
        let known = ["addr", "lease.name", "log.format", "log.level"];
        for (wrong, meant) in [
            ("log.formt", Some("log.format")),
            ("log_level", Some("log.level")),
            ("level", Some("log.level")),
            ("Addr", Some("addr")),
            ("port", None),
            ("something.else", None),
        ] {
            assert_eq!(nearest(wrong, known.into_iter()), meant, "{wrong}");
        }
    }

    #[test]
    fn variables_have_the_words_of_their_key() {
        assert_eq!(variable_of("excludedNamespaces"), "GOV_EXCLUDED_NAMESPACES");
        assert_eq!(variable_of("lease.renewDeadlineSeconds"), "GOV_LEASE__RENEW_DEADLINE_SECONDS");
    }
}
