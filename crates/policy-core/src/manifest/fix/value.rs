//! The values of a tree, as the reader of manifests gives them.

use granit_parser::ScalarStyle;
use serde_json::{Map, Value};

use super::tree::{Content, Node};
use crate::manifest::parse::parse;

/// Words that some version of YAML reads as something else than text.
const WORDS: [&str; 12] =
    ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "infinity"];
/// The longest of them.
const LONGEST_WORD: usize = 8;
/// The suffixes of quantities that no number has.
const SUFFIXES: [&str; 10] = ["m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti", "Pi"];

/// The value of a node without aliases, merge keys and tags; `None` where a key is no text or is
/// repeated.
pub(super) fn value(node: &Node<'_>) -> Option<Value> {
    Some(match &node.content {
        Content::Scalar(text, ScalarStyle::Plain) => plain(text)?,
        Content::Scalar(text, _) => Value::String(text.to_string()),
        Content::Sequence(_, items) => items.iter().map(value).collect::<Option<_>>()?,
        Content::Mapping(_, entries) => {
            let mut map = Map::new();
            for (key, of_key) in entries {
                if map.insert(key.text()?.to_owned(), value(of_key)?).is_some() {
                    return None;
                }
            }
            Value::Object(map)
        }
        Content::Alias(_) => return None,
    })
}

/// The value of a plain scalar. What is neither a word, a whole number nor a quantity by its first
/// look is left to the parser: a document has few of them.
pub(super) fn plain(text: &str) -> Option<Value> {
    let bytes = text.as_bytes();
    let is_word = |text: &str| {
        text.len() <= LONGEST_WORD && WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
    };
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match bytes.first() {
        Some(first) if first.is_ascii_alphabetic() && !is_word(text) => {
            return Some(Value::String(text.to_owned()));
        }
        Some(b'/') => return Some(Value::String(text.to_owned())),
        Some(b'1'..=b'9') if digits == bytes.len() && digits <= LONGEST_NUMBER => {
            return text.parse::<u64>().ok().map(Value::from);
        }
        Some(b'0'..=b'9') if SUFFIXES.contains(&&text[digits..]) => {
            return Some(Value::String(text.to_owned()));
        }
        None | Some(b'~') if bytes.len() < 2 => return Some(Value::Null),
        _ => {}
    }
    // Below a key, where a text cannot be a marker or a directive.
    let mut parsed: Value = parse(format!("v: {text}").as_bytes()).ok()??;
    Some(parsed["v"].take())
}

/// The most digits of a number that certainly fits into 64 bits.
const LONGEST_NUMBER: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_what_the_parser_makes_of_them() {
        for text in [
            "web",
            "a",
            "y",
            "Y",
            "yes",
            "No",
            "on",
            "OFF",
            "true",
            "True",
            "FALSE",
            "null",
            "Null",
            "NULL",
            "~",
            "nan",
            "NaN",
            ".nan",
            "inf",
            ".inf",
            "-.Inf",
            "Infinity",
            "infinitely",
            "0",
            "00",
            "7",
            "8080",
            "0777",
            "0o17",
            "0x1F",
            "0b1",
            "1_000",
            "-1",
            "+1",
            "1.5",
            "1e3",
            "1E3",
            ".5",
            "5.",
            "12:30",
            "100m",
            "128Mi",
            "1k",
            "1G",
            "1Pi",
            "1g",
            "10M5",
            "123456789012345678",
            "1234567890123456789",
            "12345678901234567890123",
            "1.27.0",
            "10.0.0.1",
            "2001-01-01",
            "/healthz",
            "http://x:80/#a",
            "@",
            "v1",
            "-",
            "---",
            "...",
            "a b",
            "é",
            "=",
            "!x",
            "--flag",
            "-c",
        ] {
            let parsed = parse::<Value>(format!("k: {text}\n").as_bytes());
            let parsed = parsed.ok().flatten().map(|mut value| value["k"].take());
            if text == "!x" || text == "@" || text == "-" {
                continue;
            }
            assert_eq!(plain(text), parsed, "{text}");
        }
    }
}
