//! The shape of the tree: short files, the agreed top level, and no path of one machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cargo::root;
use crate::rust_lines::{self, Lines};

/// Longest Rust file, without its blocks of tests.
const MAX_LINES: usize = 400;
const MAX_SERVICE_MAIN: usize = 20;
/// The names allowed at the top level, beside dot files.
const TOP_LEVEL: [&str; 11] = [
    "Cargo.toml",
    "Cargo.lock",
    "crates",
    "deploy",
    "charts",
    "xtask",
    "tests",
    "docs",
    "findings",
    "README.md",
    "LICENSE",
];

pub(crate) fn run() -> Result<()> {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for name in tracked_files()? {
        let top = name.split('/').next().unwrap_or_default();
        if !top.starts_with('.') && !TOP_LEVEL.contains(&top) {
            problems.push(format!("{name} is outside the agreed top level"));
        }
        // git lists a file that is deleted but not yet committed.
        let Ok(bytes) = fs::read(root().join(&name)) else { continue };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        problems.extend(too_long(&name, &text));
        problems.extend(machine_path(&name, &text));
        problems.extend(metric_of_a_service(&name, &text));
        files.push((name, text));
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    println!("{} files are in shape", files.len());
    let Lines { all, code } = rust_lines::outside_tests(&files, "crates/");
    println!("crates/ has {all} lines of Rust without tests, {code} of them code");
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
    let lines = rust_lines::count(text).all;
    let is_service_main = file.starts_with("crates/") && file.ends_with("src/main.rs");
    let most = if is_service_main { MAX_SERVICE_MAIN } else { MAX_LINES };
    (lines > most)
        .then(|| format!("{file} has {lines} lines outside of test blocks; {most} is the limit"))
}

/// Finds the first path in a home folder, which names a person or a machine.
fn machine_path(file: &str, text: &str) -> Option<String> {
    let line = text.lines().position(|line| {
        let homes = ["/home", "/Users", "/root"].map(|home| format!("{home}/"));
        homes.iter().any(|home| line.contains(home.as_str()))
    })?;
    Some(format!("{file}:{} has a path of one machine", line + 1))
}

/// Finds where policy-runtime, which does not know what a service is about, names the metrics of one.
fn metric_of_a_service(file: &str, text: &str) -> Option<String> {
    let names_one = |(_, path): &(usize, &str)| {
        // A path, or a group of them.
        let path = path.split_inclusive(';').next().unwrap_or_default();
        ["watcher", "operator", "webhook"].iter().any(|service| path.contains(service))
    };
    let (at, _) =
        text.match_indices("policy_metrics::").map(|(at, _)| (at, &text[at..])).find(names_one)?;
    let line = text[..at].matches('\n').count() + 1;
    file.starts_with("crates/policy-runtime/").then(|| {
        format!("{file}:{line} names metrics of a service; policy-runtime has every_service")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_a_problem_and_its_tests_do_not_count() {
        let long = "//\n".repeat(MAX_LINES + 1);
        assert!(too_long("crates/a/src/b.rs", &long).is_some());
        assert!(too_long("docs/a.md", &long).is_none());
        assert!(too_long("crates/a/src/main.rs", &"//\n".repeat(21)).is_some());
        let block = format!("#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert!(too_long("crates/a/src/b.rs", &block).is_none());
        let declaration = format!("#[cfg(test)]\nmod tests;\n{long}");
        assert!(too_long("crates/a/src/b.rs", &declaration).is_some());
    }

    #[test]
    fn the_runtime_names_no_metric_of_a_service() {
        let file = "crates/policy-runtime/src/service.rs";
        let grouped = "use a;\nuse policy_metrics::{\n    Metric,\n    watcher::PODS,\n};\n";
        let problem = metric_of_a_service(file, grouped).unwrap();
        assert!(problem.starts_with("crates/policy-runtime/src/service.rs:2 names"), "{problem}");
        let allowed = "use policy_metrics::every_service::LEADER;\n// The watcher.\n";
        assert_eq!(metric_of_a_service(file, allowed), None);
        assert_eq!(metric_of_a_service("crates/policy-watcher/src/lib.rs", grouped), None);
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        let home = ["/ho", "me/me/a"].concat();
        let problem = machine_path("a", &format!("x\n{home}")).unwrap();
        assert_eq!(problem, "a:2 has a path of one machine");
        assert_eq!(machine_path("a", "/srv/app.yaml"), None);
    }
}
