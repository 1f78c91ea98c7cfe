//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, Args as _, Command, FromArgMatches as _};

use super::{Configuration, PREFIX, keys, yaml};
use crate::metrics::Buckets;

/// A flag that sets one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Without the dashes.
    pub name: &'static str,
    /// The key that it sets.
    pub key: &'static str,
    /// What the value is called in the help.
    pub value: &'static str,
    /// What the help says.
    pub help: &'static str,
}

/// The flag that every service has.
const ADDR: Flag =
    Flag { name: "addr", key: "addr", value: "ADDRESS", help: "Listen on this address and port" };

/// What a service calls itself.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The program.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// Its histograms, with the bounds of their buckets.
    pub histograms: &'static [Buckets<'static>],
}

/// What a service is told on its command line.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Read this YAML file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Say whether the configuration is valid, and end
    #[arg(long, conflicts_with = "print_config")]
    pub check_config: bool,
    /// Print the effective configuration as YAML, and end
    #[arg(long)]
    pub print_config: bool,
    /// The flags that set keys, with what was given for them.
    #[arg(skip)]
    pub flags: Vec<(Flag, String)>,
}

impl Args {
    /// Reads the command line of this process. Ends the process for `--help`, `--version` and
    /// flags that do not exist.
    #[must_use]
    pub fn parse<T: Configuration>(about: About) -> Self {
        Self::parse_from::<T>(about, std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Reads a command line; the first argument is the program.
    ///
    /// # Errors
    /// What is wrong with the command line, or the text to print for `--help` and `--version`.
    pub fn parse_from<T: Configuration>(
        about: About,
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let flags = || std::iter::once(&ADDR).chain(T::FLAGS);
        let command = Self::augment_args(Command::new(about.name).version(about.version));
        // The derived part has a description of its own.
        let command = command.about(about.about).long_about(None).args(flags().map(|flag| {
            Arg::new(flag.name).long(flag.name).value_name(flag.value).help(flag.help)
        }));
        let matches = command.after_long_help(examples::<T>()).try_get_matches_from(arguments)?;
        let mut args = Self::from_arg_matches(&matches)?;
        let given = |flag: &Flag| Some((*flag, matches.get_one::<String>(flag.name)?.clone()));
        args.flags = flags().filter_map(given).collect();
        Ok(args)
    }
}

/// A file and an environment that say what holds anyway.
fn examples<T: Configuration>() -> String {
    let file = yaml(&T::default()).unwrap_or_default();
    let file: Vec<String> = file.lines().map(|line| format!("  {line}")).collect();
    let width = keys::<T>().iter().map(|key| key.variable.len()).max().unwrap_or_default();
    let variables: Vec<String> =
        keys::<T>().iter().map(|key| format!("  {:width$}  {}", key.variable, key.path)).collect();
    format!(
        "A file with all keys and their defaults:\n\n{}\n\n\
         Each key may also be set in the environment, as {PREFIX}LOG__FORMAT=text or\n\
         {PREFIX}LOG__LEVEL=info,hyper=warn; lists are written as a,b. The variables:\n\n{}\n\n\
         Flags win over the environment, the environment over the file, the file over defaults.\n\
         A change of log.level in the file is applied while the service runs.",
        file.join("\n"),
        variables.join("\n"),
    )
}
