//! `policyctl completions`

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::Exit;
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

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "policyctl", &mut script);
    output::result(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Fine)
}
