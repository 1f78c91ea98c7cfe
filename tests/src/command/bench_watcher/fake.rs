//! An API server that is quick enough for 100 000 pods: it makes them as it sends them. It speaks
//! the real protocol: lists in pages, watches in chunks, Leases with versions.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use super::super::bench_live::{NAMESPACES, pod};

/// Chunks that wait for a slow client; then who sends them waits as well.
const QUEUE: usize = 64;

/// The watches of one kind of client, each by the channel to its connection.
type Watches = Mutex<Vec<SyncSender<Vec<u8>>>>;

/// A pod as JSON, in pieces between which number, version and restarts are put.
struct Template(Vec<(String, Hole)>);

enum Hole {
    Number,
    Namespace,
    Version,
    Restarts,
    End,
}

/// The server. It ends with the process.
pub(super) struct Fake {
    pub(super) addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    pods: AtomicUsize,
    version: AtomicU64,
    template: Template,
    /// Of the watcher, and of who only reads.
    watches: [Watches; 2],
    lease: Mutex<Option<Value>>,
}

/// Whose watch is meant.
#[derive(Clone, Copy)]
pub(super) enum Client {
    Watcher,
    Reader,
}

impl Template {
    /// What the API server and the kubelet add to a pod is there as well, so that it has its size.
    fn new() -> Self {
        let mut pod = pod(1);
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["spec"].as_object_mut().map(|spec| spec.remove("schedulingGates"));
        let fields: Vec<Value> = (0..110)
            .map(|n| json!({ format!("f:field-of-a-manager-{n}"): { ".": {}, "f:value": {}, "f:name": {} } }))
            .collect();
        let managed = json!([{ "manager": "kubelet", "operation": "Update", "fieldsV1": fields }]);
        pod["metadata"]["managedFields"] = managed;
        pod["metadata"]["name"] = json!("payment-service-7d4b9c6f58-@NUMBER@");
        pod["metadata"]["namespace"] = json!("team-@NAMESPACE@");
        pod["metadata"]["resourceVersion"] = json!("@VERSION@");
        pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        let container = |name: &str| {
            json!({ "name": name, "image": "i", "imageID": "i", "ready": true,
                    "restartCount": "@RESTARTS@", "state": { "running": {} } })
        };
        pod["status"] = json!({ "phase": "Running",
            "containerStatuses": [container("payment-service"), container("envoy-proxy")] });
        let text = pod.to_string().replace("\"@RESTARTS@\"", "@RESTARTS@");
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, hole)) = rest.split_once('@') {
            let (name, after) = hole.split_once('@').unwrap_or((hole, ""));
            let hole = match name {
                "NUMBER" => Hole::Number,
                "NAMESPACE" => Hole::Namespace,
                "VERSION" => Hole::Version,
                _ => Hole::Restarts,
            };
            pieces.push((before.to_owned(), hole));
            rest = after;
        }
        pieces.push((rest.to_owned(), Hole::End));
        Self(pieces)
    }

    fn write(&self, to: &mut Vec<u8>, number: usize, version: u64, restarts: u64) {
        for (text, hole) in &self.0 {
            to.extend_from_slice(text.as_bytes());
            // Writing to memory cannot fail.
            let _ = match hole {
                Hole::Number => write!(to, "{number:06}"),
                Hole::Namespace => write!(to, "{}", number % NAMESPACES),
                Hole::Version => write!(to, "{version}"),
                Hole::Restarts => write!(to, "{restarts}"),
                Hole::End => Ok(()),
            };
        }
    }
}

impl Fake {
    pub(super) fn start(pods: usize) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            pods: AtomicUsize::new(pods),
            version: AtomicU64::new(1000),
            template: Template::new(),
            watches: [Mutex::default(), Mutex::default()],
            lease: Mutex::default(),
        });
        let for_listener = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&for_listener);
                thread::spawn(move || serve(&stream, &shared));
            }
        });
        Ok(Self { addr, shared })
    }

    /// The size of a pod.
    pub(super) fn pod_bytes(&self) -> usize {
        let mut pod = Vec::new();
        self.shared.template.write(&mut pod, 1, 1, 1);
        pod.len()
    }

    /// Changes pods of a client's watch: so many events, each of another pod, with this number of
    /// restarts.
    pub(super) fn change(&self, client: Client, first: usize, events: usize, restarts: u64) {
        let pods = self.shared.pods.load(Ordering::Relaxed);
        let mut chunk = Vec::new();
        for number in first..first + events {
            self.event(&mut chunk, "MODIFIED", number % pods, restarts);
        }
        self.send(client, &chunk);
    }

    /// Makes a pod.
    pub(super) fn add(&self, client: Client) {
        let mut chunk = Vec::new();
        let number = self.shared.pods.fetch_add(1, Ordering::Relaxed);
        self.event(&mut chunk, "ADDED", number, 0);
        self.send(client, &chunk);
    }

    /// Forgets all versions: who watches has to list anew.
    pub(super) fn forget(&self) {
        let gone = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old","status":"Failure"}}"#;
        self.send(Client::Watcher, format!("{gone}\n").as_bytes());
        self.shared.watches(Client::Watcher).clear();
    }

    /// How many watches a client has.
    pub(super) fn watches(&self, client: Client) -> usize {
        self.shared.watches(client).len()
    }

    /// Ends the watches of a client.
    pub(super) fn end(&self, client: Client) {
        self.shared.watches(client).clear();
    }

    fn event(&self, chunk: &mut Vec<u8>, kind: &str, number: usize, restarts: u64) {
        let version = self.shared.version.fetch_add(1, Ordering::Relaxed);
        chunk.extend_from_slice(b"{\"type\":\"");
        chunk.extend_from_slice(kind.as_bytes());
        chunk.extend_from_slice(b"\",\"object\":");
        self.shared.template.write(chunk, number, version, restarts);
        chunk.extend_from_slice(b"}\n");
    }

    fn send(&self, client: Client, text: &[u8]) {
        let mut chunk = format!("{:x}\r\n", text.len()).into_bytes();
        chunk.extend_from_slice(text);
        chunk.extend_from_slice(b"\r\n");
        self.shared.watches(client).retain(|watch| watch.send(chunk.clone()).is_ok());
    }
}

