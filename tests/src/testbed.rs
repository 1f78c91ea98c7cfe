//! One control plane.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::api_server::ApiServer;
use crate::keys::Keys;
use crate::kubeconfig::{self, Access, Credential};
use crate::poll::wait_for;
use crate::processes::Processes;
use crate::tokens::{ADMIN, Tokens};
use crate::{Program, Signal, controllers, nodes};

/// Another process can take a port after we have chosen it and before the program listens on it.
const TRIES: usize = 3;

/// The parts of a testbed, beside etcd and the API server.
#[derive(Debug, Clone)]
pub struct Parts {
    name: String,
    pub(crate) controllers: bool,
    nodes: u32,
    pub(crate) pods_as_processes: bool,
    /// Where clients reach the API server.
    pub(crate) address: Ipv4Addr,
}

impl Parts {
    /// etcd and the API server only: pods are not scheduled, and a Namespace is never deleted
    /// completely. `name` is that of context and cluster in every kubeconfig.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let address = Ipv4Addr::LOCALHOST;
        Self {
            name: name.to_owned(),
            controllers: false,
            nodes: 0,
            pods_as_processes: false,
            address,
        }
    }

    /// Adds controller manager and scheduler.
    #[must_use]
    pub fn with_controllers(self) -> Self {
        Self { controllers: true, ..self }
    }

    /// Adds Nodes, named `node-0` and so on, and kwok, which simulates their kubelets. Annotations
    /// of a pod determine its status: see `stages.yaml`.
    #[must_use]
    pub fn with_nodes(self, nodes: u32) -> Self {
        Self { nodes, ..self }
    }

    /// Leaves the pods of the platform to [`Testbed::run_pods`], and makes the API server call webhooks
    /// that are behind a Service of them.
    #[must_use]
    pub fn with_pods_as_processes(self) -> Self {
        Self { pods_as_processes: true, ..self }
    }

    /// Prepares for real kubelets, which the caller starts: the API server listens on every address,
    /// is its own Service's endpoint at `address`, which must not be a loopback address, and limits
    /// each kubelet to its own node.
    #[must_use]
    pub fn with_kubelets(self, address: Ipv4Addr) -> Self {
        Self { address, ..self }
    }
}

/// A running control plane. Its processes are killed and its folder is removed when it is dropped,
/// or when this process ends in any way.
pub struct Testbed {
    pub(crate) parts: Parts,
    pub(crate) processes: Processes,
    pub(crate) keys: Keys,
    pub(crate) tokens: Tokens,
    api_server: ApiServer,
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    /// The number of limited users in use.
    pub(crate) limited: AtomicUsize,
    /// The number of namespaces created.
    pub(crate) namespaces: AtomicUsize,
}

/// The testbed that the suites of one test process share, with controllers and three nodes. Each
/// test uses a namespace of its own.
///
/// # Panics
/// If it cannot be started; each caller gets the reason.
#[must_use]
#[expect(clippy::panic, reason = "a suite without its control plane has failed")]
pub fn shared() -> &'static Testbed {
    static SHARED: LazyLock<Result<Testbed, String>> = LazyLock::new(|| {
        let parts = Parts::new("shared").with_controllers().with_nodes(3);
        Testbed::start(&parts).map_err(|error| format!("{error:#}"))
    });
    match &*SHARED {
        Ok(testbed) => testbed,
        Err(error) => panic!("no control plane: {error}"),
    }
}

impl Testbed {
    /// Starts a control plane and returns when the API server is ready, the default namespace
    /// exists, and all Nodes are ready. It takes seconds, and minutes if the programs have to be
    /// built first.
    pub fn start(parts: &Parts) -> Result<Self> {
        let mut tries = 1;
        loop {
            match Self::try_start(parts) {
                Err(error) if tries < TRIES && port_is_taken(&error) => tries += 1,
                result => {
                    return result.with_context(|| {
                        format!("cannot start the control plane {:?}", parts.name)
                    });
                }
            }
        }
    }

    fn try_start(parts: &Parts) -> Result<Self> {
        // Before etcd is started, as a build may take minutes.
        let kubectl = Program::Kubectl.path()?;
        if parts.controllers {
            Program::ControllerManager.path()?;
        }
        if parts.nodes > 0 {
            Program::Kwok.path()?;
        }
        let processes = Processes::new()?;
        let folder = processes.folder();
        let keys = Keys::create(folder, parts.address)?;
        let tokens = Tokens::new()?;
        let token_file = tokens.write(folder)?;
        let api_server = ApiServer::new(folder, &keys, &token_file, parts)?;
        let testbed = Self {
            parts: parts.clone(),
            kubeconfig: folder.join("admin.kubeconfig"),
            processes,
            keys,
            tokens,
            api_server,
            kubectl,
            limited: AtomicUsize::new(0),
            namespaces: AtomicUsize::new(0),
        };
        testbed.user_kubeconfig(ADMIN, None)?;
        testbed.api_server.start_store(&testbed.processes)?;
        testbed.api_server.start(&testbed.processes)?;
        testbed.wait_until_ready()?;
        if parts.controllers {
            controllers::start(&testbed)?;
        }
        if parts.nodes > 0 {
            nodes::start(&testbed, parts.nodes)?;
        }
        if parts.controllers {
            controllers::wait_until_ready(&testbed)?;
        }
        Ok(testbed)
    }

