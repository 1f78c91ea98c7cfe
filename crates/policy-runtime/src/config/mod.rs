//! What a service is told: defaults, then its file, then the environment, then flags.
//!
//! Each layer overrides the one before, key by key. A service has one struct that is read here,
//! with [`RuntimeConfig`] flattened into it:
//!
//! ```
//! use policy_runtime::config::{Args, Configuration, Origin, RuntimeConfig};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
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
//!         let runtime = RuntimeConfig::new(([0, 0, 0, 0], 8080), "greeter");
//!         Self { runtime, excluded_namespaces: Vec::new() }
//!     }
//! }
//!
//! impl Configuration for Settings {
//!     fn runtime(&self) -> &RuntimeConfig {
//!         &self.runtime
//!     }
//!     fn runtime_mut(&mut self) -> &mut RuntimeConfig {
//!         &mut self.runtime
//!     }
//! }
//!
//! let origin = Origin::new(Args::default(), [("GOV_EXCLUDED_NAMESPACES".into(), "a,b".into())]);
//! let loaded = origin.load::<Settings>()?;
//! assert_eq!(loaded.config.excluded_namespaces, ["a", "b"]);
//! # Ok::<(), policy_runtime::config::ConfigError>(())
//! ```
//!
//! The keys are those of the serialised defaults, so every field has to be serialised: no
//! `skip_serializing_if`, and no group of keys inside an `Option`.
//!
//! No key holds a secret, and none is hidden: values appear in problems and in `--print-config`.
//! A key with a secret would have to be left out in `Loaded::yaml` and in `problem::found`.

mod args;
mod environment;
mod file;
mod keys;
mod layers;
mod names;
mod problem;
mod runtime;
#[cfg(test)]
pub(crate) mod tests;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::args::{About, Args, Flag};
pub use self::keys::{Key, keys};
pub use self::problem::{ConfigError, Problem, Problems};
pub use self::runtime::{
    KubeConfig, LeaseConfig, LogConfig, LogFormat, RuntimeConfig, ShutdownConfig,
};
pub use policy_kube::names::is_subdomain;

use self::file::Text;
use self::layers::Layers;
use crate::tls::{Follower, TlsConfig, TlsError};

/// What the names of environment variables start with.
pub const PREFIX: &str = "GOV_";

/// The configuration of a service.
pub trait Configuration: Serialize + DeserializeOwned + Default {
    /// Flags of this service alone; each sets one key.
    const FLAGS: &'static [Flag] = &[];

    /// The part that every service has.
    fn runtime(&self) -> &RuntimeConfig;

    /// The part that every service has, to change it.
    fn runtime_mut(&mut self) -> &mut RuntimeConfig;

    /// What is configured of TLS, by the key `tls`; `None` for a service that speaks plain HTTP.
    fn tls(&self) -> Option<&TlsConfig> {
        None
    }

    /// Adds what is wrong with values that have the right type.
    fn check(&self, _problems: &mut Problems) {}
}

/// All that a configuration is made of, to be able to make it again when the file changed.
#[derive(Clone, Debug)]
pub struct Origin {
    args: Args,
    environment: Vec<(OsString, OsString)>,
    text: Option<Text>,
}

impl Origin {
    /// Reads the file that the arguments name; of the environment only what has the prefix counts.
    pub fn new(args: Args, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let environment = environment::with_prefix(environment);
        let text = args.config.as_deref().map(file::read);
        Self { args, environment, text }
    }

    /// Reads the file again; says whether it reads differently now.
    pub(crate) fn refresh(&mut self) -> bool {
        let text = self.args.config.as_deref().map(file::read);
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
        let mut layers = Layers::<T>::new()?;
        if let (Some(path), Some(text)) = (&self.args.config, &self.text) {
            layers.file(&path.display().to_string(), text);
        }
        layers.environment(&self.environment);
        layers.flags(&self.args.flags);
        let (config, warnings) = layers.finish()?;
        Ok(Loaded { config, warnings, origin: self.clone() })
    }
}

/// A configuration that is in order.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The configuration.
    pub config: T,
    /// What is odd, to be logged once logging is up.
    pub warnings: Vec<String>,
    /// Where the configuration comes from.
    pub origin: Origin,
}

impl<T: Configuration> Loaded<T> {
    /// Loads what the arguments and the environment of this process say.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration, at once.
    pub fn from_args(args: Args) -> Result<Self, ConfigError> {
        Origin::new(args, std::env::vars_os()).load()
    }

    /// The effective configuration, as a file could say it.
    ///
    /// # Errors
    /// When a value cannot be written as YAML.
    pub fn yaml(&self) -> Result<String, ConfigError> {
        yaml(&self.config)
    }
}

/// Loads the configuration to run with, or does what `--check-config` and `--print-config` ask.
///
/// # Errors
/// The code to exit with when there is nothing to run; all has been said by then.
pub fn open<T: Configuration>(args: Args) -> Result<Loaded<T>, ExitCode> {
    let (is_check, is_print) = (args.check_config, args.print_config);
    let loaded = Loaded::from_args(args).map_err(refused)?;
    if !is_check && !is_print {
        return Ok(loaded);
    }
    if is_check && let Some(tls) = loaded.config.tls() {
        let unusable = |error: TlsError| ConfigError::of(Problem::new("", "", error.to_string()));
        Follower::open(tls).map_err(unusable).map_err(refused)?;
    }
    for warning in &loaded.warnings {
        to_stderr(&format!("warning: {warning}\n"));
    }
    let text = if is_print {
        loaded.yaml().map_err(refused)?
    } else {
        "the configuration is valid\n".to_owned()
    };
    // A reader that went away does not make the configuration wrong.
    let _ = io::stdout().write_all(text.as_bytes());
    Err(ExitCode::SUCCESS)
}

#[expect(clippy::needless_pass_by_value, reason = "reads well in `map_err`")]
fn refused(error: ConfigError) -> ExitCode {
    to_stderr(&format!("{error}\n"));
    ExitCode::from(2)
}

fn to_stderr(text: &str) {
    // Where standard error is gone, there is nobody left to tell.
    let _ = io::stderr().write_all(text.as_bytes());
}

fn yaml(value: &impl Serialize) -> Result<String, ConfigError> {
    serde_saphyr::to_string(value).map_err(|error| {
        ConfigError::of(Problem::new("configuration", "", format!("cannot be printed: {error}")))
    })
}
