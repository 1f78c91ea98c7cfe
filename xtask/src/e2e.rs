//! Starts the demo and the measurements of the package `e2e` in tests/, which need a control plane.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::cargo;

/// The package of the suites, the demo and the measurements.
pub(crate) const PACKAGE: &str = "e2e";

/// Starts the demo on a control plane of its own.
pub(crate) fn demo(once: bool) -> Result<()> {
    println!("Building the demo (the first time some minutes) ...");
    let demo: &[&str] = if once { &["demo", "--once"] } else { &["demo"] };
    run(demo)
}

/// Runs the checks on nodes with real kubelets.
pub(crate) fn node(images: &Path, keep: bool) -> Result<()> {
    // cargo starts the program in the project's root.
    let images = std::path::absolute(images)?;
    let images = images.to_str().context("the path of the images is not UTF-8")?;
    let keep: &[&str] = if keep { &["--keep"] } else { &[] };
    run(&[&["node", "--images", images], keep].concat())
}

/// Lints the chart. The linters are built for this alone, so the tests leave them out.
pub(crate) fn chart_lint() -> Result<()> {
    run(&["chart-lint"])
}

/// Lets Flux apply `deploy`. It is built for this alone, so the tests leave it out.
pub(crate) fn gitops() -> Result<()> {
    run(&["gitops"])
}

/// Lets the Prometheus operator configure Prometheus. It is built for this alone, as Flux.
pub(crate) fn monitoring() -> Result<()> {
    run(&["monitoring"])
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
