//! `cargo xtask ci`: the checks that a change has to pass beside the tests.

use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Result, bail};

use crate::{cargo, generate, purity, tidy};

pub(crate) fn run() -> Result<()> {
    step("formatting", || cargo::run(&["fmt", "--all", "--check"]))?;
    step("lints", || {
        cargo::run(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-Dwarnings"])
    })?;
    step("generated files", || generate::run(true))?;
    step("shape of the tree", tidy::run)?;
    step("purity", purity::run)?;
    step("each crate alone", each_crate_alone)?;
    step("licences and sources of dependencies", deny)?;
    println!("\nall checks passed");
    Ok(())
}

fn step(name: &str, check: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("\n=== {name}");
    check()
}

/// Finds a crate that compiles only with a feature that another crate enables.
fn each_crate_alone() -> Result<()> {
    cargo::members()?
        .iter()
        .try_for_each(|member| cargo::run(&["check", "--quiet", "--locked", "--package", member]))
}

fn deny() -> Result<()> {
    if cargo::output(&["deny", "--version"]).is_err() {
        let how = "install it by `cargo install cargo-deny --locked`";
        if env::var_os("CI").is_some() {
            bail!("cargo-deny is missing; {how}");
        }
        println!("NOT CHECKED: cargo-deny is missing; {how}");
        return Ok(());
    }
    cargo::run(&["deny", "--locked", "check", "licenses", "bans", "sources"])?;
    if has_advisories() {
        cargo::run(&["deny", "--offline", "check", "advisories"])
    } else {
        println!(
            "NOT CHECKED: advisories; there is no copy of the database, make one by `cargo deny fetch`"
        );
        Ok(())
    }
}

/// Whether cargo-deny has a copy of the advisory database. A fetch that failed leaves the folder of
/// the copies with a lock file only.
fn has_advisories() -> bool {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let copies = home.and_then(|home| fs::read_dir(home.join("advisory-dbs")).ok());
    copies.into_iter().flatten().flatten().any(|copy| copy.path().join(".git").is_dir())
}
