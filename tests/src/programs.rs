//! The project's own programs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context as _, Result, anyhow};

use crate::run::Run;

/// The path of `policyctl`, built by cargo's dev profile once per process.
pub fn policyctl() -> Result<PathBuf> {
    static BUILT: LazyLock<Result<PathBuf, String>> =
        LazyLock::new(|| build("policyctl", "dev").map_err(|error| format!("{error:#}")));
    BUILT.clone().map_err(|error| anyhow!(error))
}

/// The path of `policyctl` as it is released, for measurements.
pub fn released_policyctl() -> Result<PathBuf> {
    build("policyctl", "release")
}

fn build(program: &str, profile: &str) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args(["build", "--locked", "--package", program, "--profile", profile]);
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
