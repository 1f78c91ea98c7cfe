//! The keys of a configuration, as its JSON schema lists them.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use serde_json::Value as Json;
use strsim::normalized_damerau_levenshtein;

use super::schema::KeyType;
use super::{Configuration, PREFIX};

/// A suggestion has to be at least this similar to what was written.
const SIMILAR: f64 = 0.75;

/// A key that may be set.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// As in the file, with the groups around it: `log.format`.
    pub(super) path: String,
    /// The environment variable: `GOV_LOG__FORMAT`.
    pub(super) variable: String,
    /// The first paragraph of the field's documentation.
    pub(super) description: String,
    pub(super) value_type: KeyType,
    default: Json,
}

/// All keys of a service, in alphabetical order.
pub(super) fn keys<T: Configuration>() -> Vec<Key> {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let defaults = serde_json::to_value(T::default()).unwrap_or_default();
    let mut keys = Vec::new();
    collect("", schema.as_value(), &defaults, &mut keys);
    keys.sort_by(|left, right| left.path.cmp(&right.path));
    keys
}

fn collect(prefix: &str, schema: &Json, defaults: &Json, keys: &mut Vec<Key>) {
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let (path, default) = (format!("{prefix}{name}"), &defaults[name]);
        if schema["properties"].is_object() {
            collect(&format!("{path}."), schema, default, keys);
            continue;
        }
        let description = schema["description"].as_str().unwrap_or_default();
        keys.push(Key {
            variable: variable_of(&path),
            description: description.split("\n\n").next().unwrap_or_default().replace('\n', " "),
            value_type: KeyType::of(schema),
            default: default.clone(),
            path,
        });
    }
}

/// The keys of a service as a table in Markdown, for its page in the documentation.
#[must_use]
pub fn key_table<T: Configuration>() -> String {
    let mut table = "| key | variable | default | meaning |\n|---|---|---|---|\n".to_owned();
    for Key { path, variable, description, value_type, default } in keys::<T>() {
        let is_flag = super::args::flag_keys::<T>().any(|key| key == path);
        let flag = if is_flag { format!(", `--{}`", flag_of(&path)) } else { String::new() };
        let default = match default {
            Json::Null => "none".to_owned(),
            Json::Array(items) if items.is_empty() => "none".to_owned(),
            Json::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let limits = value_type.limits().map(|limits| format!(" ({limits})")).unwrap_or_default();
        let meaning = description.trim_end_matches('.');
        // Writing to a string does not fail.
        let _ =
            writeln!(table, "| `{path}` | `{variable}`{flag} | {default} | {meaning}{limits} |");
    }
    table
}

/// `tls.cert` as `tls-cert`.
pub(super) fn flag_of(path: &str) -> String {
    path.replace('.', "-")
}

/// `shutdown.graceSeconds` as `GOV_SHUTDOWN__GRACE_SECONDS`.
fn variable_of(path: &str) -> String {
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

/// The path that a variable (without the prefix) stands for, in lower case. Words may be apart or
/// not: `LOG__LEVEL`, `GRACE_SECONDS` and `GRACESECONDS`.
pub(super) fn path_of(name: &str) -> String {
    name.replace("__", ".").replace('_', "").to_lowercase()
}

/// The name that was probably meant by a wrong one.
pub(super) fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    let similarity = |name: &str| {
        let name = name.to_lowercase();
        // A key outside of its group: `level` for `log.level`.
        let last = name.rsplit('.').next().unwrap_or_default();
        normalized_damerau_levenshtein(&wrong, &name)
            .max(normalized_damerau_levenshtein(&wrong, last))
    };
    let similar = names.map(|name| (similarity(name), name)).filter(|(much, _)| *much >= SIMILAR);
    similar.max_by(|left, right| left.0.total_cmp(&right.0)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

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
