//! Logs on standard error, with a level that may change while the service runs.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::{self, IsTerminal as _};
use std::panic::PanicHookInfo;
use std::time::Duration;

use serde_json::Value;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::config::{Configuration, LogConfig, LogFormat, Origin};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why logging is not as it was asked to be.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// No level at all.
    #[error("must not be empty")]
    Empty,
    /// A single word that is no level; the filter would take it for a module and log that alone.
    #[error(
        "`{0}` is no level (off, error, warn, info, debug, trace; for a module `module=level`)"
    )]
    NoLevel(String),
    /// What the filter refuses.
    #[error("is no valid filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Logs are started once.
    #[error("logging is already started")]
    Started(#[from] tracing::subscriber::SetGlobalDefaultError),
    /// The filter is not there any more.
    #[error("the level cannot be changed: {0}")]
    Reload(#[from] reload::Error),
}

/// The logs of this process.
#[derive(Clone, Debug)]
pub struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Logs {
    /// Starts logging to standard error; from now on a panic is an event as well.
    ///
    /// JSON lines carry the fields of an event beside `timestamp`, `level`, `target` and `message`,
    /// so no field of an event may be called like one of these.
    ///
    /// # Errors
    /// When the level is wrong, or logging was started before.
    pub fn start(config: &LogConfig) -> Result<Self, LogsError> {
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_coloured = io::stderr().is_terminal() && !is_plain;
        let (subscriber, logs) = Self::new(config, is_coloured, io::stderr)?;
        tracing::subscriber::set_global_default(subscriber)?;
        std::panic::set_hook(Box::new(log_panic));
        Ok(logs)
    }

    fn new<W>(
        config: &LogConfig,
        is_coloured: bool,
        writer: W,
    ) -> Result<(impl Subscriber + Send + Sync + use<W>, Self), LogsError>
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        let (filter, handle) = reload::Layer::new(filter(&config.level)?);
        // Times are UTC as in RFC 3339. Where a line cannot be written, an attempt to say so on
        // the same standard error would panic.
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

    /// Changes what is logged.
    ///
    /// # Errors
    /// When the level is wrong; the old one stays.
    pub fn set_level(&self, level: &str) -> Result<(), LogsError> {
        Ok(self.filter.reload(filter(level)?)?)
    }
}

/// JSON lines in which the field `config`, a text of JSON, is an object. Fields of `tracing` are
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

/// What a level stands for, as in `info` or `warn,my_module=debug`.
pub(crate) fn filter(level: &str) -> Result<EnvFilter, LogsError> {
    if level.trim().is_empty() {
        return Err(LogsError::Empty);
    }
    // Commas inside of `[span{..}]` separate no parts.
    let parts = level.split(',').map(str::trim).filter(|_| !level.contains('['));
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let is_no_level = |part: &&str| !part.contains('=') && !is_level(part);
    if let Some(part) = parts.clone().find(is_no_level) {
        return Err(LogsError::NoLevel(part.to_owned()));
    }
    let filter = EnvFilter::builder().parse(level)?;
    // It calls each failed call an error, of which the caller tells with what it was about.
    if level.contains("kube_client") {
        return Ok(filter);
    }
    Ok(filter.add_directive("kube_client::client::builder=off".parse()?))
}

/// A panic as one event, instead of lines that no log reader understands.
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

/// Applies the level of the configuration file whenever it changed there. Never ends.
///
/// Nothing else is applied while the service runs. A file that cannot be used is warned of once
/// and changes nothing.
pub async fn follow_level<T: Configuration + 'static>(logs: Logs, origin: Origin) {
    let Some(mut follower) = Follower::new::<T>(logs, origin) else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // Reading may block, on a disk that is slow or gone.
        let looked = tokio::task::spawn_blocking(move || {
            follower.look::<T>();
            follower
        });
        follower = match looked.await {
            Ok(follower) => follower,
            Err(error) => {
                tracing::error!(%error, "the configuration file is no longer looked at");
                return std::future::pending().await;
            }
        };
    }
}

/// What the file said when it was last in order.
struct Follower {
    logs: Logs,
    origin: Origin,
    level: String,
    /// Everything but the level.
    rest: Value,
}

impl Follower {
    /// Nothing where there is no file.
    fn new<T: Configuration>(logs: Logs, origin: Origin) -> Option<Self> {
        if !origin.has_file() {
            return None;
        }
        let (level, rest) = origin.load::<T>().ok().and_then(|loaded| parts(&loaded.config))?;
        Some(Self { logs, origin, level, rest })
    }

