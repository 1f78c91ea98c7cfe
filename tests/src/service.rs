//! A service of the platform, running beside a control plane as in a pod: with its own
//! `ServiceAccount`, its own environment, and a stop by signal.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use serde_json::Value;

use crate::http::{ANSWER, Address, trusting};
use crate::poll::wait_for;
use crate::processes::{Environment, Processes};
use crate::{Metrics, Signal, Testbed};

/// Deadline for the log line with the address, on a busy machine.
const START: Duration = Duration::from_secs(30);

impl Testbed {
    /// Prepares the start of a service. The name is that of its log: services that run at the same
    /// time need different names, such as `watcher-a` and `watcher-b`.
    pub fn service(&self, name: &str, program: &Path) -> Launch<'_> {
        Launch::new(&self.processes, name, program)
    }
}

/// The settings of a service that is yet to be started.
#[must_use = "nothing runs until it is started"]
pub struct Launch<'a> {
    processes: &'a Processes,
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, OsString)>,
    tls: Option<Arc<ClientConfig>>,
}

impl<'a> Launch<'a> {
    fn new(processes: &'a Processes, name: &str, program: &Path) -> Self {
        // The kernel chooses the port, so that any number of services run side by side.
        let arguments = ["--addr", "127.0.0.1:0"].map(str::to_owned).to_vec();
        let environment = Vec::new();
        let (name, program) = (name.to_owned(), program.to_owned());
        Self { processes, name, program, arguments, environment, tls: None }
    }

    /// Runs a subcommand of the program, with all arguments.
    pub fn subcommand(mut self, name: &str) -> Self {
        self.arguments.insert(0, name.to_owned());
        self
    }

    /// Adds arguments after that of the address.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Sets an environment variable. The service inherits `PATH` only.
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the kubeconfig, such as one of [`Testbed::account_kubeconfig`].
    pub fn kubeconfig(self, path: &Path) -> Self {
        self.variable("KUBECONFIG", path)
    }

    /// Sends requests to it by HTTPS, and trusts these certificates.
    pub fn https(mut self, trusted: &[CertificateDer<'static>]) -> Result<Self> {
        self.tls = Some(Arc::new(trusting(trusted)?));
        Ok(self)
    }

    /// Starts the service, and returns when it has logged the address that it listens on. It need
    /// not be ready. An error quotes the end of its log.
    pub fn start(self) -> Result<Service<'a>> {
        let mut service = self.spawn()?;
        let listening = wait_for("the line with its address", START, || {
            let addr = service.logs()?.split_inclusive('\n').find_map(address);
            // An end after that line is noticed by the next request.
            addr.map_or_else(|| service.check().map(|()| None), |addr| Ok(Some(addr)))
        });
        service.address.addr = listening.map_err(|error| service.explain(&error))?;
        Ok(service)
    }

    /// Starts a program of others, which is told the address to listen on by these arguments.
    pub(crate) fn start_at(self, addr: SocketAddr, arguments: Vec<String>) -> Result<Service<'a>> {
        let mut service = Self { arguments, ..self }.spawn()?;
        service.address.addr = addr;
        Ok(service)
    }

    fn spawn(self) -> Result<Service<'a>> {
        let Self { processes, name, program, arguments, environment, tls } = self;
        let log = processes.log(&name);
        // An earlier service of this name has written to the same log.
        let log_start = fs::metadata(&log).map_or(0, |file| file.len());
        let environment = Environment::Only(&environment);
        processes.start_in(&environment, &name, &program, &arguments)?;
        // From here on, dropping this kills the service.
        let address = Address { addr: SocketAddr::from(([127, 0, 0, 1], 0)), tls };
        Ok(Service { processes, name, log, log_start, address, ended: Mutex::default() })
    }
}

/// A running service. It is killed when this is dropped, even if it is stopped by a signal; and,
/// like the control plane, when this process ends in any way.
pub struct Service<'a> {
    processes: &'a Processes,
    name: String,
    log: PathBuf,
    /// The length of the log before this service wrote to it.
    log_start: u64,
    address: Address,
    ended: Mutex<Option<ExitStatus>>,
}

