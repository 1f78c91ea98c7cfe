//! An API server that is quick enough for 100 000 pods, because it generates them as it sends them:
//! streamed lists, watches, and writes with resourceVersions.
//!
//! ```text
//! wire       requests and responses
//! pods       generated pods
//! store      stored objects: policies, audit results, Leases
//! policies   the content of a policy
//! ```

mod pods;
mod policies;
mod store;
mod wire;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, thread};

use anyhow::Result;
use http::{Request, Response, StatusCode};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::spawn_blocking;

pub(super) use pods::Shape;
use pods::Template;
pub(super) use policies::spec as policy_spec;
use store::Store;
use wire::{Answer, Call, bookmark, event, refused};

/// The threads of the server.
const THREADS: usize = 2;
/// The chunks that wait for a slow client. The sender of the next one waits as well.
const QUEUE: usize = 64;
/// Pods in a chunk of a streamed list.
const CHUNK: usize = 8;
/// A quiet watch gets a bookmark, as from real servers.
const BOOKMARKS: Duration = Duration::from_secs(60);

/// The watches of one kind, each by the channel to its connection.
type Watches = Mutex<Vec<Sender<Bytes>>>;

/// The server. It ends with the process.
pub(super) struct FakeApi {
    pub(super) addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    shape: Shape,
    /// The number of pods.
    pods: AtomicUsize,
    /// The resourceVersion of the last change of a pod.
    version: AtomicU64,
    template: Template,
    store: Mutex<Store>,
    watches: [Watches; 4],
}

/// A group of watches.
#[derive(Clone, Copy)]
pub(super) enum Watched {
    /// Of pods, by the service that is measured.
    Pods,
    /// Of pods, by the baseline.
    Reader,
    Policies,
    AuditResults,
}

impl FakeApi {
    /// A server without policies.
    pub(super) fn start(shape: Shape) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            shape,
            pods: AtomicUsize::new(shape.pods),
            version: AtomicU64::new(1000),
            template: Template::new(shape.namespaces),
            store: Mutex::default(),
            watches: Default::default(),
        });
        listener.set_nonblocking(true)?;
        let runtime = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
        let for_listener = Arc::clone(&shared);
        thread::spawn(move || runtime.block_on(serve(listener, for_listener)));
        let for_bookmarks = Arc::clone(&shared);
        thread::spawn(move || {
            loop {
                thread::sleep(BOOKMARKS);
                for_bookmarks.send_bookmarks();
            }
        });
        Ok(Self { addr, shared })
    }

    /// A server with policies of these names in each namespace: `team-0` and so on.
    pub(super) fn with_policies(shape: Shape, names: &[&str]) -> Result<Self> {
        let fake = Self::start(shape)?;
        for number in 0..shape.namespaces {
            for name in names {
                let policy = policies::policy(&format!("team-{number}"), name);
                fake.shared.store().keep("devopspolicies", policy);
            }
        }
        Ok(fake)
    }

    /// Writes a kubeconfig for this server into the folder.
    pub(super) fn kubeconfig(&self, folder: &Path) -> Result<PathBuf> {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "fake",
            "contexts": [{ "name": "fake", "context": { "cluster": "fake", "user": "u" } }],
            "clusters": [{ "name": "fake", "cluster": { "server": format!("http://{}", self.addr) } }],
            "users": [{ "name": "u", "user": { "token": "t" } }],
        });
        let path = folder.join(format!("fake-{}.kubeconfig", self.addr.port()));
        fs::write(&path, config.to_string())?;
        Ok(path)
    }

    /// The size of a pod.
    pub(super) fn pod_bytes(&self) -> usize {
        let mut pod = Vec::new();
        self.shared.template.write(&mut pod, 1, 1, 1);
        pod.len()
    }

    /// Sends this many events, each for another pod, with this number of restarts.
    pub(super) fn change(&self, watched: Watched, first: usize, events: usize, restarts: u64) {
        let pods = self.shared.pods.load(Ordering::Relaxed);
        let mut text = Vec::new();
        for number in first..first + events {
            self.event(&mut text, "MODIFIED", number % pods, restarts);
        }
        self.shared.send(watched, &text.into());
    }

    /// Adds a pod.
    pub(super) fn add(&self, watched: Watched) {
        let mut text = Vec::new();
        let number = self.shared.pods.fetch_add(1, Ordering::Relaxed);
        self.event(&mut text, "ADDED", number, 0);
        self.shared.send(watched, &text.into());
    }

    /// Ends the watch of pods with 410 (Expired), so that the client has to relist.
    pub(super) fn expire(&self) {
        let gone = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old","status":"Failure"}}"#;
        self.shared.send(Watched::Pods, &format!("{gone}\n").into());
        self.end(Watched::Pods);
    }

    /// The number of watches.
    pub(super) fn watches(&self, watched: Watched) -> usize {
        self.shared.watches(watched).len()
    }

    /// Ends the watches.
    pub(super) fn end(&self, watched: Watched) {
        self.shared.watches(watched).clear();
    }

    /// The number of policy statuses written.
    pub(super) fn statuses_written(&self) -> usize {
        self.shared.store().statuses
    }

    fn event(&self, text: &mut Vec<u8>, kind: &str, number: usize, restarts: u64) {
        let version = self.shared.version.fetch_add(1, Ordering::Relaxed);
        self.shared.pod_event(text, kind, number, version, restarts);
    }
}

