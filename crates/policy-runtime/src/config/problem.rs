//! What is wrong with a configuration, in words.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};

use figment::error::{Actual, Kind};

/// As much of a wrong value as is shown.
const LONGEST_VALUE: usize = 60;

/// One thing that is wrong; one line when printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it comes from: a file, a variable, a flag, or the defaults.
    pub source: String,
    /// The key; empty where the whole source is meant.
    pub key: String,
    /// What is wrong.
    pub what: String,
}

impl Problem {
    pub(super) fn new(
        source: impl Into<String>,
        key: impl Into<String>,
        what: impl Into<String>,
    ) -> Self {
        Self { source: source.into(), key: key.into(), what: what.into() }
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [&self.source, &self.key, &self.what];
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        let line = parts.map(|part| one_line(part)).collect::<Vec<_>>().join(": ");
        f.write_str(&line)
    }
}

/// A configuration that cannot be used, with everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// In the order of the layers; never empty.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn of(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used:")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// What the checks of a service find.
#[derive(Debug, Default)]
pub struct Problems {
    pub(crate) found: Vec<(Vec<String>, String)>,
}

impl Problems {
    /// Adds a problem with the values of these keys; where they come from is found out.
    pub fn add(&mut self, keys: &[&str], what: impl Into<String>) {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        self.found.push((keys, what.into()));
    }
}

/// Text that stays on its line, whatever somebody wrote into a value.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
    }
    Cow::Owned(line)
}

/// What figment says of a value, in words for somebody who writes configuration, not Rust.
pub(super) fn in_words(kind: &Kind) -> String {
    match kind {
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            format!("must be {}, not {}", wanted(expected), found(actual))
        }
        Kind::UnknownVariant(actual, expected) => {
            format!("must be one of {}, not {}", expected.join(", "), shown(actual))
        }
        other => other.to_string(),
    }
}

fn wanted(expected: &str) -> Cow<'_, str> {
    let most = match expected {
        "u8" => u64::from(u8::MAX),
        "u16" => u64::from(u16::MAX),
        "u32" => u64::from(u32::MAX),
        "u64" | "usize" => return "a whole number that is not negative".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => return "a whole number".into(),
        "f32" | "f64" => return "a number".into(),
        "a boolean" => return "true or false".into(),
        "a sequence" => return "a list".into(),
        "path string" => return "a path".into(),
        _ if expected.starts_with("enum ") => return "a word".into(),
        _ => return expected.into(),
    };
    format!("a whole number from 0 to {most}").into()
}

fn found(actual: &Actual) -> String {
    match actual {
        Actual::Bool(value) => value.to_string(),
        Actual::Unsigned(number) => number.to_string(),
        Actual::Signed(number) => number.to_string(),
        Actual::Float(number) => number.to_string(),
        Actual::Str(text) => shown(text),
        Actual::Unit | Actual::Option => "nothing".to_owned(),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a group of keys".to_owned(),
        other => other.to_string(),
    }
}

fn shown(text: &str) -> String {
    let mut start: String = text.chars().take(LONGEST_VALUE).collect();
    if start.len() < text.len() {
        // Writing to a string does not fail.
        let _ = write!(start, "…");
    }
    format!("`{start}`")
}
