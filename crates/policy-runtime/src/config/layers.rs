//! One layer over the other, each value tried on its own.
//!
//! figment stops at the first value that does not fit. So every value is first put onto the
//! defaults alone: what fails there is a problem of that value, and nothing hides behind it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::marker::PhantomData;

use figment::Figment;
use figment::providers::Serialized;
use figment::value::{Dict, Value};

use super::file::{self, Text};
use super::keys::{as_group, leaves, nearest, variable_of};
use super::problem::in_words;
use super::{ConfigError, Configuration, Flag, Problem, Problems, environment};

/// The layers so far.
pub(super) struct Layers<T> {
    base: Figment,
    defaults: Dict,
    /// The paths of all keys.
    keys: Vec<String>,
    /// What is left of the layers: the values that fit.
    result: Figment,
    /// What set a key last, and when.
    origins: BTreeMap<String, (usize, String)>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
    target: PhantomData<T>,
}

impl<T: Configuration> Layers<T> {
    /// The layer below all others.
    pub(super) fn new() -> Result<Self, ConfigError> {
        let wrong = |error: &figment::Error| {
            ConfigError::of(Problem::new("defaults", error.path.join("."), in_words(&error.kind)))
        };
        let defaults = Value::serialize(T::default()).map_err(|error| wrong(&error))?;
        let defaults = defaults.into_dict().unwrap_or_default();
        let base = Figment::from(Serialized::defaults(&defaults));
        base.extract::<T>().map_err(|error| wrong(&error))?;
        Ok(Self {
            keys: leaves(&defaults).into_iter().map(|(path, _)| path).collect(),
            result: base.clone(),
            base,
            defaults,
            origins: BTreeMap::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
            target: PhantomData,
        })
    }

    /// Puts a file on top.
    pub(super) fn file(&mut self, name: &str, text: &Text) {
        let keys = text.clone().and_then(|text| file::parse(&text));
        match keys {
            Ok(keys) => self.group(name, "", &keys, &self.defaults.clone()),
            Err(what) => self.problems.push(Problem::new(name, "", what)),
        }
    }

    fn group(&mut self, source: &str, prefix: &str, given: &Dict, known: &Dict) {
        for (name, value) in given {
            let key = format!("{prefix}{name}");
            let Some(default) = known.get(name) else {
                let hint = self.meant_key(&key).map(|meant| format!("; did you mean `{meant}`?"));
                let what = format!("no such key{}", hint.unwrap_or_default());
                self.problems.push(Problem::new(source, key, what));
                continue;
            };
            match (as_group(default), value) {
                (None, value) => self.set(source, &key, vec![value.clone()]),
                (Some(inner), Value::Dict(_, given)) => {
                    self.group(source, &format!("{key}."), given, inner);
                }
                (Some(_), Value::Empty(..)) => {}
                (Some(inner), _) => {
                    let names: Vec<&str> = inner.keys().map(String::as_str).collect();
                    let what = format!("must be a group of keys ({})", names.join(", "));
                    self.problems.push(Problem::new(source, key, what));
                }
            }
        }
    }

    /// Puts the environment on top.
    pub(super) fn environment(&mut self, variables: &[(OsString, OsString)]) {
        let mut named = BTreeMap::<String, String>::new();
        for (variable, value) in variables {
            let variable = variable.to_string_lossy().into_owned();
            let keys = self.keys.iter().map(String::as_str);
            let Some(key) = environment::key_of(&variable, keys).map(str::to_owned) else {
                self.unknown_variable(&variable);
                continue;
            };
            if let Some(other) = named.insert(key.clone(), variable.clone()) {
                let what = format!("is also set by {other}");
                self.problems.push(Problem::new(variable, key, what));
            } else if let Some(text) = value.to_str() {
                self.set_text(&variable, &key, text);
            } else {
                self.problems.push(Problem::new(variable, key, "is not valid UTF-8"));
            }
        }
    }

    fn unknown_variable(&mut self, variable: &str) {
        let name = variable.get(super::PREFIX.len()..).unwrap_or_default();
        let hint = self.meant(name).map(|key| format!("; did you mean {}?", variable_of(key)));
        let what = format!("names no key and is ignored{}", hint.unwrap_or_default());
        self.warnings.push(Problem::new(variable, "", what).to_string());
    }