impl Service<'_> {
    /// The name of the service and of its log.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address that it listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address.addr
    }

    /// The address of a proxy of this service, with the same TLS settings.
    #[must_use]
    pub fn at(&self, addr: SocketAddr) -> Address {
        Address { addr, ..self.address.clone() }
    }

    /// Sends requests by HTTPS and trusts these certificates, for a service that has issued its
    /// certificate itself.
    pub fn trust(&mut self, trusted: &[CertificateDer<'static>]) -> Result<()> {
        self.address.tls = Some(Arc::new(trusting(trusted)?));
        Ok(())
    }

    /// The process id, for measurements; none after its end was noticed.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let listed = self.processes.list();
        listed.into_iter().find_map(|(pid, name)| (name == self.name).then_some(pid))
    }

    /// Current and peak resident memory in MiB.
    ///
    /// # Errors
    /// The service has ended.
    pub fn memory_mib(&self) -> Result<(f64, f64)> {
        let pid = self.pid().context("the service has ended")?;
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let text = line.context("no memory")?.trim().trim_end_matches(" kB");
            anyhow::Ok(text.parse::<f64>()? / 1024.0)
        };
        Ok((value("VmRSS:")?, value("VmHWM:")?))
    }

    /// Sends a GET request with a deadline of 10 s, and returns status and body.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        self.get_within(path, ANSWER)
    }

    /// Like [`Service::get`], with another deadline.
    pub fn get_within(&self, path: &str, within: Duration) -> Result<(u16, String)> {
        self.address.get(path, within)
    }

    /// Sends a POST request with a JSON body, and returns status and body.
    pub fn post(&self, path: &str, json: &str) -> Result<(u16, String)> {
        self.address.post(path, json, ANSWER)
    }

    /// Scrapes `/metrics`.
    pub fn metrics(&self) -> Result<Metrics> {
        self.address.metrics()
    }

    /// Waits until `/readyz` returns 200. An error has the last response and the end of the log.
    pub fn wait_ready(&self, within: Duration) -> Result<()> {
        let mut last = "nothing".to_owned();
        let ready = wait_for("the service to be ready", within, || {
            self.check()?;
            match self.get_within("/readyz", within.min(ANSWER)) {
                Ok((200, _)) => return Ok(Some(())),
                Ok((status, body)) => last = format!("{status} {}", body.trim_end()),
                Err(error) => last = format!("{error:#}"),
            }
            Ok(None)
        });
        ready.map_err(|error| {
            self.explain(&error.context(format!("the last response of /readyz: {last}")))
        })
    }

    /// Sends a signal to the service.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.processes.signal(&self.name, signal)
    }

    /// Waits until it has ended, and returns its exit status; again at each further call.
    pub fn wait_exit(&self, within: Duration) -> Result<ExitStatus> {
        let ended = wait_for("the service to end", within, || self.try_exit());
        ended.map_err(|error| self.explain(&error))
    }

    /// The log that it has written so far.
    pub fn logs(&self) -> Result<String> {
        let context = || format!("cannot read {}", self.log.display());
        let mut file = File::open(&self.log).with_context(context)?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.log_start))?;
        file.read_to_end(&mut bytes).with_context(context)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The exit status, if it has ended.
    fn try_exit(&self) -> Result<Option<ExitStatus>> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.is_none() {
            *ended = self.processes.ended(&self.name)?;
        }
        Ok(*ended)
    }

    /// Fails if it has ended.
    pub(crate) fn check(&self) -> Result<()> {
        match self.try_exit()? {
            None => Ok(()),
            Some(status) => Err(anyhow!("{} ended ({status})", self.name)),
        }
    }

    fn explain(&self, error: &anyhow::Error) -> anyhow::Error {
        self.processes.explain(&self.name, error)
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        // Another service may have the name now.
        if self.ended.get_mut().is_ok_and(|ended| ended.is_some()) {
            return;
        }
        // SIGKILL ends stopped processes as well, and the processes that the service has started.
        // An error is ignored, as the watchdog kills what is left.
        let _: Result<()> = self.signal(Signal::Kill);
        let _: Result<()> = self.processes.kill(&self.name);
    }
}

