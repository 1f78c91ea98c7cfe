//! One control plane, from its start to its end.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::api_server::ApiServer;
use crate::keys::Keys;
use crate::kubeconfig::{self, Access};
use crate::poll::wait_for;
use crate::processes::Processes;
use crate::tokens::{ADMIN, Tokens};
use crate::{Program, Signal, controllers, nodes};

/// Somebody may take a port between our choice and the program's start.
const TRIES: usize = 3;

/// What a testbed consists of, beside etcd and the API server.
#[derive(Debug, Clone)]
pub struct Parts {
    name: String,
    pub(crate) controllers: bool,
    nodes: u32,
}

impl Parts {
    /// etcd and the API server only: no scheduler, and a Namespace never finishes its deletion.
    /// `name` is that of the context and the cluster in every kubeconfig.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), controllers: false, nodes: 0 }
    }

    /// Adds controller manager and scheduler.
    #[must_use]
    pub fn with_controllers(self) -> Self {
        Self { controllers: true, ..self }
    }

    /// Adds Nodes, named `node-0` and so on, and kwok to play their kubelets. See `stages.yaml`
    /// for the annotations by which a pod says what becomes of it.
    #[must_use]
    pub fn with_nodes(self, nodes: u32) -> Self {
        Self { nodes, ..self }
    }
}

/// A running control plane. Its programs and its folder are gone once it is dropped, or once this
/// process has ended in whatever way.
pub struct Testbed {
    pub(crate) parts: Parts,
    pub(crate) processes: Processes,
    pub(crate) keys: Keys,
    pub(crate) tokens: Tokens,
    api_server: ApiServer,
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    /// Users without rights that are already taken.
    pub(crate) limited: AtomicUsize,
    /// Namespaces made so far.
    pub(crate) namespaces: AtomicUsize,
}

/// The testbed that the suites of one test process share: controllers and three nodes. Suites
/// keep apart by a namespace each.
///
/// # Panics
/// Where it cannot be started; each caller gets the reason.
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
    /// Starts a control plane and returns once it can be worked with: the API server is ready,
    /// the default namespace exists, and all Nodes are ready. Seconds, and minutes where the
    /// programs have to be built first.
    pub fn start(parts: &Parts) -> Result<Self> {
        let mut tries = 1;
        loop {
            match Self::try_start(parts) {
                Err(error) if tries < TRIES && is_taken(&error) => tries += 1,
                result => {
                    return result.with_context(|| {
                        format!("cannot start the control plane {:?}", parts.name)
                    });
                }
            }
        }
    }

    fn try_start(parts: &Parts) -> Result<Self> {
        // First of all, as a build may take minutes.
        let kubectl = Program::Kubectl.path()?;
        if parts.controllers {
            Program::ControllerManager.path()?;
        }
        if parts.nodes > 0 {
            Program::Kwok.path()?;
        }
        let processes = Processes::new()?;
        let folder = processes.folder();
        let keys = Keys::create(folder)?;
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

    /// The name it was given in its [`Parts`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// Its folder, with the logs and all else it writes. Gone with the testbed, so also the place
    /// for a suite's own files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.processes.folder()
    }

    /// The kubeconfig of `admin`, who may do everything.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The API server: `https://127.0.0.1:` and its port.
    #[must_use]
    pub fn server_url(&self) -> &str {
        self.api_server.url()
    }

    /// The certificate, as PEM, that the API server's own is signed with.
    #[must_use]
    pub fn certificate_authority(&self) -> &Path {
        &self.keys.authority
    }

    /// Process number and name of every program, the watchdog included that ends them.
    #[must_use]
    pub fn processes(&self) -> Vec<(u32, String)> {
        self.processes.list()
    }

    /// The last lines of a program's log, by the program's name.
    #[must_use]
    pub fn log_tail(&self, program: &str) -> String {
        self.processes.log_tail(program)
    }

    /// Makes etcd forget every version but the present one. Who goes on from an older one is told
    /// so (410), once the API server does not remember it either.
    pub fn compact(&self) -> Result<()> {
        self.api_server.compact()
    }

    /// Kills the API server as a crash would: no connection is closed in good order.
    pub fn kill_api_server(&self) -> Result<()> {
        self.processes.kill(Program::ApiServer.name())
    }

    /// The bytes that etcd uses for what it knows. Older versions are among them until
    /// [`Testbed::compact`].
    pub fn store_bytes(&self) -> Result<u64> {
        self.api_server.store_bytes()
    }

    /// Sends a signal to etcd: stopped, it lets the API server wait.
    pub fn signal_store(&self, signal: Signal) -> Result<()> {
        self.processes.signal(Program::Etcd.name(), signal)
    }

    /// Starts the API server again after [`Testbed::kill_api_server`], on the same port and with
    /// the same data, and returns once it is ready.
    pub fn restart_api_server(&self) -> Result<()> {
        self.api_server.start(&self.processes)?;
        self.wait_until_ready()
    }

    /// Asks until `condition` holds. After `within` it fails with `what` and the end of the API
    /// server's log; an error of the condition ends it at once.
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
        self.write_kubeconfig(user, &self.tokens.of(user), namespace)
    }

    /// Writes a kubeconfig, in a file named after the user.
    pub(crate) fn write_kubeconfig(
        &self,
        user: &str,
        token: &str,
        namespace: Option<&str>,
    ) -> Result<PathBuf> {
        let path = self.folder().join(format!("{}.kubeconfig", user.replace(':', "-")));
        let authority = &self.keys.authority;
        let access = Access { name: self.name(), server: self.server_url(), authority };
        kubeconfig::write(&path, &access, user, token, namespace)
    }

    pub(crate) fn kubectl_program(&self) -> &Path {
        &self.kubectl
    }

    pub(crate) fn has_controllers(&self) -> bool {
        self.parts.controllers
    }
}

/// Whether a program failed because its port was taken. Its log says so, which the error quotes.
fn is_taken(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("address already in use")
}
