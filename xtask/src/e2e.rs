//! Starts the demo and the measurements of the package `e2e` in tests/, which need a control plane.

use anyhow::Result;

use crate::cargo;

/// The package of the suites, the demo and the measurements.
pub(crate) const PACKAGE: &str = "e2e";

/// Starts the demo on a control plane of its own.
pub(crate) fn demo(once: bool) -> Result<()> {
    println!("Building the demo (the first time some minutes) ...");
    let demo: &[&str] = if once { &["demo", "--once"] } else { &["demo"] };
    run(demo)
}

/// Runs a measurement with its progress shown, and returns the JSON object that it prints.
pub(crate) fn measure(what: &str) -> Result<String> {
    run(&["build"])?;
    cargo::shown_output(&[
        "run",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        PACKAGE,
        "--",
        what,
    ])
}

fn run(arguments: &[&str]) -> Result<()> {
    let cargo = ["run", "--quiet", "--locked", "--package", PACKAGE, "--"];
    cargo::run(&[&cargo, arguments].concat())
}
