//! A caller that asks for more answers than it will ever read harms nobody else, and takes bounded
//! memory.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::{Parts, Service, Testbed};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::PostParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use policy_core::api::DevOpsPolicy;
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{operator, watcher, webhook};

/// What a container of the chart may use, in MiB.
const MEMORY: f64 = 128.0;
/// Connections of the hostile caller at a time, and requests on each: as many as the server takes.
const CONNECTIONS: u32 = 450;
const REQUESTS: u32 = 128;
/// The time between two connections of it: faster, and a debug build has no time for anybody else.
const PACE: Duration = Duration::from_millis(20);
/// Longer than it takes to open all of them, and longer than an unread answer is kept.
const ATTACK: Duration = Duration::from_secs(14);
/// For an answer to anybody else.
const SOON: Duration = Duration::from_secs(5);

/// Runs an attack for a while, and asks as others do meanwhile: each is answered soon, and memory
/// stays within its bounds.
fn withstands(
    service: &Service<'_>,
    attack: impl Future<Output = ()> + Send + 'static,
    mut ask: impl FnMut(),
) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let begin = Instant::now();
    runtime.spawn(attack);
    let mut slowest = Duration::ZERO;
    while begin.elapsed() < ATTACK {
        let asked = Instant::now();
        ask();
        slowest = slowest.max(asked.elapsed());
        assert!(slowest < SOON, "an answer after {slowest:?}\n{}", service.logs().unwrap());
        let (resident, _) = service.memory_mib().unwrap();
        assert!(resident <= MEMORY, "{resident:.0} MiB after {:?}", begin.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    }
    let (_, most) = service.memory_mib().unwrap();
    assert!(most <= MEMORY, "{most:.0} MiB at most");
    e2e::say(&format!("{}: {most:.0} MiB at most, {slowest:?} at most", service.name()));
    runtime.shutdown_background();
}

