use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex};

use tracing::Dispatch;

use super::*;
use crate::config::Args;
use crate::config::tests::Settings;

/// Captured lines.
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

/// To be called before a test captures events. With a single subscriber in the process, tracing
/// caches for all threads that a thread without a subscriber is interested in nothing. Two
/// subscribers that are never dropped prevent that.
pub(crate) fn enable_for_all_threads() {
    static OTHERS: LazyLock<[Dispatch; 2]> =
        LazyLock::new(|| [(); 2].map(|()| Dispatch::new(Registry::default())));
    LazyLock::force(&OTHERS);
}

fn logs(format: LogFormat, level: &str) -> (impl Subscriber + Send + Sync, Logs, Lines) {
    enable_for_all_threads();
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
    for good in ["info", "WARN", "off", "info,hyper=warn", "warn,a::b=debug", "a[s{f=1}]=info"] {
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
    let mut follower = LevelFollower::new::<Settings>(logs, Origin::new(args, [])).unwrap();
    let mut logged = |text: &str| {
        write(text);
        follower.check::<Settings>();
        follower.check::<Settings>();
        lines.take()
    };
    tracing::subscriber::with_default(subscriber, || {
        assert!(logged("log: {level: warn}  # the same").is_empty());
        let lines = logged("log: {level: debug}");
        assert!(lines.len() == 1 && lines[0].contains("log level changed"), "{lines:?}");
        assert!(tracing::enabled!(tracing::Level::DEBUG));
        let lines = logged("log: {level: inof}");
        assert!(lines.len() == 1 && lines[0].contains("log.level: `inof`"), "{lines:?}");
        assert!(tracing::enabled!(tracing::Level::DEBUG));
        assert!(logged("log: {level: debug}").is_empty());
        let lines = logged("log: {level: debug}\nmost: 1");
        assert!(lines.len() == 1 && lines[0].contains("restart"), "{lines:?}");
        assert!(logged("most: 1\nlog: {level: debug}").is_empty());
        let lines = logged("log: {level: error}\nmost: 1");
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
    let mut follower = LevelFollower::new::<Settings>(logs, origin).unwrap();
    std::fs::write(file.path(), "log: {level: debug}").unwrap();
    tracing::subscriber::with_default(subscriber, || follower.check::<Settings>());
    assert!(lines.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_file_is_polled() {
    let (file, args) = file();
    // The subscriber is not installed: only its filter shows the change.
    let (_subscriber, logs, _lines) = logs(LogFormat::Json, "info");
    let filter = logs.filter.clone();
    let task = tokio::spawn(follow_level::<Settings>(logs, Origin::new(args, [])));
    tokio::time::sleep(POLL / 2).await;
    std::fs::write(file.path(), "log: {level: trace}").unwrap();
    tokio::time::sleep(POLL).await;
    let text = filter.with_current(ToString::to_string).unwrap();
    assert!(text.split(',').any(|part| part == "trace"), "{text}");
    assert!(!task.is_finished());
    task.abort();
}

/// Set for the process that has to panic.
const CHILD: &str = "POLICY_RUNTIME_TEST_CHILD";

/// Run by the test below in a process of its own, since hook and subscriber are global.
#[test]
fn child_that_panics() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    Logs::start(&LogConfig::default()).unwrap();
    let again = Logs::start(&LogConfig::default()).unwrap_err();
    assert_eq!(again.to_string(), "logging is already started");
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
    assert!(lines[0]["location"].as_str().unwrap().contains("telemetry/tests.rs:"), "{text}");
}
