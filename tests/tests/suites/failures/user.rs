//! `policyctl` as run by a user who has only a kubeconfig, and the message that the user has to read.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Run, policyctl, shared};
use serde_json::{Value, json};
use tempfile::TempDir;

/// For a program with a deadline of 8 s, beside others on a busy machine. A plugin that hangs does so for 30 s.
const SOON: Duration = Duration::from_secs(25);

/// Answers each request by `answer`, and then closes; where that gives nothing, never.
pub(crate) fn fake_server(
    answer: impl Fn(&str) -> Option<Vec<u8>> + Clone + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            thread::spawn(move || {
                let mut request = vec![0; 16 << 10];
                let length = stream.read(&mut request).unwrap_or(0);
                match answer(&String::from_utf8_lossy(&request[..length])) {
                    Some(bytes) => _ = stream.write_all(&bytes),
                    None => _ = stream.read_to_end(&mut request),
                }
            });
        }
    });
    address
}

/// An answer of such a server. It says that the connection ends, as it does: a client would send its
/// next request over it otherwise, and be reset or not, by which of the two is faster.
pub(crate) fn response(status: &str, media_type: &str, body: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nConnection: close");
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into()
}

/// policyctl in a folder of its own, with no setting of this machine's user.
pub(super) struct User {
    pub(super) folder: TempDir,
}

impl User {
    pub(super) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub(super) fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub(super) fn run(&self, arguments: &[&str], variables: &[(&str, &Path)]) -> Run {
        let mut command = Command::new(policyctl().unwrap());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", self.path("nobody")).envs(variables.iter().copied());
        Run::of(command.current_dir(self.folder.path()).args(arguments), None).unwrap()
    }
}

/// A kubeconfig of the context `prod` with the cluster `somewhere` and the user `somebody`.
pub(super) fn kubeconfig(cluster: &Value, user: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "prod",
        "contexts": [{ "name": "prod", "context": { "cluster": "somewhere", "user": "somebody" } }],
        "clusters": [{ "name": "somewhere", "cluster": cluster }],
        "users": [{ "name": "somebody", "user": user }],
    })
}

/// The shared testbed, with these fields instead of its own; `null` takes one away.
pub(super) fn real(changes: &Value) -> Value {
    let testbed = shared();
    let server = testbed.server_url();
    let mut cluster =
        json!({ "server": server, "certificate-authority": testbed.certificate_authority() });
    for (field, value) in changes.as_object().unwrap() {
        cluster[field] = value.clone();
    }
    cluster.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    cluster
}

/// Runs `policyctl analyze` with this kubeconfig.
fn analyze(config: &Value) -> (Run, Duration) {
    let user = User::new();
    let file = user.write("kubeconfig", &config.to_string());
    // It may have to be built first.
    policyctl().unwrap();
    let start = Instant::now();
    let run = user.run(&["analyze", "--kubeconfig", file.to_str().unwrap()], &[]);
    (run, start.elapsed())
}

/// The faults of a failure message that a program can detect. All parts of `says` have to be in it.
pub(super) fn complaints(run: &Run, says: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut demand = |holds: bool, what: String| {
        if !holds {
            complaints.push(what);
        }
    };
    demand(run.code == Some(3), format!("exit code {:?}", run.code));
    demand(run.stdout.is_empty(), "standard output is not empty".to_owned());
    demand(run.stderr.lines().count() == 1, "not one line".to_owned());
    demand(run.stderr.starts_with("error: "), "does not start with `error: `".to_owned());
    demand(run.stderr.len() < 400, "too long to be read".to_owned());
    for text in says {
        demand(run.stderr.contains(text), format!("does not say {text:?}"));
    }
    for jargon in JARGON {
        demand(!run.stderr.contains(jargon), format!("says {jargon:?}"));
    }
    complaints
}

/// Words of programs about themselves, and what nobody may see.
const JARGON: [&str; 9] = [
    "panicked",
    "KUBERNETES_EXEC_INFO",
    "ExitStatus",
    "InvalidContentType",
    "expected value at line",
    "feature \"kube",
    "<html>",
    "hush-hush",
    "auth exec",
];

/// Each case has its name, its kubeconfig and what has to be said.
pub(super) fn assert_all(cases: impl IntoIterator<Item = (&'static str, Value, Vec<String>)>) {
    // A case may take its deadline, so they run side by side.
    let cases: Vec<_> = cases
        .into_iter()
        .map(|(name, config, says)| thread::spawn(move || (name, analyze(&config), says)))
        .collect();
    let mut wrong = Vec::new();
    for case in cases {
        let (name, (run, elapsed), says) = case.join().unwrap();
        let says: Vec<&str> = says.iter().map(String::as_str).collect();
        let mut complaints = complaints(&run, &says);
        if elapsed >= SOON {
            complaints.push(format!("took {elapsed:?}"));
        }
        if !complaints.is_empty() {
            let heard = run.stderr.trim_end();
            wrong.push(format!("{name}: {}\n    {heard}", complaints.join("; ")));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

pub(super) fn owned(says: &[&str]) -> Vec<String> {
    says.iter().map(|&text| text.to_owned()).collect()
}
