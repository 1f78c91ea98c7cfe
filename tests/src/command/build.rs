//! `e2e build`.

use std::io::Write as _;

use anyhow::Result;
use e2e::Program;

pub(crate) fn run() -> Result<()> {
    let mut out = std::io::stdout().lock();
    for program in Program::ALL {
        writeln!(out, "{}", program.path()?.display())?;
    }
    Ok(())
}