    /// Puts flags on top.
    pub(super) fn flags(&mut self, flags: &[(Flag, String)]) {
        for (flag, text) in flags {
            self.set_text(&format!("--{}", flag.name), flag.key, text);
        }
    }

    fn set_text(&mut self, source: &str, key: &str, text: &str) {
        let Some(default) = find(&self.defaults, key) else {
            self.problems.push(Problem::new(source, key, "no such key"));
            return;
        };
        let meanings = environment::meanings(text, default);
        self.set(source, key, meanings);
    }

    /// Takes the first of the values that fits.
    fn set(&mut self, source: &str, key: &str, values: Vec<Value>) {
        let mut wrong = Vec::new();
        for value in values {
            match self.try_on(key, &value) {
                Ok(()) => {
                    let result = std::mem::take(&mut self.result);
                    self.result = result.merge(Serialized::default(key, value));
                    let order = self.origins.len();
                    self.origins.insert(key.to_owned(), (order, source.to_owned()));
                    return;
                }
                Err((key, what)) => wrong.push(Problem::new(source, key, what)),
            }
        }
        // Words are meant as words; of numbers and lists the closest reading tells most.
        let is_word =
            matches!(find(&self.defaults, key), Some(Value::String(..) | Value::Empty(..)));
        let problem = if is_word { wrong.into_iter().next() } else { wrong.pop() };
        self.problems.extend(problem);
    }

    /// Says which key does not take the value, and why.
    fn try_on(&self, key: &str, value: &Value) -> Result<(), (String, String)> {
        let figment = self.base.clone().merge(Serialized::default(key, value));
        figment.extract::<T>().map(drop).map_err(|error| {
            let inner = error.path.join(".");
            let key = if inner.starts_with(&format!("{key}.")) { inner } else { key.to_owned() };
            (key, in_words(&error.kind))
        })
    }

    fn meant(&self, wrong: &str) -> Option<&str> {
        nearest(wrong, self.keys.iter().map(String::as_str))
    }

    /// In a file a group may be meant as well.
    fn meant_key(&self, wrong: &str) -> Option<&str> {
        let keys = self.keys.iter().map(String::as_str);
        let groups = keys.clone().filter_map(|key| Some(key.rsplit_once('.')?.0));
        nearest(wrong, keys).or_else(|| nearest(wrong, groups))
    }

    /// The configuration and the warnings, or everything that is wrong.
    pub(super) fn finish(mut self) -> Result<(T, Vec<String>), ConfigError> {
        let config = self.result.extract::<T>().map_err(|error| {
            // Values that fit one by one, and not together.
            let what = in_words(&error.kind);
            Problem::new("configuration", error.path.join("."), what)
        });
        match config {
            Ok(config) => {
                self.check(&config);
                if self.problems.is_empty() {
                    return Ok((config, self.warnings));
                }
            }
            Err(problem) => self.problems.push(problem),
        }
        Err(ConfigError { problems: self.problems })
    }

    /// Asks the checks; what follows from a value that was refused is not worth a line.
    fn check(&mut self, config: &T) {
        let mut checked = Problems::default();
        config.runtime().check(&mut checked);
        if let Some(tls) = config.tls() {
            tls.check(&mut checked);
        }
        config.check(&mut checked);
        let is_refused = |key: &String| self.problems.iter().any(|known| known.key == *key);
        let found: Vec<_> =
            checked.found.into_iter().filter(|(keys, _)| !keys.iter().any(is_refused)).collect();
        for (keys, what) in found {
            // Of several keys the one that was set last made the problem.
            let last = keys.iter().filter_map(|key| Some((self.origins.get(key)?, key))).max();
            let problem = match last {
                Some(((_, source), key)) => Problem::new(source, key, what),
                None => Problem::new("defaults", keys.join(", "), what),
            };
            self.problems.push(problem);
        }
    }
}

/// The value of a path.
fn find<'a>(group: &'a Dict, path: &str) -> Option<&'a Value> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let value = group.get(name)?;
    match rest {
        Some(rest) => find(value.as_dict()?, rest),
        None => Some(value),
    }
}
