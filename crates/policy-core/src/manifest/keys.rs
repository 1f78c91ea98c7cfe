//! The keys of a document: their lines, and those that do not mean what they seem to. A key may be
//! repeated, and `kubectl` and YAML disagree about `<<`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Note;
use crate::view::Located;

/// Most problems that are kept of a document.
const MAX_PROBLEMS: usize = 100;

/// What is odd about the keys of a value.
pub(super) type KeyProblems = Keys<false>;
/// The same, and the line of each key.
pub(super) type KeyLines = Keys<true>;

/// The keys of a value, read so that repeated keys and `<<` are keys like any other. `ALL` keeps the
/// keys of every depth, otherwise a value that is read has those of its top level.
#[derive(Default)]
pub(super) struct Keys<const ALL: bool> {
    /// Each key with its line and the keys below it. Unless `ALL`, those of all members of a list.
    mapping: BTreeMap<String, (u32, Self)>,
    /// The members of a list, with `ALL`.
    members: Vec<Self>,
    /// What is odd about them, and about those below.
    pub(super) problems: Vec<KeyProblem>,
}

/// A key that does not mean what it seems to.
pub(super) struct KeyProblem {
    pub(super) line: u32,
    pub(super) problem: String,
    /// How the document is read in spite of it.
    reading: &'static str,
}

impl KeyProblem {
    pub(super) fn note(self) -> Note {
        Note { line: self.line, message: format!("{}; {}", self.problem, self.reading) }
    }
}

impl<const ALL: bool> Keys<ALL> {
    /// The line of a field by its path, such as `spec.remediation.windows[0].schedule`, or of the
    /// deepest part of the path that exists.
    pub(super) fn line(&self, path: &str) -> Option<u32> {
        let (mut below, mut line) = (self, None);
        for name in path.split(['.', '[']) {
            let member = name.strip_suffix(']').and_then(|index| index.parse::<usize>().ok());
            if let Some(member) = member.and_then(|index| below.members.get(index)) {
                line = member.mapping.values().map(|(line, _)| *line).min().or(line);
                below = member;
            } else if let Some((found, keys)) = below.mapping.get(name) {
                (line, below) = (Some(*found), keys);
            } else {
                break;
            }
        }
        line
    }

    /// The keys of a mapping, or of all members of a list of mappings.
    fn merged(self) -> impl Iterator<Item = (String, (u32, Self))> {
        self.mapping.into_iter().chain(self.members.into_iter().flat_map(|member| member.mapping))
    }

    fn add(&mut self, problems: impl IntoIterator<Item = KeyProblem>) {
        let room = MAX_PROBLEMS.saturating_sub(self.problems.len());
        self.problems.extend(problems.into_iter().take(room));
    }
}

impl<'de, const ALL: bool> Deserialize<'de> for Keys<ALL> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self::default())
    }
}

impl<'de, const ALL: bool> Visitor<'de> for Keys<ALL> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        // The keys that `kubectl` takes from a `<<` in place of an earlier value, as its parser
        // reads a mapping from top to bottom
        // (<https://github.com/yaml/go-yaml/blob/v2.4.0/decode.go#L605-L650>). YAML keeps the
        // earlier one (<https://yaml.org/type/merge.html>).
        let mut replaced = BTreeSet::new();
        let mut merge_line = 0;
        // The keys that only a `<<` has so far.
        let mut merged = BTreeSet::new();
        while let Some(Located { value: key, line }) = map.next_key::<Located<Value>>()? {
            let key = match key {
                Value::String(key) => key,
                other => other.to_string(),
            };
            let mut below: Self = map.next_value()?;
            self.add(below.problems.drain(..));
            if key == "<<" && !(below.mapping.is_empty() && below.members.is_empty()) {
                merge_line = line;
                for (key, value) in below.merged() {
                    if let Entry::Vacant(free) = self.mapping.entry(key.clone()) {
                        free.insert(value);
                        merged.insert(key);
                    } else {
                        replaced.insert(key);
                    }
                }
                continue;
            }
            if !ALL {
                below.mapping.clear();
            }
            replaced.remove(&key);
            let is_new = merged.remove(&key) || !self.mapping.contains_key(&key);
            if !is_new {
                let problem = format!("`{key}` is repeated");
                let reading = "its last value counts, as for kubectl";
                self.add([KeyProblem { line, problem, reading }]);
            }
            self.mapping.insert(key, (line, below));
        }
        if !replaced.is_empty() {
            let replaced = replaced.into_iter().collect::<Vec<_>>().join("`, `");
            let problem =
                format!("kubectl lets this `<<` replace `{replaced}` of the lines before it");
            let reading = "here the earlier value counts, as in YAML: write `<<` first, and once";
            self.add([KeyProblem { line: merge_line, problem, reading }]);
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Self, A::Error> {
        while let Some(mut member) = seq.next_element::<Self>()? {
            self.add(member.problems.drain(..));
            if ALL {
                self.members.push(member);
                continue;
            }
            for (key, value) in member.mapping {
                self.mapping.entry(key).or_insert(value);
            }
        }
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse_every_key;
    use super::*;

    fn notes(text: &str) -> Vec<(u32, String)> {
        let found = parse_every_key::<KeyProblems>(text.as_bytes()).unwrap().unwrap();
        let notes = found.problems.into_iter().map(KeyProblem::note);
        notes.map(|note| (note.line, note.message)).collect()
    }

    #[test]
    fn each_repeated_key_is_noted_at_its_line() {
        let found = notes("a: 1\nb: [{c: 1, c: 1}]\n\"a\":\n  d: 1\n  d: 2\n1: x\n");
        let lines: Vec<u32> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 5, 3]);
        assert_eq!(found[2].1, "`a` is repeated; its last value counts, as for kubectl");
        let many = format!("a: 1\n{}", "a: 1\n".repeat(1000));
        assert_eq!(notes(&many).len(), MAX_PROBLEMS);
    }

    #[test]
    fn a_merge_is_noted_where_kubectl_reads_another_value() {
        let anchors = "x: &x {image: old, name: n}\ny: &y {image: other}\n";
        for (mapping, line) in [
            ("{<<: *x, image: new}", None),
            ("{image: new, <<: *x}", Some("`image`")),
            ("{image: old, <<: *x}", Some("`image`")),
            ("{name: m, <<: *y}", None),
            ("{<<: *x, <<: *y}", Some("`image`")),
            ("{<<: [*x, *y]}", None),
            ("{name: m, <<: *x, image: new}", Some("`name`")),
            ("{name: m, image: new, <<: [*y, *x]}", Some("`image`, `name`")),
            ("{image: new, \"<<\": text}", None),
        ] {
            let found = notes(&format!("{anchors}z: {mapping}\n"));
            assert_eq!(found.len(), usize::from(line.is_some()), "{mapping}: {found:?}");
            if let Some(keys) = line {
                assert_eq!(found[0].0, 3);
                assert!(found[0].1.contains(&format!("replace {keys} of")), "{found:?}");
            }
        }
    }
}
