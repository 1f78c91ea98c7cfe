//! The project's own programs, built by cargo.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow};

use crate::run::Run;

/// Every program that suites run. `xtask` builds the same ones by the same command before it starts
/// the suites.
const PROGRAMS: [&str; 4] = ["policyctl", "policy-operator", "policy-watcher", "policy-webhook"];

/// The path of `policyctl`, built with cargo's dev profile.
pub fn policyctl() -> Result<PathBuf> {
    built("policyctl", "dev")
}

/// The path of a service, such as `policy-watcher`, built with cargo's dev profile.
pub fn service_binary(name: &str) -> Result<PathBuf> {
    built(name, "dev")
}

/// Names a folder of programs to measure instead of those of this checkout, to compare revisions.
const MEASURED: &str = "BENCH_PROGRAMS";

/// The path of a program as it is released, for measurements.
pub fn released_program(name: &str) -> Result<PathBuf> {
    match env::var_os(MEASURED) {
        Some(folder) => Ok(Path::new(&folder).join(name)),
        None => built(name, "release"),
    }
}

/// Names a folder of programs of an earlier build, to measure beside those of this checkout.
const EARLIER: &str = "BENCH_EARLIER";

/// The path of a program of the earlier build, where one is to be measured.
#[must_use]
pub fn earlier_program(name: &str) -> Option<PathBuf> {
    env::var_os(EARLIER).map(|folder| Path::new(&folder).join(name))
}

/// The checkout that this program was built in.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."))
}

/// Builds a program once per process, and gives its path. A second call gives the first one's error.
fn built(program: &str, profile: &str) -> Result<PathBuf> {
    type Built = BTreeMap<(String, String), Result<PathBuf, String>>;
    static BUILT: Mutex<Built> = Mutex::new(Built::new());
    // Locked during the build, as cargo runs one build at a time anyway.
    let mut known = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (program.to_owned(), profile.to_owned());
    if let Some(path) = known.get(&key) {
        return path.clone().map_err(|error| anyhow!(error));
    }
    // All at once: cargo resolves the features of the packages together, so that a dependency is
    // compiled once for all of them. A release build takes minutes for each program.
    let programs = if profile == "dev" { &PROGRAMS[..] } else { &[program] };
    let messages = build(programs, profile).map_err(|error| format!("{error:#}"));
    for &each in programs.iter().chain([&program]) {
        let path = messages.clone().and_then(|messages| {
            executable(&messages, each).ok_or_else(|| format!("cargo built no program {each}"))
        });
        known.insert((each.to_owned(), profile.to_owned()), path);
    }
    let path = known.get(&key).context("the program was not built")?;
    path.clone().map_err(|error| anyhow!(error))
}

/// Runs `cargo build`, and gives its messages, a line of JSON each.
fn build(programs: &[&str], profile: &str) -> Result<String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo.args(["build", "--locked", "--profile", profile]);
    cargo.args(programs.iter().flat_map(|program| ["--package", program]));
    cargo.arg("--message-format=json-render-diagnostics");
    // cargo describes the running package to its programs by variables. The next cargo must not see
    // them: ring's build script runs again when they change, and all that depends on it is rebuilt.
    for (name, _) in std::env::vars_os() {
        let is_about_us = |text: &str| {
            ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_"]
                .iter()
                .any(|part| text.starts_with(part))
        };
        if name.to_str().is_some_and(is_about_us) {
            cargo.env_remove(&name);
        }
    }
    Run::of(&mut cargo, None)?.succeeded()
}

/// The path of a program in the messages of `cargo build`.
fn executable(messages: &str, program: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str(line).ok());
    messages
        .filter(|message: &serde_json::Value| message["target"]["name"] == program)
        .find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)))
}
