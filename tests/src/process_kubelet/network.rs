//! The pod network: the API server reaches the processes at the addresses of their pods.
//!
//! The API server itself chooses a ready endpoint of a Service (`--enable-aggregator-routing`), and
//! connects to it through a proxy, as it does where it is not part of the pod network
//! (<https://kubernetes.io/docs/tasks/extend-kubernetes/setup-konnectivity/>). The proxy connects to the
//! process instead. Webhooks that are named by `url` are called without it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::{lock, socks};

const SOCKET: &str = "pod-network.sock";
/// The longest request to the proxy; the API server sends two short lines.
const HEAD: u64 = 4096;

/// The address of the pod with that number. A Service refuses endpoints with loopback addresses; these are
/// for benchmarks (RFC 2544), and connections to them go through the proxy alone.
pub(super) fn address(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(198, 18, high, low)
}

/// Writes the configuration that makes the API server use the proxy for what is in the cluster.
pub(crate) fn egress_configuration(folder: &Path) -> Result<PathBuf> {
    let socket = json!({ "uds": { "udsName": folder.join(SOCKET) } });
    let cluster = json!({ "name": "cluster",
        "connection": { "proxyProtocol": "HTTPConnect", "transport": socket } });
    let configuration = json!({ "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration", "egressSelections": [cluster] });
    let path = folder.join("egress.yaml");
    fs::write(&path, configuration.to_string())?;
    Ok(path)
}

/// Where the process of each address and port listens.
pub(super) type Routes = Arc<Mutex<BTreeMap<SocketAddr, SocketAddr>>>;

/// The proxy. It accepts connections until it is dropped.
pub(super) struct PodNetwork {
    routes: Routes,
    socket: PathBuf,
    ended: Arc<AtomicBool>,
    proxy: SocketAddr,
}

impl PodNetwork {
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let socket = folder.join(SOCKET);
        let listener = UnixListener::bind(&socket)
            .with_context(|| format!("cannot listen on {}", socket.display()))?;
        let routes = Routes::default();
        let proxy = socks::start(Arc::clone(&routes))?;
        let network = Self { routes, socket, ended: Arc::default(), proxy };
        let (routes, ended) = (Arc::clone(&network.routes), Arc::clone(&network.ended));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let routes = Arc::clone(&routes);
                // It ends with its connection, which the API server closes at the latest at its end.
                thread::spawn(move || serve(client, &routes));
            }
        });
        Ok(network)
    }

    /// Where clients beside the cluster connect.
    pub(super) fn proxy(&self) -> SocketAddr {
        self.proxy
    }

    pub(super) fn add(&self, pod: Ipv4Addr, port: u16, process: SocketAddr) {
        lock(&self.routes).insert(SocketAddr::new(IpAddr::V4(pod), port), process);
    }

    pub(super) fn remove(&self, pod: Ipv4Addr) {
        lock(&self.routes).retain(|address, _| address.ip() != IpAddr::V4(pod));
    }

    /// Where a connection to that port of that pod goes.
    pub(super) fn find(&self, pod: Ipv4Addr, port: u16) -> Option<SocketAddr> {
        lock(&self.routes).get(&SocketAddr::new(IpAddr::V4(pod), port)).copied()
    }
}

impl Drop for PodNetwork {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts; it is gone where this fails.
        let _: io::Result<UnixStream> = UnixStream::connect(&self.socket);
    }
}

fn serve(mut client: UnixStream, routes: &Routes) {
    let connected = destination(&client).and_then(|pod| {
        let process = lock(routes).get(&pod).copied();
        let process = process.with_context(|| format!("no process listens for {pod}"))?;
        Ok(TcpStream::connect(process)?)
    });
    // The API server logs this line. An error while it is sent means that nobody waits for it.
    let _: io::Result<()> = match connected {
        Ok(server) => client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").map(|()| {
            join(&client, &server, || client.shutdown(Shutdown::Write));
        }),
        Err(error) => client.write_all(format!("HTTP/1.1 502 {error:#}\r\n\r\n").as_bytes()),
    };
}

/// The address in the head of a request, `CONNECT 198.18.0.1:8443 HTTP/1.1`. The client sends nothing
/// behind it before it has the answer.
fn destination(client: &UnixStream) -> Result<SocketAddr> {
    let mut lines = BufReader::new(client.take(HEAD)).lines();
    let first = lines.next().context("no request")??;
    for line in lines {
        if line?.is_empty() {
            let mut words = first.split(' ');
            return match (words.next(), words.next().map(str::parse)) {
                (Some("CONNECT"), Some(Ok(address))) => Ok(address),
                _ => bail!("{first} is not CONNECT with an address"),
            };
        }
    }
    bail!("the request ends within its head")
}

/// Passes on what both send, until both have ended. `end` tells the client that the server has.
pub(super) fn join<C: Sync>(client: &C, server: &TcpStream, end: impl FnOnce() -> io::Result<()>)
where
    for<'c> &'c C: io::Read + io::Write,
{
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut from, mut to) = (client, server);
            let _: io::Result<u64> = io::copy(&mut from, &mut to);
            let _: io::Result<()> = server.shutdown(Shutdown::Write);
        });
        let (mut from, mut to) = (server, client);
        let _: io::Result<u64> = io::copy(&mut from, &mut to);
        let _: io::Result<()> = end();
    });
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn ask(network: &PodNetwork, line: &str) -> (String, UnixStream) {
        let mut client = UnixStream::connect(&network.socket).unwrap();
        client.write_all(format!("{line}\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).unwrap();
        let mut status = String::new();
        let mut reader = BufReader::new(client.try_clone().unwrap());
        reader.read_line(&mut status).unwrap();
        reader.read_line(&mut String::new()).unwrap();
        (status, client)
    }

    #[test]
    fn a_connection_reaches_the_process_of_that_pod_and_port_alone() {
        let folder = tempfile::tempdir().unwrap();
        let network = PodNetwork::start(folder.path()).unwrap();
        let process = TcpListener::bind("127.0.0.1:0").unwrap();
        network.add(address(7), 8443, process.local_addr().unwrap());
        let (status, mut client) = ask(&network, "CONNECT 198.18.0.7:8443 HTTP/1.1");
        assert_eq!(status, "HTTP/1.1 200 OK\r\n");
        let (mut server, _) = process.accept().unwrap();
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut heard = String::new();
        server.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "question");
        server.write_all(b"answer").unwrap();
        drop(server);
        heard.clear();
        client.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "answer");
        for line in ["CONNECT 198.18.0.7:8080 HTTP/1.1", "CONNECT 127.0.0.1:22 HTTP/1.1", "GET / x"]
        {
            assert!(ask(&network, line).0.starts_with("HTTP/1.1 502 "), "{line}");
        }
        network.remove(address(7));
        let (status, _) = ask(&network, "CONNECT 198.18.0.7:8443 HTTP/1.1");
        assert_eq!(status, "HTTP/1.1 502 no process listens for 198.18.0.7:8443\r\n");
    }
}