    /// Looks at the file once.
    fn look<T: Configuration>(&mut self) {
        if !self.origin.refresh() {
            return;
        }
        let loaded = match self.origin.load::<T>() {
            Ok(loaded) => loaded,
            Err(error) => {
                let problems: Vec<String> =
                    error.problems.iter().map(ToString::to_string).collect();
                let problems = problems.join("; ");
                tracing::warn!(problems, "the configuration file changed and cannot be used now");
                return;
            }
        };
        let Some((level, rest)) = parts(&loaded.config) else { return };
        if level != self.level {
            self.change_level(level);
        }
        if rest != self.rest {
            self.rest = rest;
            tracing::warn!("the configuration file changed; a restart is needed to apply it");
        }
    }

    fn change_level(&mut self, level: String) {
        // Said while somebody hears it: before, or after where the old level is too quiet.
        let is_heard = tracing::enabled!(tracing::Level::INFO);
        let say = |before: &str, after: &str| tracing::info!(before, after, "log level changed");
        if is_heard {
            say(&self.level, &level);
        }
        match self.logs.set_level(&level) {
            Ok(()) if is_heard => {}
            Ok(()) => say(&self.level, &level),
            Err(error) => {
                tracing::warn!(%error, level, "the log level stays as it was");
                return;
            }
        }
        self.level = level;
    }
}

