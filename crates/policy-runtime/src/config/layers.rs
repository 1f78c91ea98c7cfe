//! Puts one layer over the other, and collects everything that is wrong with any of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::marker::PhantomData;

use figment::Figment;
use figment::providers::Serialized;
use figment::value::{Dict, Value};

use super::keys::{Key, flag_of, keys, nearest, path_of};
use super::{ConfigError, Configuration, PREFIX, Problem, Problems, Text};

/// The layers so far.
pub(super) struct Layers<T> {
    keys: Vec<Key>,
    defaults: Figment,
    /// The defaults, with all values on top that can be used.
    merged: Figment,
    /// Key and source of each value that was merged, in the order of the layers.
    set_by: Vec<(String, String)>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
    target: PhantomData<T>,
}

impl<T: Configuration> Layers<T> {
    /// The layer below all others.
    pub(super) fn new() -> Self {
        let defaults = Figment::from(Serialized::defaults(T::default()));
        Self {
            keys: keys::<T>(),
            merged: defaults.clone(),
            defaults,
            set_by: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
            target: PhantomData,
        }
    }

    /// Puts a file on top.
    pub(super) fn file(&mut self, name: &str, text: &Text) {
        match text.as_deref().map_err(Clone::clone).and_then(parse) {
            Ok(values) => self.group(name, "", values),
            Err(what) => self.problems.push(Problem::new(name, "", what)),
        }
    }

    fn group(&mut self, source: &str, prefix: &str, values: Dict) {
        for (name, value) in values {
            let path = format!("{prefix}{name}");
            if self.keys.iter().any(|key| key.path == path) {
                self.set(source, &path, value);
                continue;
            }
            let group = format!("{path}.");
            let members = self.keys.iter().filter_map(|key| key.path.strip_prefix(&group));
            let members: Vec<&str> = members.collect();
            let what = match value {
                _ if members.is_empty() => {
                    let groups = self.keys.iter().filter_map(|key| key.path.rsplit_once('.'));
                    let names = self.paths().chain(groups.map(|(group, _)| group));
                    let hint =
                        nearest(&path, names).map(|name| format!("; did you mean `{name}`?"));
                    format!("no such key{}", hint.unwrap_or_default())
                }
                Value::Dict(_, values) => {
                    self.group(source, &group, values);
                    continue;
                }
                Value::Empty(..) => continue,
                _ => format!("must be a group of keys ({})", members.join(", ")),
            };
            self.problems.push(Problem::new(source, path, what));
        }
    }

    /// Puts the environment on top. The variables all have the prefix.
    pub(super) fn environment(&mut self, variables: &[(OsString, OsString)]) {
        let mut set_by = BTreeMap::<String, String>::new();
        for (variable, text) in variables {
            let variable = variable.to_string_lossy();
            let name = variable.get(PREFIX.len()..).unwrap_or_default();
            let path = self.paths().find(|path| path.to_lowercase() == path_of(name));
            let Some(path) = path.map(str::to_owned) else {
                let meant = nearest(name, self.paths());
                let meant = self.keys.iter().find(|key| Some(key.path.as_str()) == meant);
                let hint = meant.map(|key| format!("; did you mean {}?", key.variable));
                let what = format!("names no key and is ignored{}", hint.unwrap_or_default());
                self.warnings.push(Problem::new(variable, "", what).to_string());
                continue;
            };
            let what = if let Some(other) = set_by.insert(path.clone(), variable.to_string()) {
                format!("is also set by {other}")
            } else if let Some(text) = text.to_str() {
                self.set_text(&variable, &path, text);
                continue;
            } else {
                "is not valid UTF-8".to_owned()
            };
            self.problems.push(Problem::new(variable, path, what));
        }
    }

    /// Puts flags on top: keys, and what was given for them.
    pub(super) fn flags(&mut self, flags: &[(&str, String)]) {
        for (path, text) in flags {
            self.set_text(&format!("--{}", flag_of(path)), path, text);
        }
    }

    fn set_text(&mut self, source: &str, path: &str, text: &str) {
        let key = self.keys.iter().find(|key| key.path == path);
        let value = key.map_or_else(|| Value::from(text), |key| key.value_type.parse(text));
        self.set(source, path, value);
    }

    fn set(&mut self, source: &str, path: &str, value: Value) {
        let key = self.keys.iter().find(|key| key.path == path);
        let checked = key.map_or(Ok(()), |key| key.value_type.check(&value)).and_then(|()| {
            // A value on top of the defaults alone: extracting a whole layer would stop at the
            // first value that its field refuses.
            let figment = self.defaults.clone().merge(Serialized::default(path, &value));
            figment.extract::<T>().map_err(|error| error.kind.to_string())
        });
        match checked {
            Ok(_) => {
                let merged = std::mem::take(&mut self.merged);
                self.merged = merged.merge(Serialized::default(path, value));
                self.set_by.push((path.to_owned(), source.to_owned()));
            }
            Err(what) => self.problems.push(Problem::new(source, path, what)),
        }
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.path.as_str())
    }

    /// The configuration and the warnings, or everything that is wrong.
    pub(super) fn finish(mut self) -> Result<(T, Vec<String>), ConfigError> {
        match self.merged.extract::<T>() {
            Ok(config) => {
                self.check(&config);
                if self.problems.is_empty() {
                    return Ok((config, self.warnings));
                }
            }
            Err(error) => {
                let key = error.path.join(".");
                self.problems.push(Problem::new("configuration", key, error.kind.to_string()));
            }
        }
        Err(ConfigError { problems: self.problems })
    }

    /// Adds what the checks find, but for what follows from a value that was refused before.
    fn check(&mut self, config: &T) {
        let mut checked = Problems::default();
        config.runtime().check(&mut checked);
        config.check(&mut checked);
        let is_refused = |key: &&str| self.problems.iter().any(|known| known.key == *key);
        checked.0.retain(|(keys, _)| !keys.iter().any(is_refused));
        for (keys, what) in checked.0 {
            let last = self.set_by.iter().rfind(|(key, _)| keys.contains(&key.as_str()));
            self.problems.push(match last {
                Some((key, source)) => Problem::new(source, key, what),
                None => Problem::new("defaults", keys.join(", "), what),
            });
        }
    }
}

/// The values of a YAML file; an empty one has none.
///
/// Only `true` and `false` are booleans. serde-saphyr's own provider for figment also takes the
/// words of YAML 1.1, so that `level: off` would be a boolean.
fn parse(text: &str) -> Result<Dict, String> {
    // With comments, 33 comment lines between a key and its value would be too many.
    let options = serde_saphyr::options! {
        strict_booleans: true,
        emit_comments: false,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Option<Value>>(text, options) {
        Ok(Some(Value::Dict(_, values))) => Ok(values),
        Ok(None | Some(Value::Empty(..))) => Ok(Dict::new()),
        Ok(Some(_)) => Err("must hold keys with values (`key: value`)".to_owned()),
        Err(error) => {
            // The default formatter addresses developers that call the parser.
            let error = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
            Err(format!("is no valid YAML: {error}"))
        }
    }
}
