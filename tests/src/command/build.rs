//! `e2e build`.

use std::io::Write as _;

use anyhow::Result;
use clap::Args;
use e2e::Program;

#[derive(Args)]
pub(crate) struct Options {
    /// Build Helm as well
    #[arg(long)]
    helm: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for program in Program::ALL.into_iter().chain(options.helm.then_some(Program::Helm)) {
        writeln!(out, "{}", program.path()?.display())?;
    }
    Ok(())
}
