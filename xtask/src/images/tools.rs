//! The programs of other projects that this task calls, and where they come from.

use std::env::consts::ARCH;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

/// Each with the way to install it.
const FOR_PROGRAMS: [(&str, &str); 2] = [
    ("musl-gcc", "install the Debian package musl-tools"),
    ("cargo-auditable", "run `cargo install --locked cargo-auditable@0.7.7`"),
];
const FOR_IMAGES: [(&str, &str); 3] = [
    ("buildah", "install the Debian package buildah"),
    ("skopeo", "install the Debian package skopeo"),
    ("auditable2cdx", "run `cargo install --locked auditable2cdx@0.1.0`"),
];

/// The target of the programs: of this machine's processor, with a C library that is linked in.
pub(super) fn target() -> String {
    format!("{ARCH}-unknown-linux-musl")
}

pub(super) fn needed_for_programs() -> Result<()> {
    FOR_PROGRAMS.iter().try_for_each(|(tool, how)| need(tool, how))?;
    let target = target();
    let libraries =
        output(Command::new("rustc").args(["--print=target-libdir", "--target", &target]))?;
    ensure!(
        Path::new(libraries.trim()).is_dir(),
        "Rust's library for {target} is missing: run `rustup target add {target}`"
    );
    Ok(())
}

pub(super) fn needed_for_images() -> Result<()> {
    FOR_IMAGES.iter().try_for_each(|(tool, how)| need(tool, how))
}

/// Not every tool knows `--version`: one that starts is there.
fn need(tool: &str, how: &str) -> Result<()> {
    let call = Command::new(tool).arg("--version").output();
    ensure!(call.is_ok(), "{tool} is missing: {how}");
    Ok(())
}

/// Runs a command quietly, and returns its standard output.
pub(super) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed ({})\n{}", output.status, errors.trim_end());
    }
    Ok(String::from_utf8(output.stdout)?)
}