impl Shared {
    fn watches(&self, watched: Watched) -> MutexGuard<'_, Vec<Sender<Bytes>>> {
        self.watches[watched as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, watched: Watched, text: &Bytes) {
        self.watches(watched).retain(|watch| watch.blocking_send(text.clone()).is_ok());
    }

    fn send_bookmarks(&self) {
        let version = self.version.load(Ordering::Relaxed);
        self.send(Watched::Pods, &bookmark(version, false).into());
        for watched in [Watched::Policies, Watched::AuditResults] {
            // The lock keeps writes from coming between the resourceVersion and the bookmark.
            let store = self.store();
            self.send(watched, &bookmark(store.version(), false).into());
        }
    }

    fn pod_event(&self, text: &mut Vec<u8>, kind: &str, pod: usize, version: u64, restarts: u64) {
        text.extend_from_slice(b"{\"type\":\"");
        text.extend_from_slice(kind.as_bytes());
        text.extend_from_slice(b"\",\"object\":");
        self.template.write(text, pod, version, restarts);
        text.extend_from_slice(b"}\n");
    }

    /// Answers a request that is not a watch.
    fn answer(&self, call: &Call) -> Result<Answer> {
        // No suite reads Events.
        if call.resource == "events" {
            return Ok((StatusCode::OK, call.json()?));
        }
        let mut store = self.store();
        let (answer, change) = store.handle(call)?;
        if let (Some((kind, object)), Some(watched)) = (change, stored(&call.resource)) {
            // The store stays locked, so that events are sent in the order of their versions.
            self.send(watched, &event(kind, &object).into());
        }
        Ok(answer)
    }

    /// Sends the initial list, or what is newer than the client's resourceVersion; then registers
    /// the watch.
    fn begin_watch(&self, call: &Call, watch: Sender<Bytes>) -> Result<()> {
        let is_list = call.query("sendInitialEvents").is_some();
        if let Some(watched) = stored(&call.resource) {
            let store = self.store();
            let version = call.query("resourceVersion").filter(|_| !is_list);
            let version = version.and_then(|text| text.parse().ok()).unwrap_or(0);
            for object in store.newer(&call.resource, version) {
                let kind = if is_list { "ADDED" } else { "MODIFIED" };
                watch.blocking_send(event(kind, object).into())?;
            }
            if is_list {
                watch.blocking_send(bookmark(store.version(), true).into())?;
            }
            self.watches(watched).push(watch);
            return Ok(());
        }
        let is_reader = call.query("reader").is_some();
        // The lock keeps changes from coming before the end of the list.
        let mut watches = self.watches(if is_reader { Watched::Reader } else { Watched::Pods });
        if is_list {
            self.list(&watch)?;
        }
        watches.push(watch);
        Ok(())
    }

    /// Sends all pods.
    fn list(&self, watch: &Sender<Bytes>) -> Result<()> {
        let pods = self.pods.load(Ordering::Relaxed);
        for first in (0..pods).step_by(CHUNK) {
            let mut text = Vec::new();
            for place in first..pods.min(first + CHUNK) {
                let pod = self.shape.at(place);
                self.pod_event(&mut text, "ADDED", pod, 500, self.shape.restarts(pod));
            }
            watch.blocking_send(text.into())?;
        }
        let version = self.version.load(Ordering::Relaxed);
        Ok(watch.blocking_send(bookmark(version, true).into())?)
    }
}

/// The watches of a resource whose objects are stored.
fn stored(resource: &str) -> Option<Watched> {
    match resource {
        "devopspolicies" => Some(Watched::Policies),
        "policyauditresults" => Some(Watched::AuditResults),
        _ => None,
    }
}

/// Accepts connections until the process ends.
async fn serve(listener: TcpListener, shared: Arc<Shared>) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| handle(request, Arc::clone(&shared)));
        // A connection ends when the client closes it.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn handle(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<wire::Body>> {
    let call = Call::read(request).await?;
    if call.query("watch").is_some() {
        let (watch, events) = channel(QUEUE);
        // An error means that the client closed the connection.
        spawn_blocking(move || shared.begin_watch(&call, watch));
        return Ok(wire::stream(events));
    }
    let answer = spawn_blocking(move || shared.answer(&call)).await?;
    Ok(wire::response(&answer.unwrap_or_else(|_| refused(StatusCode::BAD_REQUEST, "BadRequest"))))
}