impl Shared {
    fn watches(&self, client: Client) -> std::sync::MutexGuard<'_, Vec<SyncSender<Vec<u8>>>> {
        self.watches[client as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn page(&self, limit: usize, from: usize) -> Vec<u8> {
        let pods = self.pods.load(Ordering::Relaxed);
        let version = self.version.load(Ordering::Relaxed);
        let end = (from + limit).min(pods);
        let next = if end < pods { end.to_string() } else { String::new() };
        let metadata = json!({ "resourceVersion": version.to_string(), "continue": next });
        let mut body = format!(
            "{{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{metadata},\"items\":["
        )
        .into_bytes();
        for number in from..end {
            if number > from {
                body.push(b',');
            }
            self.template.write(&mut body, number, 500, 0);
        }
        body.extend_from_slice(b"]}");
        body
    }

    /// Takes a Lease where its version is the present one.
    fn put_lease(&self, body: &[u8]) -> (u16, Value) {
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(mut new) = serde_json::from_slice::<Value>(body) else {
            return (400, json!({ "code": 400 }));
        };
        let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
        if lease.as_ref().is_some_and(|old| version(old) != version(&new)) {
            let conflict = json!({ "kind": "Status", "code": 409, "reason": "Conflict",
                "message": "another version", "status": "Failure" });
            return (409, conflict);
        }
        let version = self.version.fetch_add(1, Ordering::Relaxed);
        new["metadata"]["resourceVersion"] = json!(version.to_string());
        *lease = Some(new.clone());
        (200, new)
    }
}

/// Answers the requests of a connection.
fn serve(stream: &TcpStream, shared: &Shared) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream);
    while let Ok((head, body)) = request(&mut reader) {
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let query = |name: &str| {
            let (_, query) = target.split_once('?')?;
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        let done = if target.contains("/leases") {
            let known = shared.lease.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let (status, answer) = match known {
                _ if !head.starts_with("GET") => shared.put_lease(&body),
                Some(lease) => (200, lease),
                None => (
                    404,
                    json!({ "kind": "Status", "code": 404, "reason": "NotFound",
                    "message": "no lease", "status": "Failure" }),
                ),
            };
            answer_with(stream, status, answer.to_string().as_bytes())
        } else if query("sendInitialEvents").is_some() {
            // As servers before 1.34 do, so that the pages are those that the reader reads.
            let refused = json!({ "kind": "Status", "code": 422, "reason": "Invalid",
                "message": "sendInitialEvents is forbidden", "status": "Failure" });
            answer_with(stream, 422, refused.to_string().as_bytes())
        } else if query("watch").is_some() {
            let client = if query("reader").is_some() { Client::Reader } else { Client::Watcher };
            watch(stream, shared, client)
        } else {
            let number = |name: &str| query(name).and_then(|text| text.parse().ok());
            let page = shared.page(number("limit").unwrap_or(500), number("continue").unwrap_or(0));
            answer_with(stream, 200, &page)
        };
        if done.is_err() {
            return;
        }
    }
}

/// Sends what comes, until the client is gone or the watch is to end.
fn watch(mut stream: &TcpStream, shared: &Shared, client: Client) -> Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes())?;
    let (sender, receiver) = sync_channel(QUEUE);
    shared.watches(client).push(sender);
    for chunk in receiver {
        stream.write_all(&chunk)?;
    }
    stream.write_all(b"0\r\n\r\n")?;
    Ok(())
}

fn answer_with(mut stream: &TcpStream, status: u16, body: &[u8]) -> Result<()> {
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    Ok(())
}

/// The first line of a request, and its body.
fn request(reader: &mut BufReader<&TcpStream>) -> Result<(String, Vec<u8>)> {
    let (mut first, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(anyhow!("the connection ended"));
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if first.is_empty() {
            line.clone_into(&mut first);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((first, body))
}
