//! `cargo xtask test`: the crates' own tests, then the suites on a real control plane.
//!
//! cargo is called once for all test programs and once for the programs under test, so that it
//! compiles no dependency a second time with other features. The test programs are then started
//! here: the suites with more threads than the rest, and those with a hostile load one by one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde::Deserialize;

use crate::cargo;
use crate::e2e::PACKAGE;

/// The environment variable by which the testbed selects a Kubernetes release.
const RELEASE_VARIABLE: &str = "TESTBED_KUBERNETES";
/// The programs that the suites run, as `tests/src/programs.rs` builds them.
const PROGRAMS: [&str; 4] = ["policyctl", "policy-operator", "policy-watcher", "policy-webhook"];
/// Suites that run at the same time. More than there are cores, as they wait most of the time: for
/// a control plane to start, for a minute to pass, for a lease to expire. Each may have a control
/// plane of its own, of 500 MB.
const SUITE_THREADS: &str = "8";
/// The parts of suites with a hostile load, which take all of the machine. They state how long others
/// may wait meanwhile, so they run alone, one after the other. So do those that state how soon something
/// happens, in seconds.
const ALONE: [&str; 10] = [
    "monitoring::scraped::",
    "operator::cluster::a_changed_policy_or_label",
    "operator::quiet::a_storm",
    "operator::tenants::",
    "unread::",
    "upgrade::an_upgrade_admits",
    "watcher::election::",
    "webhook::cluster::",
    "webhook::hostile::",
    "webhook::tenant::",
];
/// The suites that install charts. Helm is built for them only.
const WITH_HELM: [&str; 1] = ["remediation"];
/// The suites that depend on the API server's version; the others test the command line, or faults
/// that do not come from the server.
const CORE: [&str; 8] =
    ["crds", "live", "operator", "rights", "testbed", "watcher", "webhook", "webhook_config"];

#[derive(Args)]
pub(crate) struct Options {
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

pub(crate) fn run(options: &Options) -> Result<()> {
    let selected = match (&options.suite, &options.kubernetes) {
        (Some(suite), _) => vec![suite.as_str()],
        (None, Some(_)) => CORE.to_vec(),
        (None, None) => vec![],
    };
    let built = Built::new()?;
    if selected.is_empty() {
        built.test_programs.iter().try_for_each(|program| program.run(None, &[]))?;
        cargo::run(&["test", "--workspace", "--doc", "--locked", "--quiet"])?;
    }
    if options.quick {
        return Ok(());
    }
    built.run_suites(&selected, options.kubernetes.as_deref())
}

/// What cargo built.
struct Built {
    /// All but the suites.
    test_programs: Vec<TestProgram>,
    suites: TestProgram,
    /// Builds the control plane where it is missing.
    testbed: PathBuf,
}

struct TestProgram {
    name: String,
    path: PathBuf,
    /// The folder of its package: cargo starts tests there.
    folder: PathBuf,
}

/// A line of cargo's JSON, as far as it is needed here.
#[derive(Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
    manifest_path: PathBuf,
    target: Target,
    profile: Profile,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    src_path: PathBuf,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

impl Built {
    fn new() -> Result<Self> {
        let format = "--message-format=json-render-diagnostics";
        let messages =
            cargo::shown_output(&["test", "--workspace", "--no-run", "--locked", format])?;
        let (mut test_programs, mut suites, mut testbed) = (Vec::new(), None, None);
        // Other messages, such as those of build scripts, are not needed.
        let artifacts = messages.lines().filter_map(|line| serde_json::from_str(line).ok());
        for artifact in artifacts {
            let Artifact { executable: Some(path), manifest_path, target, profile } = artifact
            else {
                continue;
            };
            let folder = manifest_path.parent().unwrap_or_else(|| Path::new(".")).to_owned();
            let package = folder.strip_prefix(cargo::root()).unwrap_or(&folder);
            let source = target.src_path.strip_prefix(&folder).unwrap_or(&target.src_path);
            let name = package.join(source).display().to_string();
            match (profile.test, &*target.name) {
                (true, "suites") => suites = Some(TestProgram { name, path, folder }),
                (true, _) => test_programs.push(TestProgram { name, path, folder }),
                (false, PACKAGE) => testbed = Some(path),
                (false, _) => {}
            }
        }
        // cargo lists them as it finishes them.
        test_programs.sort_by(|one: &TestProgram, other| one.name.cmp(&other.name));
        let suites = suites.context("cargo built no suites")?;
        let testbed = testbed.context("cargo built no testbed")?;
        Ok(Self { test_programs, suites, testbed })
    }

    /// Runs suites by name, or all of them.
    fn run_suites(&self, names: &[&str], release: Option<&str>) -> Result<()> {
        let filters: Vec<String> = names.iter().map(|name| format!("{name}::")).collect();
        let listed = self.suites.list()?;
        let exists = |part: &str| listed.lines().any(|line| line.starts_with(part));
        for (name, filter) in names.iter().zip(&filters) {
            ensure!(
                exists(filter),
                "there is no suite {name}; the suites are in tests/tests/suites"
            );
        }
        for part in ALONE {
            ensure!(exists(part), "there are no tests {part}, which are to run alone");
        }
        let packages = PROGRAMS.iter().flat_map(|program| ["--package", program]);
        cargo::run(&[&["build", "--locked"][..], &packages.collect::<Vec<_>>()].concat())?;
        // Built here and not in the middle of a test, where nobody sees the progress.
        let mut build = Command::new(&self.testbed);
        build.arg("build");
        if names.is_empty() || names.iter().any(|name| WITH_HELM.contains(name)) {
            build.arg("--helm");
        }
        build.stdout(Stdio::null()).envs(release.map(|r| (RELEASE_VARIABLE, r)));
        let status = build.status().context("cannot start the testbed")?;
        ensure!(status.success(), "the control plane was not built ({status})");
        let mut side_by_side = vec!["--test-threads", SUITE_THREADS];
        side_by_side.extend(filters.iter().map(String::as_str));
        side_by_side.extend(ALONE.iter().flat_map(|part| ["--skip", *part]));
        self.suites.run(release, &side_by_side)?;
        let is_selected = |part: &&str| {
            filters.is_empty() || filters.iter().any(|filter| part.starts_with(filter.as_str()))
        };
        let mut alone: Vec<&str> = ALONE.into_iter().filter(is_selected).collect();
        if alone.is_empty() {
            return Ok(());
        }
        alone.extend(["--test-threads", "1"]);
        self.suites.run(release, &alone)
    }
}

impl TestProgram {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        command
    }

    fn run(&self, release: Option<&str>, arguments: &[&str]) -> Result<()> {
        println!("\n     Running {}", self.name);
        let mut command = self.command();
        command.args(arguments).envs(release.map(|release| (RELEASE_VARIABLE, release)));
        let status = command.status().with_context(|| format!("cannot start {}", self.name))?;
        if !status.success() {
            bail!("tests of {} failed ({status})", self.name);
        }
        Ok(())
    }

    /// The names of its tests, one a line.
    fn list(&self) -> Result<String> {
        let output = self.command().arg("--list").output();
        let output = output.with_context(|| format!("cannot start {}", self.name))?;
        Ok(String::from_utf8(output.stdout)?)
    }
}