/// The level, and all the rest to compare.
fn parts<T: Configuration>(config: &T) -> Option<(String, Value)> {
    let mut rest = serde_json::to_value(config).ok()?;
    rest["log"]["level"].take();
    Some((config.runtime().log.level.clone(), rest))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::process::Command;
    use std::sync::{Arc, LazyLock, Mutex};

    use tracing::Dispatch;

    use super::*;
    use crate::config::Args;
    use crate::config::tests::Settings;

    /// Lines that a test reads again.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().map_err(|_| io::ErrorKind::Other)?.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn take(&self) -> Vec<String> {
            let bytes = std::mem::take(&mut *self.0.lock().unwrap());
            String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
        }
    }

    /// To be called before a test listens to events. With a single subscriber in the process,
    /// tracing remembers for all threads what one thread without subscriber wants: nothing. Two
    /// that are never dropped keep it from doing so.
    pub(crate) fn hear_every_thread() {
        static OTHERS: LazyLock<[Dispatch; 2]> =
            LazyLock::new(|| [(); 2].map(|()| Dispatch::new(Registry::default())));
        LazyLock::force(&OTHERS);
    }

    fn logs(format: LogFormat, level: &str) -> (impl Subscriber + Send + Sync, Logs, Lines) {
        hear_every_thread();
        let lines = Lines::default();
        let writer = lines.clone();
        let config = LogConfig { format, level: level.to_owned() };
        let (subscriber, logs) = Logs::new(&config, false, move || writer.clone()).unwrap();
        (subscriber, logs, lines)
    }

    fn file() -> (tempfile::NamedTempFile, Args) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let args = Args { config: Some(file.path().to_owned()), ..Args::default() };
        (file, args)
    }

    #[test]
    fn json_is_one_flat_object_per_line() {
        let (subscriber, _logs, lines) = logs(LogFormat::Json, "info");
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("request", id = 7);
            let _entered = span.enter();
            tracing::info!(target: "here", count = 2, "two\nlines");
        });
        let lines = lines.take();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert!(line["level"] == "INFO" && line["target"] == "here", "{line}");
        assert_eq!(line["message"], "two\nlines");
        assert_eq!(line["count"], 2);
        assert_eq!(line["span"]["id"], 7);
        let time = line["timestamp"].as_str().unwrap();
        assert!(time.len() == 27 && &time[10..11] == "T" && time.ends_with('Z'), "{time}");
    }

    #[test]
    fn the_configuration_is_an_object_and_no_text() {
        let (subscriber, _logs, lines) = logs(LogFormat::Json, "info");
        tracing::subscriber::with_default(subscriber, || {
            let config = serde_json::to_string(&Settings::default()).unwrap();
            tracing::info!(config, "starting");
        });
        let lines = lines.take();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(!lines[0].contains('\\'), "{}", lines[0]);
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["message"], "starting");
        assert_eq!(line["config"]["log"]["level"], "info");
    }

    #[test]
    fn the_level_changes_while_running() {
        let (subscriber, logs, lines) = logs(LogFormat::Text, "warn");
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("one");
            logs.set_level("info").unwrap();
            tracing::info!("two");
            assert!(logs.set_level("loud").is_err());
            tracing::info!("three");
            logs.set_level("error,policy_runtime=debug").unwrap();
            tracing::debug!("four");
            tracing::warn!(target: "other", "five");
        });
        let text = lines.take().join("\n");
        let words: Vec<_> = text.lines().filter_map(|line| line.rsplit(' ').next()).collect();
        assert_eq!(words, ["two", "three", "four"]);
        assert!(!text.contains('\u{1b}'), "coloured: {text}");
    }

    #[test]
    fn a_filter_is_refused_rather_than_misread() {
        for good in ["info", "WARN", "off", "info,hyper=warn", "warn,a::b=debug", "a[s{f=1}]=info"]
        {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["", " ", "warn, a=info", "inof", "info,", "info,hyper", "hyper=loud", "a=b=c"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_level_follows_the_file() {
        let (file, args) = file();
        let write = |text: &str| std::fs::write(file.path(), text).unwrap();
        write("log: {level: warn}");
        let (subscriber, logs, lines) = logs(LogFormat::Json, "warn");
        let mut follower = Follower::new::<Settings>(logs, Origin::new(args, [])).unwrap();
        let mut said = |text: &str| {
            write(text);
            follower.look::<Settings>();
            follower.look::<Settings>();
            lines.take()
        };
        tracing::subscriber::with_default(subscriber, || {
            assert!(said("log: {level: warn}  # the same").is_empty());
            let lines = said("log: {level: debug}");
            assert!(lines.len() == 1 && lines[0].contains("log level changed"), "{lines:?}");
            assert!(tracing::enabled!(tracing::Level::DEBUG));
            let lines = said("log: {level: inof}");
            assert!(lines.len() == 1 && lines[0].contains("log.level: `inof`"), "{lines:?}");
            assert!(tracing::enabled!(tracing::Level::DEBUG));
            assert!(said("log: {level: debug}").is_empty());
            let lines = said("log: {level: debug}\nmost: 1");
            assert!(lines.len() == 1 && lines[0].contains("restart"), "{lines:?}");
            assert!(said("most: 1\nlog: {level: debug}").is_empty());
            let lines = said("log: {level: error}\nmost: 1");
            assert!(lines.len() == 1 && lines[0].contains("log level changed"), "{lines:?}");
            assert!(!tracing::enabled!(tracing::Level::INFO));
        });
    }

    #[test]
    fn the_environment_wins_over_a_changed_file() {
        let (file, args) = file();
        let environment = [("GOV_LOG__LEVEL".into(), "warn".into())];
        let (subscriber, logs, lines) = logs(LogFormat::Json, "warn");
        let origin = Origin::new(args, environment);
        let mut follower = Follower::new::<Settings>(logs, origin).unwrap();
        std::fs::write(file.path(), "log: {level: debug}").unwrap();
        tracing::subscriber::with_default(subscriber, || follower.look::<Settings>());
        assert!(lines.take().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_file_is_looked_at_by_itself() {
        let (file, args) = file();
        // The subscriber is not installed: its filter alone tells of the change.
        let (_subscriber, logs, _lines) = logs(LogFormat::Json, "info");
        let filter = logs.filter.clone();
        let task = tokio::spawn(follow_level::<Settings>(logs, Origin::new(args, [])));
        tokio::time::sleep(LOOK_EVERY / 2).await;
        std::fs::write(file.path(), "log: {level: trace}").unwrap();
        tokio::time::sleep(LOOK_EVERY).await;
        let text = filter.with_current(ToString::to_string).unwrap();
        assert!(text.split(',').any(|part| part == "trace"), "{text}");
        assert!(!task.is_finished());
        task.abort();
    }

    /// Set for the process that is to panic.
    const CHILD: &str = "POLICY_RUNTIME_TEST_CHILD";

    /// Run by the test below in a process of its own, since hook and subscriber are global.
    #[test]
    fn child_that_panics() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        Logs::start(&LogConfig::default()).unwrap();
        assert!(matches!(Logs::start(&LogConfig::default()), Err(LogsError::Started(_))));
        panic!("two\nlines");
    }

    #[test]
    fn a_panic_is_one_event() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["telemetry::tests::child_that_panics", "--exact", "--nocapture"])
            .env(CHILD, "1")
            .env_remove("RUST_BACKTRACE")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let events = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        let lines: Vec<Value> = events.collect();
        assert_eq!(lines.len(), 1, "{text}");
        assert_eq!(lines[0]["message"], "panic: two\nlines");
        assert_eq!(lines[0]["level"], "ERROR");
        assert!(lines[0]["location"].as_str().unwrap().contains("telemetry.rs:"), "{text}");
    }
}
