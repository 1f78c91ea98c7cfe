//! What needs a real control plane. That is the business of the package `e2e`, in tests/: here it
//! is only started.

use anyhow::Result;

use crate::cargo;

/// The package of the suites.
const PACKAGE: &str = "e2e";

/// The crates' own tests, then the suites.
pub(crate) fn test(quick: bool) -> Result<()> {
    cargo::run(&["test", "--workspace", "--exclude", PACKAGE, "--locked"])?;
    if quick {
        return Ok(());
    }
    // Here, and not in the middle of a test, the first build of the control plane shows progress.
    run(&["build"])?;
    cargo::run(&["test", "--package", PACKAGE, "--locked"])
}

/// The product on a control plane of its own.
pub(crate) fn demo(once: bool) -> Result<()> {
    println!("Building the demo (the first time some minutes) ...");
    if once { run(&["demo", "--once"]) } else { run(&["demo"]) }
}

/// What a measurement prints, one JSON object; its progress is shown.
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