/// Opens all connections one after the other and holds each for a while, then another one in its
/// place.
async fn flood<S, F>(open: impl Fn(u32) -> F + Clone + Send + 'static)
where
    S: Send + 'static,
    F: Future<Output = std::io::Result<S>> + Send,
{
    let mut tasks = JoinSet::new();
    for number in 0..CONNECTIONS {
        let open = open.clone();
        tasks.spawn(async move {
            sleep(PACE * number).await;
            loop {
                let held = timeout(SOON, open(number)).await;
                sleep(PACE * CONNECTIONS).await;
                drop(held);
            }
        });
    }
    tasks.join_all().await;
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Connects, and lets the kernel take little of an answer.
async fn connect(addr: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    socket.connect(addr).await
}

/// Asks over HTTP/2, and reads nothing. The server may send so many bytes of each answer.
async fn ask_http2(
    addr: SocketAddr,
    tls: Arc<ClientConfig>,
    window: u16,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = connect(addr).await?;
    let mut stream = TlsConnector::from(tls).connect(addr.ip().into(), stream).await?;
    let mut asked = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE.
    let [high, low] = window.to_be_bytes();
    asked.extend(frame(4, 0, 0, &[0, 4, 0, 0, high, low]));
    // `GET https://a/metrics`, by the static table (RFC 7541, appendix A).
    let head = [&[0x82, 0x87, 0x41, 0x01, b'a', 0x04, 0x08][..], b"/metrics"].concat();
    asked.extend((0..REQUESTS).flat_map(|number| frame(1, 0x5, 2 * number + 1, &head)));
    stream.write_all(&asked).await?;
    Ok(stream)
}

/// Asks over HTTP/1.1, and reads nothing.
async fn ask_http1(addr: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = connect(addr).await?;
    let asked = "GET /metrics HTTP/1.1\r\nHost: w\r\n\r\n".repeat(REQUESTS as usize);
    stream.write_all(asked.as_bytes()).await?;
    Ok(stream)
}

fn dropped(service: &Service<'_>, what: &str) -> Option<f64> {
    service.metrics().unwrap().value("dropped_total", &[("what", what)])
}

#[test]
fn unread_answers_of_the_webhook_harm_nobody() {
    let admission = webhook::AdmissionTestbed::new(&Parts::new("unread"));
    let shop = admission.strict();
    let webhook = admission.start("webhook", webhook::program(), &[]);
    let mut tls = (*admission.client()).clone();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let (addr, tls) = (webhook.addr(), Arc::new(tls));
    let windows = [0, 1, u16::MAX];
    let attack = flood(move |number| {
        ask_http2(addr, Arc::clone(&tls), windows[number as usize % windows.len()])
    });
    withstands(&webhook, attack, || {
        assert_eq!(webhook.get("/healthz").unwrap().0, 200);
        webhook.metrics().unwrap();
        let answer = webhook.post("/validate", &webhook::review(&shop, "u", "nginx")).unwrap();
        assert!(!webhook::allows(&answer, "u"), "{answer:?}");
    });
    assert!(dropped(&webhook, "stalled connections") > Some(0.0));
    assert!(dropped(&webhook, "get requests") > Some(0.0));
}

/// Creates namespaces with long names and an object each, whose metrics have more than half a KiB.
async fn crowd<T>(client: &Client, object: &T, count: usize) -> kube::Result<()>
where
    T: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    T: Clone + Debug + Serialize + DeserializeOwned,
{
    let post = PostParams::default();
    let names = (0..count).map(|number| format!("crowd-{number}-{}", "x".repeat(48)));
    let each = stream::iter(names).map(async |name| {
        let namespace = json!({ "metadata": { "name": name } });
        let namespace: Namespace = serde_json::from_value(namespace).unwrap();
        Api::all(client.clone()).create(&post, &namespace).await?;
        Api::namespaced(client.clone(), &name).create(&post, object).await.map(drop)
    });
    each.buffer_unordered(24).try_collect().await
}

/// Creates the crowd, waits for its metrics, and asks for more of them than is read.
fn crowded_service_withstands<T>(
    testbed: &Testbed,
    service: &Service<'_>,
    (object, count): (Value, usize),
    mut ask: impl FnMut(),
) where
    T: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    T: Clone + Debug + Serialize + DeserializeOwned,
{
    let object: T = serde_json::from_value(object).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        crowd(&watcher::storm::client(testbed).await, &object, count).await.unwrap();
    });
    let large = || Ok(service.get("/metrics")?.1.len() > count * 600);
    testbed.wait_for("large metrics", watcher::SURELY, large).unwrap();
    let addr = service.addr();
    withstands(service, flood(move |_| ask_http1(addr)), || {
        assert_eq!(service.get("/healthz").unwrap().0, 200);
        ask();
    });
    assert!(dropped(service, "stalled connections") > Some(0.0));
}

#[test]
fn unread_answers_of_the_watcher_harm_nobody() {
    let (testbed, kubeconfig) = watcher::installed(&Parts::new("unread"));
    let watcher = watcher::start(&testbed, "watcher", &kubeconfig);
    watcher::wait_until_leads(&testbed, &watcher, watcher::SURELY);
    let pod = json!({ "metadata": { "name": "one" },
        "spec": { "containers": [{ "name": "c", "image": "nginx" }] } });
    crowded_service_withstands::<Pod>(&testbed, &watcher, (pod, 400), || {
        assert!(watcher::leads(&watcher), "it lost its Lease: {}", watcher.logs().unwrap());
    });
}

#[test]
fn unread_answers_of_the_operator_harm_nobody() {
    let (testbed, kubeconfig) = operator::installed(&Parts::new("unread"));
    let operator = operator::start(&testbed, "operator", &kubeconfig);
    let leads = || Ok(operator::is_leader(&operator));
    testbed.wait_for("the operator to lead", watcher::SURELY, leads).unwrap();
    let policy = json!({ "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
        "metadata": { "name": "strict" }, "spec": { "forbidLatestTag": true } });
    crowded_service_withstands::<DevOpsPolicy>(&testbed, &operator, (policy, 120), || {
        assert!(operator::is_leader(&operator), "{}", operator.logs().unwrap());
    });
}
