//! An API server that is quick enough for 100 000 pods: it makes them as it sends them. It speaks
//! the real protocol: lists in pages, watches in chunks, writes with versions, each of which its
//! watches are told.
//!
//! ```text
//! wire       requests, answers, chunks
//! pods       made as they are sent
//! store      what is kept: policies, audit results, Leases
//! policies   what a policy looks like
//! ```

mod pods;
mod policies;
mod store;
mod wire;

use std::io::BufReader;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, thread};

use anyhow::Result;
use serde_json::{Value, json};

pub(super) use pods::Shape;
use pods::Template;
pub(super) use policies::spec as policy_spec;
use store::Store;
use wire::{Answer, Call, chunk, done, refused, send};

/// Chunks that wait for a slow client; then who sends them waits as well.
const QUEUE: usize = 64;
/// A watch without events is told that there are none, as real servers do.
const BOOKMARKS: Duration = Duration::from_secs(60);

/// The watches of one kind, each by the channel to its connection.
type Watches = Mutex<Vec<SyncSender<Vec<u8>>>>;

/// The server. It ends with the process.
pub(super) struct FakeApi {
    pub(super) addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    shape: Shape,
    /// How many there are by now.
    pods: AtomicUsize,
    /// Of the last change of a pod.
    version: AtomicU64,
    template: Template,
    store: Mutex<Store>,
    watches: [Watches; 4],
}

/// Which watches are meant.
#[derive(Clone, Copy)]
pub(super) enum Watched {
    /// The pods, by the service that is measured.
    Pods,
    /// The pods, by who only reads.
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
        let for_listener = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&for_listener);
                thread::spawn(move || serve(&stream, &shared));
            }
        });
        let for_bookmarks = Arc::clone(&shared);
        thread::spawn(move || {
            loop {
                thread::sleep(BOOKMARKS);
                for_bookmarks.send_bookmarks();
            }
        });
        Ok(Self { addr, shared })
    }

    /// A server with policies of these names in each namespace, which are `team-0` and so on.
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

    /// Changes pods: so many events, each of another pod, with this number of restarts.
    pub(super) fn change(&self, watched: Watched, first: usize, events: usize, restarts: u64) {
        let pods = self.shared.pods.load(Ordering::Relaxed);
        let mut text = Vec::new();
        for number in first..first + events {
            self.event(&mut text, "MODIFIED", number % pods, restarts);
        }
        self.shared.send(watched, &text);
    }

    /// Makes a pod.
    pub(super) fn add(&self, watched: Watched) {
        let mut text = Vec::new();
        let number = self.shared.pods.fetch_add(1, Ordering::Relaxed);
        self.event(&mut text, "ADDED", number, 0);
        self.shared.send(watched, &text);
    }

    /// Forgets all versions of pods: who watches has to list anew.
    pub(super) fn forget(&self) {
        let gone = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old","status":"Failure"}}"#;
        self.shared.send(Watched::Pods, format!("{gone}\n").as_bytes());
        self.end(Watched::Pods);
    }

    /// How many such watches there are.
    pub(super) fn watches(&self, watched: Watched) -> usize {
        self.shared.watches(watched).len()
    }

    /// Ends the watches.
    pub(super) fn end(&self, watched: Watched) {
        self.shared.watches(watched).clear();
    }

    /// How often the status of a policy was written.
    pub(super) fn statuses_written(&self) -> usize {
        self.shared.store().statuses
    }

    fn event(&self, text: &mut Vec<u8>, kind: &str, number: usize, restarts: u64) {
        let version = self.shared.version.fetch_add(1, Ordering::Relaxed);
        text.extend_from_slice(b"{\"type\":\"");
        text.extend_from_slice(kind.as_bytes());
        text.extend_from_slice(b"\",\"object\":");
        self.shared.template.write(text, number, version, restarts);
        text.extend_from_slice(b"}\n");
    }
}

