//! The shape of the tree: short files, the agreed top level, and no path of one machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cargo::root;

/// Longest file of code, its tests not counted.
const MAX_LINES: usize = 400;
const MAX_SERVICE_MAIN: usize = 20;
/// What stands at the top, beside dot files.
const TOP_LEVEL: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "crates",
    "deploy",
    "charts",
    "xtask",
    "tests",
    "docs",
    "README.md",
    "LICENSE",
];

pub(crate) fn run() -> Result<()> {
    let files = tracked_files()?;
    let mut problems = Vec::new();
    for file in &files {
        let top = file.split('/').next().unwrap_or_default();
        if !top.starts_with('.') && !TOP_LEVEL.contains(&top) {
            problems.push(format!("{file} is outside the agreed top level"));
        }
        let path = root().join(file);
        // A file that is deleted, but not yet committed.
        let Ok(bytes) = fs::read(&path) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        problems.extend(too_long(file, &text));
        problems.extend(machine_path(file, &text));
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    println!("{} files are in shape", files.len());
    Ok(())
}

fn tracked_files() -> Result<Vec<String>> {
    let output = Command::new("git").args(["ls-files"]).current_dir(root()).output();
    let output = output.context("cannot start git ls-files")?;
    ensure!(output.status.success(), "git ls-files failed: this is no git checkout");
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

fn too_long(file: &str, text: &str) -> Option<String> {
    if Path::new(file).extension().is_none_or(|extension| extension != "rs") {
        return None;
    }
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
    let is_service_main = file.starts_with("crates/") && file.ends_with("src/main.rs");
    let most = if is_service_main { MAX_SERVICE_MAIN } else { MAX_LINES };
    (lines > most).then(|| format!("{file} has {lines} lines; {most} is the limit"))
}

/// A home folder names a person or a machine.
fn machine_path(file: &str, text: &str) -> Option<String> {
    let line = text.lines().position(|line| {
        let homes = ["/home", "/Users", "/root"].map(|home| format!("{home}/"));
        homes.iter().any(|home| line.contains(home.as_str()))
    })?;
    Some(format!("{file}:{} has a path of one machine", line + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_and_paths_of_a_machine_are_found() {
        let long = "//\n".repeat(MAX_LINES + 1);
        assert!(too_long("crates/a/src/b.rs", &long).is_some());
        assert!(too_long("docs/a.md", &long).is_none());
        assert!(too_long("crates/a/src/main.rs", &"//\n".repeat(21)).is_some());
        assert!(too_long("crates/a/src/b.rs", &format!("#[cfg(test)]\n{long}")).is_none());
        let home = ["/ho", "me/me/a"].concat();
        assert_eq!(
            machine_path("a", &format!("x\n{home}")).unwrap(),
            "a:2 has a path of one machine"
        );
        assert_eq!(machine_path("a", "/srv/app.yaml"), None);
    }
}