/// The address in the log line about listening.
fn address(line: &str) -> Option<SocketAddr> {
    // A line without an end is being written.
    let event: Value = serde_json::from_str(line.strip_suffix('\n')?).ok()?;
    // The fields of a log event are at the top level or under `fields`.
    let fields = event.get("fields").unwrap_or(&event);
    let says_so = fields["message"] == "listening";
    says_so.then(|| fields["addr"].as_str()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::os::unix::process::ExitStatusExt as _;
    use std::thread;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// A shell script that logs this address like a service.
    fn launch<'a>(processes: &'a Processes, addr: SocketAddr, then: &str) -> Launch<'a> {
        let line = format!(r#"{{"fields":{{"message":"listening","addr":"{addr}"}}}}"#);
        let script = format!(
            "echo starting with $# arguments, HOME $HOME, USER $USER, TEA $TEA\n\
             trap 'echo bye; exit 7' TERM\necho '{line}'\n{then}\n"
        );
        let path = processes.folder().join("script.sh");
        fs::write(&path, script).unwrap();
        let launch = Launch::new(processes, "mimic", Path::new("sh")).variable("TEA", "green");
        // The path of the script goes before the other arguments, which sh passes to the script.
        Launch {
            arguments: [vec![path.display().to_string()], launch.arguments].concat(),
            ..launch
        }
    }

    const FOR_EVER: &str = "while :; do sleep 0.05; done";

    fn gone(pid: u32) {
        let path = PathBuf::from(format!("/proc/{pid}"));
        wait_for("the end", SOON, || Ok((!path.exists()).then_some(()))).unwrap();
    }

    /// Answers each request with the next of these responses.
    fn answer(listener: TcpListener, answers: &'static [(u16, &str)]) {
        thread::spawn(move || {
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while !lines.next().unwrap().unwrap().is_empty() {}
                let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
            }
        });
    }

    #[test]
    fn a_service_answers_requests_and_stops_by_a_signal() {
        let processes = Processes::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        answer(listener, &[(503, "pods\n"), (200, "ok\n"), (200, "up 1\n"), (404, "")]);
        let service = launch(&processes, addr, FOR_EVER).arguments(&["--more"]).start().unwrap();
        assert_eq!(service.addr(), addr);
        service.wait_ready(SOON).unwrap();
        assert_eq!(service.metrics().unwrap().value("up", &[]), Some(1.0));
        assert_eq!(service.get("/nowhere").unwrap(), (404, String::new()));
        service.signal(Signal::Term).unwrap();
        assert_eq!(service.wait_exit(SOON).unwrap().code(), Some(7));
        assert_eq!(service.wait_exit(Duration::ZERO).unwrap().code(), Some(7));
        assert_eq!(service.pid(), None);
        let logs = service.logs().unwrap();
        let home = processes.folder().display();
        let first = format!("starting with 3 arguments, HOME {home}, USER , TEA green\n");
        assert!(logs.starts_with(&first) && logs.ends_with("bye\n"), "{logs}");
    }

    #[test]
    fn a_stopped_service_is_killed_when_it_is_dropped() {
        let processes = Processes::new().unwrap();
        let addr = SocketAddr::from(([127, 0, 0, 1], 1));
        let service = launch(&processes, addr, FOR_EVER).start().unwrap();
        let pid = service.pid().unwrap();
        service.signal(Signal::Stop).unwrap();
        service.signal(Signal::Term).unwrap();
        service.wait_exit(Duration::from_millis(200)).unwrap_err();
        drop(service);
        gone(pid);
        // logs() of the next service of this name has its own lines only.
        let next = launch(&processes, addr, FOR_EVER).start().unwrap();
        assert_eq!(next.logs().unwrap().matches("listening").count(), 1);
        next.signal(Signal::Kill).unwrap();
        assert_eq!(next.wait_exit(SOON).unwrap().signal(), Some(9));
    }

    #[test]
    fn the_error_of_an_early_end_quotes_the_log() {
        let processes = Processes::new().unwrap();
        let script = ["-c", "echo no policy >&2; exit 2"].map(str::to_owned).to_vec();
        let launch = Launch::new(&processes, "mimic", Path::new("sh"));
        let error = Launch { arguments: script, ..launch }.start().err().unwrap().to_string();
        assert!(error.starts_with("mimic ended (exit status: 2)"), "{error}");
        assert!(error.ends_with("no policy"), "{error}");
    }

    #[test]
    fn only_the_line_about_listening_has_the_address() {
        let addr = Some(SocketAddr::from(([127, 0, 0, 1], 80)));
        assert_eq!(address("{\"message\":\"listening\",\"addr\":\"127.0.0.1:80\"}\n"), addr);
        let fields = "{\"fields\":{\"message\":\"listening\",\"addr\":\"127.0.0.1:80\"}}";
        assert_eq!(address(&format!("{fields}\n")), addr);
        assert_eq!(address(fields), None);
        assert_eq!(address("{\"message\":\"calling\",\"addr\":\"127.0.0.1:80\"}\n"), None);
        assert_eq!(address("listening on 127.0.0.1:80\n"), None);
    }
}