    /// The name of its [`Parts`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// Its folder, with logs and data. It is removed with the testbed, so suites put their own files
    /// there as well.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.processes.folder()
    }

    /// The kubeconfig of `admin`, a cluster administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The URL of the API server, by default `https://127.0.0.1:` and its port.
    #[must_use]
    pub fn server_url(&self) -> &str {
        self.api_server.url()
    }

    /// The PEM file with the certificate authority of the API server.
    #[must_use]
    pub fn certificate_authority(&self) -> &Path {
        &self.keys.authority
    }

    /// The id and name of every process, including the watchdog that kills them at the end.
    #[must_use]
    pub fn processes(&self) -> Vec<(u32, String)> {
        self.processes.list()
    }

    /// The last lines of the log of a program or service.
    #[must_use]
    pub fn log_tail(&self, program: &str) -> String {
        self.processes.log_tail(program)
    }

    /// Compacts etcd up to the current revision. A watch from an older one is answered with 410
    /// (Gone), unless the API server still has it in its watch cache.
    pub fn compact(&self) -> Result<()> {
        self.api_server.compact()
    }

    /// Kills the API server by SIGKILL, like a crash: connections are not closed in order.
    pub fn kill_api_server(&self) -> Result<()> {
        self.processes.kill(Program::ApiServer.name())
    }

    /// The bytes that etcd uses, with older revisions until [`Testbed::compact`].
    pub fn store_bytes(&self) -> Result<u64> {
        self.api_server.store_bytes()
    }

    /// Sends a signal to etcd. While it is stopped, requests to the API server hang.
    pub fn signal_store(&self, signal: Signal) -> Result<()> {
        self.processes.signal(Program::Etcd.name(), signal)
    }

    /// Sends a signal to the controllers, the scheduler and the simulated kubelets. While they are
    /// stopped, nothing reacts to a change.
    pub fn signal_controllers(&self, signal: Signal) -> Result<()> {
        let all = [Program::ControllerManager, Program::Scheduler, Program::Kwok];
        all.into_iter().try_for_each(|program| self.processes.signal(program.name(), signal))
    }

    /// Starts the API server again after [`Testbed::kill_api_server`], on the same port and with
    /// the same data, and returns when it is ready.
    pub fn restart_api_server(&self) -> Result<()> {
        self.api_server.start(&self.processes)?;
        self.wait_until_ready()
    }

    /// Calls `condition` until it returns true. After `within` it fails with `what` and the end of
    /// the API server's log; an error of the condition is returned at once.
    pub fn wait_for(
        &self,
        what: &str,
        within: Duration,
        mut condition: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        wait_for(what, within, || Ok(condition()?.then_some(())))
            .map_err(|error| self.processes.explain(Program::ApiServer.name(), &error))
    }

    fn wait_until_ready(&self) -> Result<()> {
        self.api_server.wait_until_ready(&self.processes, || {
            let ready = self.kubectl(&["get", "--raw=/readyz"])?.code == Some(0);
            let default = "--raw=/api/v1/namespaces/default";
            Ok(ready && self.kubectl(&["get", default])?.code == Some(0))
        })
    }

    /// Writes the kubeconfig of a user of the token file.
    pub(crate) fn user_kubeconfig(&self, user: &str, namespace: Option<&str>) -> Result<PathBuf> {
        self.write_kubeconfig(user, &self.tokens.of(user), namespace, true)
    }

    /// Writes a kubeconfig, in a file named after the user.
    pub(crate) fn write_kubeconfig(
        &self,
        user: &str,
        token: &str,
        namespace: Option<&str>,
        disable_compression: bool,
    ) -> Result<PathBuf> {
        let path = self.folder().join(format!("{}.kubeconfig", user.replace(':', "-")));
        let authority = &self.keys.authority;
        let server = self.server_url();
        let access = Access { name: self.name(), server, authority, disable_compression };
        kubeconfig::write(&path, &access, user, Credential::Token(token), namespace)
    }

    pub(crate) fn kubectl_program(&self) -> &Path {
        &self.kubectl
    }

    pub(crate) fn has_controllers(&self) -> bool {
        self.parts.controllers
    }
}

/// Whether a program failed because its port is in use. The error quotes the log, which says so.
fn port_is_taken(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("address already in use")
}
