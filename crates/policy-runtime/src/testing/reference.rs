//! The parts of docs/reference that describe a service: its configuration keys, and its metrics.

use std::{env, fs};

use policy_metrics::{Metric, metric_table};

use crate::config::{Configuration, key_table};

/// Compares the keys of a service in docs/reference/configuration.md with its configuration. Where
/// the environment has `UPDATE_DOCS`, as `cargo xtask gen` sets it, writes them first.
///
/// # Errors
/// The page has no such part, or another one.
pub fn check_key_table<C: Configuration>(service: &str) -> Result<(), String> {
    check_part("configuration", service, &key_table::<C>())
}

/// The same with metrics and docs/reference/metrics.md.
///
/// # Errors
/// As for [`check_key_table`].
pub fn check_metric_table(part: &str, metrics: &[&Metric]) -> Result<(), String> {
    check_part("metrics", part, &metric_table(metrics))
}

fn check_part(page: &str, part: &str, wanted: &str) -> Result<(), String> {
    let root = env::var("CARGO_MANIFEST_DIR").map_err(|error| error.to_string())?;
    let path = format!("{root}/../../docs/reference/{page}.md");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let [begin, end] = [format!("<!-- {part} -->\n"), format!("<!-- end of {part} -->\n")];
    let split = text.split_once(&begin).and_then(|(before, rest)| {
        let (found, after) = rest.split_once(&end)?;
        Some((before, found, after))
    });
    let (before, found, after) = split.ok_or_else(|| format!("{path} has no {begin} … {end}"))?;
    if found == wanted {
        return Ok(());
    }
    if env::var_os("UPDATE_DOCS").is_none() {
        return Err(format!("docs/reference/{page}.md is out of date: run `cargo xtask gen`"));
    }
    let text = [before, &begin, wanted, &end, after].concat();
    fs::write(&path, text).map_err(|error| format!("{path}: {error}"))
}
