//! Flux's kustomize-controller beside a control plane. Its source-controller does not run: this
//! checkout is served as the artifact of a `GitRepository`.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::processes::Environment;
use crate::programs::root;
use crate::{Program, Published, Run, Testbed};

/// The definitions that kustomize-controller needs.
pub const FLUX_DEFINITIONS: [Published; 2] = [
    Published {
        module: "github.com/fluxcd/source-controller@v1.9.0",
        sum: "h1:5msg2yyjVYDULZos+2ve8MZzcSqTpusiXmrOeBhc9yY=",
        path: "config/crd/bases",
    },
    Published {
        module: "github.com/fluxcd/kustomize-controller@v1.9.6",
        sum: "h1:XB+G3A0mky0j5uVHZWv4oSlS2RvZBoNIUhstIvY0JKE=",
        path: "config/crd/bases",
    },
];

/// Any commit: nothing reads it.
const REVISION: &str = "main@sha1:0123456789abcdef0123456789abcdef01234567";

impl Testbed {
    /// Starts kustomize-controller as `admin`, as Flux installs it. Its definitions and the namespace
    /// `flux-system` have to exist.
    pub fn start_flux(&self) -> Result<()> {
        let program = Program::KustomizeController;
        let environment: [(String, OsString); 2] = [
            ("KUBECONFIG".to_owned(), self.kubeconfig().into()),
            ("RUNTIME_NAMESPACE".to_owned(), "flux-system".into()),
        ];
        // Port 0 is one that is free.
        let addresses = ["--metrics-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0"];
        let arguments = addresses.map(str::to_owned);
        let environment = Environment::Only(&environment);
        self.processes.start_in(&environment, program.name(), &program.path()?, &arguments)
    }

    /// Does for a `GitRepository` of `flux-system` what source-controller does: stores an artifact,
    /// here `deploy` of this checkout, and says in the status where it is.
    pub fn store_artifact(&self, repository: &str) -> Result<()> {
        let file = self.folder().join("artifact.tar.gz");
        let mut tar = Command::new("tar");
        tar.arg("-czf").arg(&file).arg("-C").arg(root()).arg("deploy");
        Run::of(&mut tar, None)?.succeeded()?;
        let bytes = fs::read(&file)?;
        let (digest, size) = (format!("sha256:{:x}", Sha256::digest(&bytes)), bytes.len());
        let addr = serve(bytes).context("cannot serve the artifact")?;
        let now = Timestamp::now().to_string();
        let status = json!({ "status": {
            "observedGeneration": 1,
            "artifact": {
                "path": "artifact.tar.gz",
                "url": format!("http://{addr}/artifact.tar.gz"),
                "revision": REVISION,
                "digest": digest,
                "lastUpdateTime": now,
                "size": size,
            },
            "conditions": [{
                "type": "Ready",
                "status": "True",
                "reason": "Succeeded",
                "message": "stored artifact",
                "lastTransitionTime": now,
                "observedGeneration": 1,
            }],
        }});
        let patch =
            ["patch", "gitrepository", repository, "-n", "flux-system", "--subresource=status"];
        let status = status.to_string();
        let patch = [&patch[..], &["--type=merge", "-p", &status]].concat();
        self.kubectl(&patch)?.succeeded()?;
        Ok(())
    }
}

/// Answers every request with these bytes, until this process ends.
fn serve(bytes: Vec<u8>) -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let (addr, bytes) = (listener.local_addr()?, Arc::new(bytes));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Flux repeats a request that fails.
            let _ = answer(stream, &bytes);
        }
    });
    Ok(addr)
}

fn answer(mut stream: TcpStream, bytes: &[u8]) -> io::Result<()> {
    let mut head = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    // An empty line ends the head.
    while head.read_line(&mut line)? > "\r\n".len() {
        line.clear();
    }
    let length = bytes.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    stream.write_all(bytes)
}
