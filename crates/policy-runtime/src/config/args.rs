//! The command line of a service.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, Args as _, Command, FromArgMatches as _};

use super::keys::{flag_of, keys};
use super::{Configuration, PREFIX};
use crate::metrics::Buckets;

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

/// The parsed command line.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Read this YAML file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check the configuration, report everything that is wrong with it, and exit
    #[arg(long, conflicts_with = "print_config")]
    pub check_config: bool,
    /// Print the effective configuration as YAML, and exit
    #[arg(long)]
    pub print_config: bool,
    /// The keys that are set by flags, with their values.
    #[arg(skip)]
    pub flags: Vec<(&'static str, String)>,
}

/// The keys that also have a flag.
pub(super) fn flag_keys<T: Configuration>() -> impl Iterator<Item = &'static str> {
    std::iter::once("addr").chain(T::FLAGS.iter().copied())
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
        let keys = keys::<T>();
        let flag = |path: &'static str| {
            let key = keys.iter().find(|key| key.path == path);
            let help = key.map_or("", |key| key.description.trim_end_matches('.')).to_owned();
            let value = path.rsplit('.').next().unwrap_or(path).to_uppercase();
            Arg::new(path).long(flag_of(path)).value_name(value).help(help)
        };
        let command = Self::augment_args(Command::new(about.name).version(about.version));
        // `augment_args` takes the documentation of `Args` for the command's.
        let command = command.about(about.about).long_about(None);
        let command = command.args(flag_keys::<T>().map(flag)).after_long_help(examples::<T>());
        let matches = command.try_get_matches_from(arguments)?;
        let mut args = Self::from_arg_matches(&matches)?;
        args.flags = flag_keys::<T>()
            .filter_map(|path| Some((path, matches.get_one::<String>(path)?.clone())))
            .collect();
        Ok(args)
    }
}

/// A file and an environment with the defaults.
fn examples<T: Configuration>() -> String {
    let file = serde_saphyr::to_string(&T::default()).unwrap_or_default();
    let keys = keys::<T>();
    let width = keys.iter().map(|key| key.variable.len()).max().unwrap_or_default();
    let variables = keys.iter().map(|key| format!("{:width$}  {}", key.variable, key.path));
    let indented = |line: String| format!("\n  {line}");
    let file: String = file.lines().map(str::to_owned).map(indented).collect();
    let variables: String = variables.map(indented).collect();
    format!(
        "A file with all keys and their defaults:\n{file}\n\n\
         Each key may also be set in the environment, as {PREFIX}LOG__FORMAT=text or\n\
         {PREFIX}LOG__LEVEL=info,hyper=warn; lists are written as a,b. The variables:\n{variables}\n\n\
         Flags override the environment, the environment overrides the file, the file overrides\n\
         the defaults. A change of log.level in the file is applied while the service runs."
    )
}
