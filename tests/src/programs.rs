//! The project's own programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow};

use crate::run::Run;

/// The path of `policyctl`, built by cargo's dev profile once per process.
pub fn policyctl() -> Result<PathBuf> {
    built("policyctl", "dev")
}

/// The path of `policyctl` as it is released, for measurements.
pub fn released_policyctl() -> Result<PathBuf> {
    built("policyctl", "release")
}

/// The path of a service, such as `policy-watcher`, built by cargo's dev profile once per process.
pub fn service_binary(name: &str) -> Result<PathBuf> {
    built(name, "dev")
}

/// The path of a service as it is released, for measurements.
pub fn released_service_binary(name: &str) -> Result<PathBuf> {
    built(name, "release")
}

/// The checkout that this program was built in.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."))
}

/// Builds a program unless this process has, or has failed to.
fn built(program: &str, profile: &str) -> Result<PathBuf> {
    type Built = BTreeMap<(String, String), Result<PathBuf, String>>;
    static BUILT: Mutex<Built> = Mutex::new(Built::new());
    // Held while cargo runs: it lets one build go on at a time anyway.
    let mut known = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let build = || build(program, profile).map_err(|error| format!("{error:#}"));
    let path = known.entry((program.to_owned(), profile.to_owned())).or_insert_with(build);
    path.clone().map_err(|error| anyhow!(error))
}

fn build(program: &str, profile: &str) -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo.args(["build", "--locked", "--package", program, "--profile", profile]);
    cargo.arg("--message-format=json-render-diagnostics");
    // What cargo tells the program that it runs about its package is not meant for the next cargo:
    // build scripts (ring's) run again when it changes, and all that depends on them.
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
    let messages = Run::of(&mut cargo, None)?.succeeded()?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|message| message["target"]["name"] == program && message["executable"].is_string())
        .and_then(|message| Some(PathBuf::from(message["executable"].as_str()?)))
        .with_context(|| format!("cargo built no program {program}"))
}
