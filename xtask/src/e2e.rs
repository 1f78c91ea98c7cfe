//! Starts what needs a real control plane: the package `e2e` in tests/ has the suites, the demo and
//! the measurements.

use anyhow::{Result, ensure};
use clap::Args;

use crate::cargo;

/// The package of the suites.
const PACKAGE: &str = "e2e";
/// The environment variable by which the testbed selects a Kubernetes release.
const RELEASE_VARIABLE: &str = "TESTBED_KUBERNETES";
/// The suites that depend on the API server's version; the others test the command line, or faults
/// that do not come from the server.
const CORE: [&str; 8] =
    ["crds", "live", "operator", "rights", "testbed", "watcher", "webhook", "webhook_config"];

#[derive(Args)]
pub(crate) struct TestOptions {
    /// Run the crates' own tests only, without a control plane
    #[arg(long, conflicts_with_all = ["suite", "kubernetes"])]
    quick: bool,
    /// Run one suite only, such as `watcher`
    #[arg(long, value_name = "NAME")]
    suite: Option<String>,
    /// Run the core suites, or the one of --suite, on this Kubernetes release, such as 1.36
    #[arg(long, value_name = "RELEASE")]
    kubernetes: Option<String>,
}

/// The crates' own tests and all suites, or the selected part of them.
pub(crate) fn test(options: &TestOptions) -> Result<()> {
    let selected = match (&options.suite, &options.kubernetes) {
        (Some(suite), _) => vec![suite.as_str()],
        (None, Some(_)) => CORE.to_vec(),
        (None, None) => vec![],
    };
    if selected.is_empty() {
        cargo::run(&["test", "--workspace", "--exclude", PACKAGE, "--locked"])?;
    }
    if options.quick {
        return Ok(());
    }
    suites(&selected, options.kubernetes.as_deref())
}

/// Runs suites by name; all of them, and the testbed's unit tests, where none is named.
fn suites(names: &[&str], release: Option<&str>) -> Result<()> {
    let release = release.map(|release| (RELEASE_VARIABLE, release));
    // Here, and not in the middle of a test, the first build of the control plane shows progress.
    cargo::run_with(release, &run_arguments(&["build"]))?;
    let test = ["test", "--package", PACKAGE, "--locked"];
    if names.is_empty() {
        return cargo::run(&test);
    }
    let filters: Vec<String> = names.iter().map(|name| format!("{name}::")).collect();
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    let suites = [&test[..], &["--test", "suites", "--"], &filters].concat();
    let listed = cargo::output(&[&suites[..], &["--list"]].concat())?;
    for (name, filter) in names.iter().zip(&filters) {
        let exists = listed.lines().any(|line| line.starts_with(filter));
        ensure!(exists, "there is no suite {name}; the suites are in tests/tests/suites");
    }
    cargo::run_with(release, &suites)
}

/// The product on a control plane of its own.
pub(crate) fn demo(once: bool) -> Result<()> {
    println!("Building the demo (the first time some minutes) ...");
    let demo: &[&str] = if once { &["demo", "--once"] } else { &["demo"] };
    cargo::run(&run_arguments(demo))
}

/// What a measurement prints, one JSON object; its progress is shown.
pub(crate) fn measure(what: &str) -> Result<String> {
    cargo::run(&run_arguments(&["build"]))?;
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

fn run_arguments<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--quiet", "--locked", "--package", PACKAGE, "--"], arguments].concat()
}
