//! `policyctl completions`

use clap_complete::Shell;

use crate::exit::Exit;
use crate::global::Global;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  source <(policyctl completions bash)
  policyctl completions zsh > ~/.zfunc/_policyctl";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(
    args: &Args,
    commands: &mut clap::Command,
    global: &Global,
) -> anyhow::Result<Exit> {
    global.output(&[], &[])?;
    let mut script = Vec::new();
    clap_complete::generate(args.shell, commands, "policyctl", &mut script);
    output::result(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Fine)
}
