//! Calls of cargo.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// The project's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."))
}

/// The cargo that runs this program, in the root of the project.
pub(crate) fn command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    forget_this_package(&mut command);
    command
}

/// Takes the variables away by which cargo describes this package to this program. The next cargo must
/// not see them: ring's build script runs again when they change, and all that depends on it is rebuilt.
pub(crate) fn forget_this_package(command: &mut Command) {
    const ABOUT_US: [&str; 3] = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_"];
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ABOUT_US.iter().any(|part| name.starts_with(part)) {
            command.env_remove(&*name);
        }
    }
}

/// Runs cargo with its output shown.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    run_with(None, arguments)
}

/// Like [`run`], with an environment variable set.
pub(crate) fn run_with(variable: Option<(&str, &str)>, arguments: &[&str]) -> Result<()> {
    let line = format!("cargo {}", arguments.join(" "));
    let status = command().args(arguments).envs(variable).status();
    let status = status.with_context(|| format!("cannot start {line}"))?;
    ensure!(status.success(), "{line} failed ({status})");
    Ok(())
}

/// Runs cargo and returns its standard output.
pub(crate) fn output(arguments: &[&str]) -> Result<String> {
    let line = format!("cargo {}", arguments.join(" "));
    let output =
        command().args(arguments).output().with_context(|| format!("cannot start {line}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{line} failed ({})\n{errors}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs cargo with its progress shown, and returns its standard output.
pub(crate) fn shown_output(arguments: &[&str]) -> Result<String> {
    let line = format!("cargo {}", arguments.join(" "));
    let output = command().args(arguments).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start {line}"))?;
    ensure!(output.status.success(), "{line} failed ({})", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// The names of the workspace's crates.
pub(crate) fn members() -> Result<Vec<String>> {
    let metadata: serde_json::Value =
        serde_json::from_str(&output(&["metadata", "--no-deps", "--format-version=1"])?)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    Ok(packages.iter().filter_map(|package| Some(package["name"].as_str()?.to_owned())).collect())
}

/// Builds a program of the workspace and returns its path.
pub(crate) fn build(program: &str, options: &[&str]) -> Result<PathBuf> {
    let format = "--message-format=json-render-diagnostics";
    let messages =
        output(&[&["build", "--locked", "--package", program, format], options].concat())?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|message| message["target"]["name"] == program && message["executable"].is_string())
        .and_then(|message| Some(PathBuf::from(message["executable"].as_str()?)))
        .with_context(|| format!("cargo built no program {program}"))
}
