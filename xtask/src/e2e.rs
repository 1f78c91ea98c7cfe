//! Starts what needs a real control plane and is not a test: the demo and the measurements of the
//! package `e2e` in tests/.

use anyhow::Result;

use crate::cargo;

/// The package of the suites, the demo and the measurements.
pub(crate) const PACKAGE: &str = "e2e";

/// The product on a control plane of its own.
pub(crate) fn demo(once: bool) -> Result<()> {
    println!("Building the demo (the first time some minutes) ...");
    let demo: &[&str] = if once { &["demo", "--once"] } else { &["demo"] };
    run(demo)
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
