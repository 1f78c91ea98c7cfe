//! Configuration: defaults, then a file, then the environment, then flags.
//!
//! Each layer overrides the one before, key by key. A service has one struct, composed of
//! [`RuntimeConfig`], further parts such as [`LeaseConfig`], and its own keys:
//!
//! ```
//! use policy_runtime::config::{Args, Configuration, Origin, RuntimeConfig};
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, JsonSchema)]
//! #[serde(rename_all = "camelCase")]
//! struct Settings {
//!     #[serde(flatten)]
//!     runtime: RuntimeConfig,
//!     /// Namespaces to leave alone.
//!     excluded_namespaces: Vec<String>,
//! }
//!
//! impl Default for Settings {
//!     fn default() -> Self {
//!         Self { runtime: RuntimeConfig::new(8080), excluded_namespaces: Vec::new() }
//!     }
//! }
//!
//! impl Configuration for Settings {
//!     fn runtime(&self) -> &RuntimeConfig {
//!         &self.runtime
//!     }
//! }
//!
//! let origin = Origin::new(Args::default(), [("GOV_EXCLUDED_NAMESPACES".into(), "a,b".into())]);
//! let loaded = origin.load::<Settings>()?;
//! assert_eq!(loaded.config.excluded_namespaces, ["a", "b"]);
//! # Ok::<(), policy_runtime::config::ConfigError>(())
//! ```
//!
//! The JSON schema of the struct says which keys there are, of which type, and in which range
//! (`#[schemars(range(min = 1, max = 10))]`, `length`). From it come the checks of single values,
//! the help of flags, and the table in the documentation.
//!
//! No key may hold a secret: values appear in messages, in the log and in `--print-config`.

mod args;
mod keys;
mod layers;
mod lease;
mod problem;
mod runtime;
mod schema;
#[cfg(test)]
pub(crate) mod tests;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use policy_kube::files;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::args::{About, Args};
pub use self::keys::key_table;
pub use self::lease::LeaseConfig;
pub use self::problem::{ConfigError, Problem, Problems};
pub use self::runtime::{KubeConfig, LogConfig, LogFormat, RuntimeConfig, ShutdownConfig};
pub use policy_kube::names::is_subdomain;

use self::layers::Layers;
use crate::tls::{CertificateFollower, TlsConfig};

/// What the names of environment variables start with.
pub const PREFIX: &str = "GOV_";

/// Nobody writes a larger configuration file by hand.
const LARGEST_FILE: u64 = 1 << 20;

/// The configuration of a service.
pub trait Configuration: Serialize + DeserializeOwned + JsonSchema + Default {
    /// Keys that also have a flag: `tls.cert` has `--tls-cert`. `addr` has one in every service.
    const FLAGS: &'static [&'static str] = &[];

    /// The part that every service has.
    fn runtime(&self) -> &RuntimeConfig;

    /// The part under the key `tls`; `None` for a service that speaks plain HTTP.
    fn tls(&self) -> Option<&TlsConfig> {
        None
    }

    /// Adds what the schema cannot express, such as values that do not fit together. Parts have a
    /// `check` of their own, to be called here; that of [`RuntimeConfig`] is called anyway.
    fn check(&self, _problems: &mut Problems) {}
}

/// The text of the file, or why it could not be read.
type Text = Result<String, String>;

/// What a configuration is made of, so that it can be loaded again when the file changed.
#[derive(Clone, Debug)]
pub struct Origin {
    args: Args,
    environment: Vec<(OsString, OsString)>,
    text: Option<Text>,
}

impl Origin {
    /// Reads the file that the arguments name. Of the environment only variables with the prefix
    /// are kept.
    pub fn new(args: Args, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let has_prefix = |name: &OsString| {
            let start = name.as_encoded_bytes().get(..PREFIX.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(PREFIX.as_bytes()))
        };
        let environment = environment.into_iter().filter(|(name, _)| has_prefix(name));
        let mut environment: Vec<_> = environment.collect();
        environment.sort();
        let text = args.config.as_deref().map(read);
        Self { args, environment, text }
    }

    /// Reads the file again; says whether it reads differently now.
    pub(crate) fn refresh(&mut self) -> bool {
        let text = self.args.config.as_deref().map(read);
        let is_different = text != self.text;
        self.text = text;
        is_different
    }

    /// Whether there is a file.
    pub(crate) fn has_file(&self) -> bool {
        self.args.config.is_some()
    }

    /// Puts the layers on top of each other.
    ///
    /// # Errors
    /// Everything that is wrong with any of them, at once.
    pub fn load<T: Configuration>(&self) -> Result<Loaded<T>, ConfigError> {
        let mut layers = Layers::<T>::new();
        if let (Some(path), Some(text)) = (&self.args.config, &self.text) {
            layers.file(&path.display().to_string(), text);
        }
        layers.environment(&self.environment);
        layers.flags(&self.args.flags);
        let (config, warnings) = layers.finish()?;
        Ok(Loaded { config, warnings, origin: self.clone() })
    }
}

fn read(path: &Path) -> Text {
    files::read_text(path, LARGEST_FILE).map_err(|error| format!("cannot be read: {error}"))
}

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The configuration.
    pub config: T,
    /// What is odd, to be logged once logging is up.
    pub warnings: Vec<String>,
    /// Where the configuration comes from.
    pub origin: Origin,
}

/// Loads the configuration to run with, or does what `--check-config` and `--print-config` ask for.
///
/// # Errors
/// The exit code where there is nothing to run. Everything has been printed by then.
pub fn open<T: Configuration>(args: Args) -> Result<Loaded<T>, ExitCode> {
    let (is_check, is_print) = (args.check_config, args.print_config);
    let loaded = Origin::new(args, std::env::vars_os()).load::<T>().map_err(|e| refused(&e))?;
    if !is_check && !is_print {
        return Ok(loaded);
    }
    if is_check && let Some(tls) = loaded.config.tls() {
        CertificateFollower::open(tls).map_err(|error| {
            let problems = vec![Problem::new("", "", error.to_string())];
            refused(&ConfigError { problems })
        })?;
    }
    for warning in &loaded.warnings {
        to_stderr(&format!("warning: {warning}\n"));
    }
    let text = if is_print {
        serde_saphyr::to_string(&loaded.config).map_err(|error| {
            to_stderr(&format!("the configuration cannot be printed: {error}\n"));
            ExitCode::from(2)
        })?
    } else {
        "the configuration is valid\n".to_owned()
    };
    // A reader that closed the pipe does not make the configuration wrong.
    let _ = io::stdout().write_all(text.as_bytes());
    Err(ExitCode::SUCCESS)
}

fn refused(error: &ConfigError) -> ExitCode {
    to_stderr(&format!("{error}\n"));
    ExitCode::from(2)
}

fn to_stderr(text: &str) {
    // Where standard error is closed, nobody can be informed.
    let _ = io::stderr().write_all(text.as_bytes());
}
