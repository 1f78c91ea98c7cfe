//! What is wrong with a configuration, as sentences.

use std::fmt::{self, Display};

use policy_kube::names::{is_label, is_subdomain};

/// One thing that is wrong; one line when printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where the value comes from: a file, a variable, a flag, or the defaults.
    pub source: String,
    /// The key; empty where the problem is with the whole source.
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
        let parts = [&self.source, &self.key, &self.what].map(String::as_str);
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        // A value may hold line breaks.
        parts.join(": ").chars().try_for_each(|letter| match letter {
            letter if letter.is_control() => write!(f, "{}", letter.escape_default()),
            letter => write!(f, "{letter}"),
        })
    }
}

/// A configuration that cannot be used, with everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// In the order of the layers; never empty.
    pub problems: Vec<Problem>,
}

impl Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used:")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// What the checks of a configuration found.
#[derive(Debug, Default)]
pub struct Problems(pub(crate) Vec<(Vec<&'static str>, String)>);

impl Problems {
    /// Adds a problem with the values of these keys. The report names the source of the one that
    /// was set last.
    pub fn add(&mut self, keys: &[&'static str], what: impl Into<String>) {
        self.0.push((keys.to_vec(), what.into()));
    }

    /// Checks a name of a namespace or Service (RFC 1123 label).
    pub fn check_label(&mut self, key: &'static str, name: &str) {
        self.check_name(key, name, is_label);
    }

    /// Checks a name of another object (RFC 1123 subdomain).
    pub fn check_subdomain(&mut self, key: &'static str, name: &str) {
        self.check_name(key, name, is_subdomain);
    }

    fn check_name(&mut self, key: &'static str, name: &str, is_name: fn(&str) -> bool) {
        if name.is_empty() {
            self.add(&[key], "must not be empty");
        } else if !is_name(name) {
            let what = "is not a Kubernetes name (lower case letters, digits and `-`)";
            self.add(&[key], format!("`{name}` {what}"));
        }
    }
}
