//! Logs on standard error, with a level that may change while the service runs.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::{self, IsTerminal as _};
use std::panic::PanicHookInfo;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::format::{Format, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::config::{Configuration, LogConfig, LogFormat, Origin};
use crate::poll::poll;

/// How often the configuration file is read.
const POLL: Duration = Duration::from_secs(10);

/// The logs of this process.
#[derive(Clone, Debug)]
pub struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Logs {
    /// Starts logging to standard error; from now on a panic is logged as an event.
    ///
    /// JSON lines hold the fields of an event beside `timestamp`, `level`, `target` and `message`,
    /// so no field of an event may have one of these names.
    ///
    /// # Errors
    /// The level is wrong, or logging was started before.
    pub fn start(config: &LogConfig) -> anyhow::Result<Self> {
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_coloured = io::stderr().is_terminal() && !is_plain;
        let (subscriber, logs) =
            Self::new(config, is_coloured, io::stderr).map_err(anyhow::Error::msg)?;
        tracing::subscriber::set_global_default(subscriber)
            .context("logging is already started")?;
        std::panic::set_hook(Box::new(log_panic));
        Ok(logs)
    }

    fn new<W>(
        config: &LogConfig,
        is_coloured: bool,
        writer: W,
    ) -> Result<(impl Subscriber + Send + Sync + use<W>, Self), String>
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        let (filter, handle) = reload::Layer::new(filter(&config.level)?);
        // Times are UTC (RFC 3339). Where standard error is closed, logging that a line could not
        // be written would panic.
        let lines = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
        let lines = match config.format {
            LogFormat::Json => {
                let lines = lines.json().flatten_event(true).with_span_list(false);
                lines.map_event_format(ConfigAsObject).boxed()
            }
            LogFormat::Text => lines.with_ansi(is_coloured).boxed(),
        };
        let subscriber = tracing_subscriber::registry().with(filter).with(lines);
        Ok((subscriber, Self { filter: handle }))
    }

    /// Changes the level.
    ///
    /// # Errors
    /// The level is wrong; the old one stays.
    pub fn set_level(&self, level: &str) -> Result<(), String> {
        self.filter.reload(filter(level)?).map_err(|error| error.to_string())
    }
}

/// JSON lines in which the field `config`, which is JSON in a string, is an object. Fields of `tracing` are
/// plain values unless the whole build sets `--cfg tracing_unstable`
/// (<https://github.com/tokio-rs/tracing/pull/1862>).
struct ConfigAsObject(Format<Json>);

impl<S, N> FormatEvent<S, N> for ConfigAsObject
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    Format<Json>: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if event.metadata().fields().field("config").is_none() {
            return self.0.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let mut line: Value = serde_json::from_str(&line).map_err(|_| fmt::Error)?;
        let config = line["config"].as_str().and_then(|text| serde_json::from_str(text).ok());
        if let Some(config) = config {
            line["config"] = config;
        }
        writeln!(writer, "{line}")
    }
}

/// The filter of a level such as `info` or `warn,my_module=debug`.
pub(crate) fn filter(level: &str) -> Result<EnvFilter, String> {
    if level.trim().is_empty() {
        return Err("must not be empty".to_owned());
    }
    // A comma inside `[span{..}]` separates no directives.
    let parts = level.split(',').map(str::trim).filter(|_| !level.contains('['));
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let is_no_level = |part: &&str| !part.contains('=') && !is_level(part);
    if let Some(part) = parts.clone().find(is_no_level) {
        // `EnvFilter` would read the word as a module, and log nothing else.
        return Err(format!(
            "`{part}` is not a level (off, error, warn, info, debug, trace; for a module \
             `module=level`)"
        ));
    }
    let invalid = |error: ParseError| format!("is not a valid filter: {error}");
    let filter = EnvFilter::builder().parse(level).map_err(invalid)?;
    // kube-client logs each failed request as an error; the callers log it with its operation.
    if level.contains("kube_client") {
        return Ok(filter);
    }
    Ok(filter.add_directive("kube_client::client::builder=off".parse().map_err(invalid)?))
}

/// Logs a panic as one event: log collectors cannot parse the lines of the default hook.
fn log_panic(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let message = payload.downcast_ref::<&str>().copied();
    let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("of an unknown kind");
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or_default();
    let trace = Backtrace::capture();
    let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
    tracing::error!(target: "panic", location, thread, backtrace = trace, "panic: {message}");
}

/// Applies the log level of the configuration file whenever it changes there. Every other key
/// needs a restart, which a warning says. A file that cannot be used is logged once and changes
/// nothing.
pub async fn follow_level<T: Configuration + 'static>(logs: Logs, origin: Origin) {
    match LevelFollower::new::<T>(logs, origin) {
        Some(follower) => poll(follower, POLL, LevelFollower::check::<T>).await,
        None => std::future::pending().await,
    }
}

/// The configuration of the last file that could be used.
struct LevelFollower {
    logs: Logs,
    origin: Origin,
    level: String,
    /// Every key but the level.
    others: Value,
}

impl LevelFollower {
    /// `None` where there is no file.
    fn new<T: Configuration>(logs: Logs, origin: Origin) -> Option<Self> {
        if !origin.has_file() {
            return None;
        }
        let loaded = origin.load::<T>().ok()?;
        let (level, others) = split(&loaded.config)?;
        Some(Self { logs, origin, level, others })
    }

    /// Reads the file once. Returns the pause before the next time.
    fn check<T: Configuration>(&mut self) -> Duration {
        if !self.origin.refresh() {
            return POLL;
        }
        match self.origin.load::<T>().map(|loaded| split(&loaded.config)) {
            Ok(Some((level, others))) => {
                if level != self.level {
                    self.change_level(level);
                }
                if others != self.others {
                    self.others = others;
                    tracing::warn!("the configuration file changed; restart to apply it");
                }
            }
            Ok(None) => {}
            Err(error) => {
                let problems: Vec<_> = error.problems.iter().map(ToString::to_string).collect();
                let problems = problems.join("; ");
                tracing::warn!(problems, "the changed configuration file cannot be used");
            }
        }
        POLL
    }

    fn change_level(&mut self, level: String) {
        // Logged under the more verbose of the two levels, so that it is visible.
        let is_visible = tracing::enabled!(tracing::Level::INFO);
        let log = |before: &str, after: &str| tracing::info!(before, after, "log level changed");
        if is_visible {
            log(&self.level, &level);
        }
        match self.logs.set_level(&level) {
            Ok(()) if is_visible => {}
            Ok(()) => log(&self.level, &level),
            Err(error) => {
                tracing::warn!(%error, level, "cannot change the log level");
                return;
            }
        }
        self.level = level;
    }
}

/// The level, and every other key.
fn split<T: Configuration>(config: &T) -> Option<(String, Value)> {
    let mut others = serde_json::to_value(config).ok()?;
    others["log"]["level"].take();
    Some((config.runtime().log.level.clone(), others))
}

#[cfg(test)]
pub(crate) mod tests;
