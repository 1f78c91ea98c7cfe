//! Keys that do not mean what they seem to: repeated ones, and those where `kubectl` and YAML
//! disagree about `<<`.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Note;
use crate::view::Located;

/// Most notes of a document.
const MAX_NOTES: usize = 100;

/// A value of any type with the notes about its keys, read so that every key is visited.
#[derive(Default)]
pub(super) struct KeyNotes {
    pub(super) notes: Vec<Note>,
    /// Equal values have equal hashes.
    hash: u64,
    /// The keys and values that `<<` takes from it; of a list, the first of each key.
    entries: BTreeMap<String, u64>,
}

impl KeyNotes {
    fn scalar(kind: &str, value: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        (kind, value).hash(&mut hasher);
        Self { hash: hasher.finish(), ..Self::default() }
    }

    fn note(&mut self, line: u32, message: String) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(Note { line, message });
        }
    }

    fn take_notes(&mut self, of: &mut Self) {
        let room = MAX_NOTES.saturating_sub(self.notes.len());
        self.notes.extend(of.notes.drain(..).take(room));
    }
}

impl<'de> Deserialize<'de> for KeyNotes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = KeyNotes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KeyNotes, A::Error> {
        let mut found = KeyNotes::default();
        let mut own = BTreeMap::new();
        let mut merges = Merges::default();
        while let Some(Located { value: Key(key), line }) = map.next_key()? {
            let mut value: KeyNotes = map.next_value()?;
            found.take_notes(&mut value);
            if key == "<<" && !value.entries.is_empty() {
                merges.add(line, value.entries, &own);
                continue;
            }
            if merges.line.is_some() {
                merges.for_kubectl.insert(key.clone(), value.hash);
            }
            if own.contains_key(&key) {
                let repeated =
                    format!("`{key}` is repeated; its last value counts, as for kubectl");
                found.note(line, repeated);
            }
            own.insert(key, value.hash);
        }
        found.entries = merges.yaml;
        found.entries.append(&mut own);
        if let Some(line) = merges.line {
            let differs =
                |(key, hash): &(&String, &u64)| merges.for_kubectl.get(*key) != Some(hash);
            let keys: Vec<_> =
                found.entries.iter().filter(differs).map(|(key, _)| format!("`{key}`")).collect();
            if !keys.is_empty() {
                let keys = keys.join(", ");
                found.note(
                    line,
                    format!(
                        "kubectl lets this `<<` replace {keys} of the lines before it, while YAML \
                         keeps the earlier value, as is done here; write `<<` first, and once"
                    ),
                );
            }
        }
        let mut hasher = DefaultHasher::new();
        found.entries.hash(&mut hasher);
        found.hash = hasher.finish();
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<KeyNotes, A::Error> {
        let mut found = KeyNotes::default();
        let mut hasher = DefaultHasher::new();
        while let Some(mut member) = seq.next_element::<KeyNotes>()? {
            found.take_notes(&mut member);
            member.hash.hash(&mut hasher);
            for (key, value) in member.entries {
                found.entries.entry(key).or_insert(value);
            }
        }
        found.hash = hasher.finish();
        Ok(found)
    }

    fn visit_bool<E>(self, value: bool) -> Result<KeyNotes, E> {
        Ok(KeyNotes::scalar("bool", value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<KeyNotes, E> {
        Ok(KeyNotes::scalar("number", i128::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<KeyNotes, E> {
        Ok(KeyNotes::scalar("number", i128::from(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<KeyNotes, E> {
        Ok(KeyNotes::scalar("float", value.to_bits()))
    }

    fn visit_str<E>(self, value: &str) -> Result<KeyNotes, E> {
        Ok(KeyNotes::scalar("string", value))
    }

    fn visit_unit<E>(self) -> Result<KeyNotes, E> {
        Ok(KeyNotes::default())
    }
}

/// What the `<<` of a mapping bring in.
#[derive(Default)]
struct Merges {
    /// The line of the last one.
    line: Option<u32>,
    /// As YAML has it: the first one of each key, and the mapping's own keys before all.
    /// <https://yaml.org/type/merge.html>
    yaml: BTreeMap<String, u64>,
    /// As `kubectl` has it, whose parser goes through the mapping from top to bottom:
    /// <https://github.com/yaml/go-yaml/blob/v2.4.0/decode.go#L605-L650>
    for_kubectl: BTreeMap<String, u64>,
}

impl Merges {
    fn add(&mut self, line: u32, merged: BTreeMap<String, u64>, own: &BTreeMap<String, u64>) {
        if self.line.is_none() {
            self.for_kubectl.clone_from(own);
        }
        self.line = Some(line);
        for (key, value) in merged {
            self.for_kubectl.insert(key.clone(), value);
            self.yaml.entry(key).or_insert(value);
        }
    }
}

/// A key of any type as text.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(Key(key.to_owned()))
    }

    fn visit_bool<E>(self, key: bool) -> Result<Key, E> {
        Ok(Key(key.to_string()))
    }

    fn visit_i64<E>(self, key: i64) -> Result<Key, E> {
        Ok(Key(key.to_string()))
    }

    fn visit_u64<E>(self, key: u64) -> Result<Key, E> {
        Ok(Key(key.to_string()))
    }

    fn visit_f64<E>(self, key: f64) -> Result<Key, E> {
        Ok(Key(key.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Key, E> {
        Ok(Key("null".to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Key, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Key("a list".to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Key, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Key("an object".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse_every_key;
    use super::*;

    fn notes(text: &str) -> Vec<(u32, String)> {
        let found = parse_every_key::<KeyNotes>(text.as_bytes()).unwrap().unwrap();
        found.notes.into_iter().map(|note| (note.line, note.message)).collect()
    }

    #[test]
    fn each_repeated_key_is_noted_at_its_line() {
        let found = notes("a: 1\nb: [{c: 1, c: 1}]\n\"a\":\n  d: 1\n  d: 2\n1: x\n");
        let lines: Vec<u32> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 5, 3]);
        assert_eq!(found[2].1, "`a` is repeated; its last value counts, as for kubectl");
        let many = format!("a: 1\n{}", "a: 1\n".repeat(1000));
        assert_eq!(notes(&many).len(), MAX_NOTES);
    }

    #[test]
    fn a_merge_is_noted_where_kubectl_reads_another_value() {
        let anchors = "x: &x {image: old, name: n}\ny: &y {image: other}\n";
        for (mapping, line) in [
            ("{<<: *x, image: new}", None),
            ("{image: new, <<: *x}", Some("`image`")),
            ("{image: old, <<: *x}", None),
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
