//! The programs of the images.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};

use super::Component;
use super::tools::output;
use crate::cargo::{forget_this_package, root};

/// Compiles the programs as the Dockerfile's builder stage does, and returns the folder that has them
/// in its folder `out`.
pub(super) fn compile(components: &[Component]) -> Result<PathBuf> {
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let builder = target.join("images/builder");
    let out = builder.join("out");
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut script = Command::new("sh");
    script.arg(root().join("deploy/images/programs.sh")).arg(&out);
    script.args(components.iter().map(|component| component.name()));
    forget_this_package(&mut script);
    let status = script.status().context("cannot start sh")?;
    ensure!(status.success(), "deploy/images/programs.sh failed ({status})");
    Ok(builder)
}

/// Writes the `CycloneDX` file of a program: the crates that it was built from, as `cargo auditable`
/// wrote them into the program itself.
pub(super) fn bill_of_materials(program: &Path, folder: &Path) -> Result<()> {
    let bill = output(Command::new("auditable2cdx").arg(program))?;
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let file = folder.join(format!("{name}.cdx.json"));
    fs::write(&file, bill).with_context(|| format!("cannot write {}", file.display()))
}