impl Shared {
    fn watches(&self, watched: Watched) -> MutexGuard<'_, Vec<SyncSender<Vec<u8>>>> {
        self.watches[watched as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, watched: Watched, text: &[u8]) {
        let chunk = chunk(text);
        self.watches(watched).retain(|watch| watch.send(chunk.clone()).is_ok());
    }

    fn send_bookmarks(&self) {
        let version = self.version.load(Ordering::Relaxed).to_string();
        let bookmark = json!({ "metadata": { "resourceVersion": version } });
        self.send(Watched::Pods, event("BOOKMARK", &bookmark).as_bytes());
        for watched in [Watched::Policies, Watched::AuditResults] {
            // While no write can come between the version and the bookmark.
            let store = self.store();
            let bookmark =
                json!({ "metadata": { "resourceVersion": store.version().to_string() } });
            self.send(watched, event("BOOKMARK", &bookmark).as_bytes());
        }
    }

    fn page(&self, limit: usize, from: usize) -> Answer {
        let pods = self.pods.load(Ordering::Relaxed);
        let version = self.version.load(Ordering::Relaxed);
        let end = (from + limit).min(pods);
        let next = if end < pods { end.to_string() } else { String::new() };
        let metadata = json!({ "resourceVersion": version.to_string(), "continue": next });
        let mut body = format!(
            "{{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{metadata},\"items\":["
        )
        .into_bytes();
        for place in from..end {
            if place > from {
                body.push(b',');
            }
            let number = self.shape.at(place);
            self.template.write(&mut body, number, 500, self.shape.restarts(number));
        }
        body.extend_from_slice(b"]}");
        (200, body)
    }

    /// Answers what is no watch.
    fn answer(&self, call: &Call) -> Result<Answer> {
        match &*call.resource {
            "pods" => {
                let (limit, from) = (call.number("limit"), call.number("continue"));
                Ok(self.page(limit.unwrap_or(500), from.unwrap_or(0)))
            }
            // Nobody reads them here.
            "events" => Ok(done(&call.json()?)),
            resource => {
                let mut store = self.store();
                let (answer, told) = store.handle(call)?;
                if let (Some((kind, object)), Some(watched)) = (told, watched(resource)) {
                    // The store stays locked, so that the events come in the order of versions.
                    self.send(watched, event(kind, &object).as_bytes());
                }
                Ok(answer)
            }
        }
    }

    /// Sends what comes, and first what came since the version that the client has.
    fn watch(&self, stream: &TcpStream, call: &Call) -> Result<()> {
        let (sender, receiver) = sync_channel(QUEUE);
        let mut missed = Vec::new();
        if let Some(watched) = watched(&call.resource) {
            let store = self.store();
            let newer = store.newer(&call.resource, call.number("resourceVersion").unwrap_or(0));
            let newer = newer.iter().map(|object| chunk(event("MODIFIED", object).as_bytes()));
            missed.extend(newer);
            self.watches(watched).push(sender);
        } else {
            let is_reader = call.query("reader").is_some();
            let watched = if is_reader { Watched::Reader } else { Watched::Pods };
            self.watches(watched).push(sender);
        }
        wire::stream(stream, missed.into_iter().chain(receiver))
    }
}

fn watched(resource: &str) -> Option<Watched> {
    match resource {
        "devopspolicies" => Some(Watched::Policies),
        "policyauditresults" => Some(Watched::AuditResults),
        _ => None,
    }
}

fn event(kind: &str, object: &Value) -> String {
    // By hand, as the type has to come first.
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

/// Answers the requests of a connection.
fn serve(stream: &TcpStream, shared: &Shared) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream);
    while let Ok(call) = Call::read(&mut reader) {
        let done = if call.query("sendInitialEvents").is_some() {
            // As servers before 1.34 do, so that the pages are those that the reader reads.
            send(stream, &refused(422, "Invalid"))
        } else if call.query("watch").is_some() {
            shared.watch(stream, &call)
        } else {
            let answer = shared.answer(&call).unwrap_or_else(|_| refused(400, "BadRequest"));
            send(stream, &answer)
        };
        if done.is_err() {
            return;
        }
    }
}
