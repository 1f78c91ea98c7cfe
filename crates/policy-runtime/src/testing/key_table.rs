//! The table of configuration keys in a page of the documentation.

use std::{env, fs};

use crate::config::{Configuration, key_table};

/// Where the table begins and ends in a page.
const TABLE: [&str; 2] = ["<!-- keys -->\n", "<!-- end of keys -->\n"];

/// Compares the table of keys in `docs/PAGE.md` with the configuration. Where the environment has
/// `UPDATE_DOCS`, as `cargo xtask gen` sets it, writes the table first.
///
/// # Errors
/// The page has no such table, or another one.
pub fn check_key_table<C: Configuration>(page: &str) -> Result<(), String> {
    let root = env::var("CARGO_MANIFEST_DIR").map_err(|error| error.to_string())?;
    let path = format!("{root}/../../docs/{page}.md");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let [begin, end] = TABLE;
    let split = text.split_once(begin).and_then(|(before, rest)| {
        let (table, after) = rest.split_once(end)?;
        Some((before, table, after))
    });
    let (before, table, after) = split.ok_or_else(|| format!("{path} has no {begin} … {end}"))?;
    let wanted = key_table::<C>();
    if table == wanted {
        return Ok(());
    }
    if env::var_os("UPDATE_DOCS").is_none() {
        return Err(format!("docs/{page}.md is out of date: run `cargo xtask gen`"));
    }
    let text = [before, begin, &wanted, end, after].concat();
    fs::write(&path, text).map_err(|error| format!("{path}: {error}"))
}
