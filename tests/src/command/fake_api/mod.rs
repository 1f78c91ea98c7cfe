//! An API server that is quick enough for 150 000 pods, because it generates them as it sends them:
//! streamed lists, watches, and writes with resourceVersions. A resource without objects is an empty
//! list.
//!
//! ```text
//! wire       requests and responses
//! pods       generated pods
//! pages      pages of their list
//! shape      how many pods there are, of which workloads in which namespaces
//! store      stored objects: namespaces, policies, audit results, Leases
//! objects    the content of a namespace and of a policy
//! ```

mod objects;
mod pages;
mod pods;
mod shape;
mod store;
mod wire;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, thread};

use anyhow::Result;
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::spawn_blocking;

pub(super) use objects::policy_spec;
use objects::{namespace, policy};
use pages::Pages;
use pods::Template;
pub(super) use shape::Shape;
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

/// The watches of a resource, each by the channel to its connection.
type Watches = Arc<Mutex<Vec<Sender<Bytes>>>>;

/// The resource whose objects are generated.
const PODS: &str = "pods";
/// The parameter by which the baseline's watch of pods is told from that of the service.
const READER: &str = "reader";

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
    pages: Pages,
    store: Mutex<Store>,
    /// By resource.
    watches: Mutex<BTreeMap<String, Watches>>,
}

/// Whose watches of pods.
#[derive(Clone, Copy)]
pub(super) enum Watched {
    /// The service that is measured.
    Pods,
    /// The baseline.
    Reader,
}

impl Watched {
    fn key(self) -> &'static str {
        match self {
            Self::Pods => PODS,
            Self::Reader => READER,
        }
    }
}

impl FakeApi {
    /// A server with the namespaces of the pods, `team-0` and so on, and without policies.
    pub(super) fn start(shape: Shape) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            shape,
            pods: AtomicUsize::new(shape.pods),
            version: AtomicU64::new(1000),
            template: Template::new(),
            pages: Pages::default(),
            store: Mutex::default(),
            watches: Mutex::default(),
        });
        for number in 0..shape.namespaces() {
            shared.store().keep("namespaces", namespace(&format!("team-{number}")));
        }
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

    /// A server with policies of these names in each namespace.
    pub(super) fn with_policies(shape: Shape, names: &[&str]) -> Result<Self> {
        let fake = Self::start(shape)?;
        for number in 0..shape.namespaces() {
            for name in names {
                let policy = policy(&format!("team-{number}"), name);
                fake.shared.store().keep("devopspolicies", policy);
            }
        }
        Ok(fake)
    }

    /// Lets each page of a list of pods wait, as one of a server elsewhere does.
    pub(super) fn answer_pages_after(&self, pause: Duration) {
        self.shared.pages.set_pause(pause);
    }

    /// Adds a policy to each namespace.
    pub(super) fn add_policy(&self, name: &str, spec: &serde_json::Value) {
        for number in 0..self.shared.shape.namespaces() {
            let mut policy = policy(&format!("team-{number}"), name);
            policy["spec"] = spec.clone();
            self.shared.store().keep("devopspolicies", policy);
        }
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
        self.shared.template.write(&mut pod, self.shared.shape.pod(1), 1, 1);
        pod.len()
    }

    /// Sends this many events, each for another pod, with this number of restarts.
    pub(super) fn change(&self, watched: Watched, first: usize, events: usize, restarts: u64) {
        let pods = self.shared.pods.load(Ordering::Relaxed);
        let mut text = Vec::new();
        for number in first..first + events {
            self.event(&mut text, "MODIFIED", number % pods, restarts);
        }
        self.shared.send(watched.key(), &text.into());
    }

    /// Adds a pod.
    pub(super) fn add(&self, watched: Watched) {
        let mut text = Vec::new();
        let number = self.shared.pods.fetch_add(1, Ordering::Relaxed);
        self.event(&mut text, "ADDED", number, 0);
        self.shared.send(watched.key(), &text.into());
    }

    /// Ends the watch of pods with 410 (Expired), so that the client has to relist.
    pub(super) fn expire(&self) {
        let gone = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old","status":"Failure"}}"#;
        self.shared.send(PODS, &format!("{gone}\n").into());
        self.end(Watched::Pods);
    }

    /// The number of watches.
    pub(super) fn watches(&self, watched: Watched) -> usize {
        lock(&self.shared.watches(watched.key())).len()
    }

    /// Ends the watches.
    pub(super) fn end(&self, watched: Watched) {
        lock(&self.shared.watches(watched.key())).clear();
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
    fn watches(&self, resource: &str) -> Watches {
        Arc::clone(lock(&self.watches).entry(resource.to_owned()).or_default())
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    fn send(&self, watched: &str, text: &Bytes) {
        lock(&self.watches(watched)).retain(|watch| watch.blocking_send(text.clone()).is_ok());
    }

    fn send_bookmarks(&self) {
        let version = self.version.load(Ordering::Relaxed);
        self.send(PODS, &bookmark(version, false).into());
        // The lock keeps writes from coming between the resourceVersion and the bookmark.
        let store = self.store();
        let resources: Vec<_> = lock(&self.watches).keys().cloned().collect();
        for resource in resources.iter().filter(|resource| !matches!(&***resource, PODS | READER)) {
            self.send(resource, &bookmark(store.version(), false).into());
        }
    }

    fn pod_event(&self, text: &mut Vec<u8>, kind: &str, pod: usize, version: u64, restarts: u64) {
        text.extend_from_slice(b"{\"type\":\"");
        text.extend_from_slice(kind.as_bytes());
        text.extend_from_slice(b"\",\"object\":");
        self.template.write(text, self.shape.pod(pod), version, restarts);
        text.extend_from_slice(b"}\n");
    }

    /// A page of the list of pods.
    fn page(&self, call: &Call) -> Bytes {
        let pods = self.pods.load(Ordering::Relaxed);
        self.pages.get(call, pods, |text, place| {
            let pod = self.shape.at(place);
            self.template.write(text, self.shape.pod(pod), 500, self.shape.restarts(pod));
        })
    }

    /// Answers a request that is not a watch.
    fn answer(&self, call: &Call) -> Result<Answer> {
        // No suite reads Events.
        if call.resource == "events" {
            return Ok((StatusCode::OK, call.json()?));
        }
        let mut store = self.store();
        let (answer, change) = store.handle(call)?;
        if let Some((kind, object)) = change {
            // The store stays locked, so that events are sent in the order of their versions.
            self.send(&call.resource, &event(kind, &object).into());
        }
        Ok(answer)
    }

    /// Sends the initial list, or what is newer than the client's resourceVersion; then registers
    /// the watch.
    fn begin_watch(&self, call: &Call, watch: Sender<Bytes>) -> Result<()> {
        let is_list = call.query("sendInitialEvents").is_some();
        if call.resource != PODS {
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
            lock(&self.watches(&call.resource)).push(watch);
            return Ok(());
        }
        let whose = if call.query(READER).is_some() { Watched::Reader } else { Watched::Pods };
        // The lock keeps changes from coming before the end of the list.
        let watches = self.watches(whose.key());
        let mut watches = lock(&watches);
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    if call.method == Method::GET && call.resource == PODS && call.name.is_empty() {
        tokio::time::sleep(shared.pages.pause()).await;
        let page = spawn_blocking(move || shared.page(&call)).await?;
        return Ok(wire::whole(page));
    }
    let answer = spawn_blocking(move || shared.answer(&call)).await?;
    Ok(wire::response(&answer.unwrap_or_else(|_| refused(StatusCode::BAD_REQUEST, "BadRequest"))))
}
