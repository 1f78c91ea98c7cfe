//! A service in a process of its own, since metrics, logs and signals are the process's.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant as Clock;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::*;
use crate::config::Origin;
use crate::config::tests::Settings;
use crate::server::tests::{Connection, Speech, connect};
use crate::tls::tests::{Authority, mounted};

/// Set for the process that is to serve.
const CHILD: &str = "POLICY_RUNTIME_TEST_SERVICE";
/// How many files that process may have open.
const FILES: &str = "POLICY_RUNTIME_TEST_FILES";
const LONG: Duration = Duration::from_secs(20);

#[test]
fn child_that_serves() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    if let Some(files) = std::env::var(FILES).ok().and_then(|files| files.parse().ok()) {
        let few = Rlimit { current: Some(files), maximum: Some(files) };
        setrlimit(Resource::Nofile, few).unwrap();
    }
    let about = About { name: "greeter", version: "1", about: "Greets", histograms: &[] };
    let loaded = Origin::new(Args::default(), std::env::vars_os()).load::<Settings>().unwrap();
    let logs = Logs::start(&loaded.config.runtime().log).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ended = runtime.block_on(run(about, loaded, logs, async |_| Ok(())));
    std::process::exit(if ended.unwrap() == ExitCode::SUCCESS { 0 } else { 9 });
}

/// The service, and where it listens.
struct Greeter {
    process: Child,
    address: SocketAddr,
}

impl Greeter {
    fn start(folder: &Path, files: u64) -> Self {
        let config = mounted(folder);
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["service::tests::child_that_serves", "--exact", "--nocapture"])
            .env(CHILD, "1")
            .env(FILES, files.to_string())
            .env("GOV_ADDR", "127.0.0.1:0")
            .env("GOV_SHUTDOWN__DRAIN_SECONDS", "2")
            .env("GOV_TLS__CERT", config.cert.unwrap())
            .env("GOV_TLS__KEY", config.key.unwrap())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        let address = lines.by_ref().find_map(|line| {
            let line: Value = serde_json::from_str(&line).ok()?;
            (line["message"] == "listening").then(|| line["addr"].as_str()?.parse().ok())?
        });
        // A full pipe would block the process.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address: address.unwrap() }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, signal).unwrap();
    }

    async fn connect(&self, authority: &Authority) -> Connection {
        let stream = TcpStream::connect(self.address).await.unwrap();
        connect(stream, authority, Speech::Http2).await
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn it_serves_while_it_drains_and_exits_with_0() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.server(1).mount(folder.path(), "..1");
    let mut greeter = Greeter::start(folder.path(), 1_000);
    let mut connection = greeter.connect(&authority).await;
    let is_ready = async |connection: &mut Connection, expected: u16| {
        while connection.get("/readyz").await.unwrap().0 != expected {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, is_ready(&mut connection, 200)).await.unwrap();
    let metrics = connection.get("/metrics").await.unwrap().1;
    for expected in [
        "\ntls_certificate_expiry_timestamp_seconds 6",
        "\ndropped_total{what=\"certificates\"} 0",
        "\ndropped_total{what=\"connections\"} 0",
        "\ndropped_total{what=\"handshakes\"} 0",
    ] {
        assert!(metrics.contains(expected), "{expected} in {metrics}");
    }
    let begin = Clock::now();
    greeter.signal(Signal::TERM);
    timeout(LONG, is_ready(&mut connection, 503)).await.unwrap();
    let pending = connection.get("/readyz").await.unwrap().1;
    assert_eq!(pending, "pending: the end of the process\n");
    let mut newcomer = greeter.connect(&authority).await;
    assert_eq!(newcomer.get("/healthz").await.unwrap().0, 200);
    assert!(begin.elapsed() < Duration::from_secs(2), "too slow: {:?}", begin.elapsed());
    let ended = tokio::task::spawn_blocking(move || {
        let ended = greeter.process.wait().unwrap();
        (ended, begin.elapsed())
    });
    let (ended, after) = timeout(LONG, ended).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(0), "{:?}", ended.signal());
    assert!(after >= Duration::from_secs(2), "{after:?}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.server(1).mount(folder.path(), "..1");
    let mut greeter = Greeter::start(folder.path(), 1_000);
    let mut connection = greeter.connect(&authority).await;
    let begin = Clock::now();
    greeter.signal(Signal::TERM);
    while connection.get("/readyz").await.unwrap().0 != 503 {
        sleep(Duration::from_millis(5)).await;
    }
    greeter.signal(Signal::INT);
    let ended = tokio::task::spawn_blocking(move || greeter.process.wait().unwrap().code());
    assert_eq!(timeout(LONG, ended).await.unwrap().unwrap(), Some(9));
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn it_answers_at_the_limit_of_open_files() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.server(1).mount(folder.path(), "..1");
    let greeter = Greeter::start(folder.path(), 40);
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(greeter.address).await.unwrap());
    }
    let begin = Clock::now();
    let connected = timeout(LONG, greeter.connect(&authority));
    assert_eq!(connected.await.unwrap().get("/healthz").await.unwrap().0, 200);
    // Without having waited for handshakes that never come.
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}
