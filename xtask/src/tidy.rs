//! The shape of the tree: short files, and nothing of one machine in them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use walkdir::WalkDir;

use crate::cargo::root;

/// Longest file of code, its tests not counted.
const MAX_LINES: usize = 400;
const MAX_SERVICE_MAIN: usize = 20;

pub(crate) fn run() -> Result<()> {
    let mut problems = Vec::new();
    let mut files = 0;
    for folder in ["crates", "xtask", "tests"] {
        for entry in WalkDir::new(root().join(folder)).into_iter().filter_map(Result::ok) {
            if entry.path().extension().is_some_and(|extension| extension == "rs") {
                files += 1;
                let text = fs::read_to_string(entry.path())
                    .with_context(|| format!("cannot read {}", entry.path().display()))?;
                problems.extend(problem(entry.path(), &text));
            }
        }
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    println!("{files} files of code, none too long");
    Ok(())
}

fn problem(path: &Path, text: &str) -> Option<String> {
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
    let is_service_main = path.ends_with("src/main.rs") && !path.starts_with(root().join("xtask"));
    let most = if is_service_main { MAX_SERVICE_MAIN } else { MAX_LINES };
    let name = path.strip_prefix(root()).unwrap_or(path).display();
    (lines > most).then(|| format!("{name} has {lines} lines; {most} is the limit"))
}
