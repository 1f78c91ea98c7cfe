//! Callers that ask and do not read the answers.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::Response;
use hyper::body::Incoming;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep};

use super::*;
use crate::endpoints::{TEXT, respond};
use crate::server::unsent::UnsentLimits;

/// What a body of `/counted` has, in bytes.
const SIZE: usize = 64 << 10;

/// Bytes that count themselves for as long as they are in memory.
struct Counted(Arc<AtomicUsize>, Vec<u8>);

impl Counted {
    fn new(held: &Arc<AtomicUsize>) -> Self {
        held.fetch_add(SIZE, Ordering::SeqCst);
        Self(Arc::clone(held), vec![b'a'; SIZE])
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.1
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(SIZE, Ordering::SeqCst);
    }
}

/// A server with `/counted`, `/shared` and `/healthz`, and the bytes of `/counted` that it holds.
async fn start(speech: Speech, unsent: UnsentLimits) -> (Running, Arc<AtomicUsize>) {
    let (authority, store) = (Authority::new(), CertificateStore::new());
    authority.server(1).serve(&store).unwrap();
    let held = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&held);
    let mut endpoints = Endpoints::default();
    let body = move || Bytes::from_owner(Counted::new(&counted));
    endpoints.probe("/counted", move || respond(StatusCode::OK, TEXT, body()));
    endpoints.get("/shared", || text(StatusCode::OK, &"a".repeat(SIZE)));
    endpoints.probe("/healthz", || text(StatusCode::OK, "ok"));
    let limits =
        PostLimits { body: 1 << 20, beginning: 9, read: LONG, concurrency: 1024, deadline: LONG };
    endpoints.post(
        "/reads",
        limits,
        |_| {},
        |_| async move { respond(StatusCode::OK, TEXT, vec![b'a'; 2048]) },
    );
    let limits = Limits { unsent, ..Limits::default() };
    (Running::serving(endpoints, speech, limits, authority, store).await, held)
}

/// A caller over HTTP/2 that takes no data, or some.
struct Unread {
    sender: http2::SendRequest<Full<Bytes>>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Unread {
    /// The caller of a server that may send so many bytes of each answer.
    async fn connect(server: &Running, window: u32) -> Self {
        let stream = server.tls("h2", None).await.unwrap();
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        Self { sender, connection: tokio::spawn(connection) }
    }

    async fn get(&mut self, path: &str) -> hyper::Result<Response<Incoming>> {
        let request = Request::get(format!("https://localhost{path}"));
        self.sender.ready().await?;
        self.sender.send_request(request.body(Full::default()).unwrap()).await
    }

    /// So many answers, of which only the heads come.
    async fn gets(&mut self, path: &str, count: usize) -> Vec<Response<Incoming>> {
        let mut answers = Vec::new();
        for _ in 0..count {
            // The connection may be closed by now.
            answers.extend(self.get(path).await);
        }
        answers
    }
}

/// Asks over HTTP/1.1 and reads nothing.
async fn unread(server: &Running, path: &str, times: usize) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    // Of what is not read, the kernel takes some.
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    stream.write_all(request.repeat(times).as_bytes()).await.unwrap();
    stream
}

async fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let waits = async {
        while !is_true() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(LONG, waits).await.is_ok(), "{what}");
}

async fn is_healthy(server: &Running, speech: Speech) {
    let begin = Instant::now();
    let mut connection = server.connect(speech).await;
    assert_eq!(connection.get("/healthz").await.unwrap(), (200, "ok\n".to_owned()));
    let (status, shared) = connection.get("/shared").await.unwrap();
    assert_eq!((status, shared.len()), (200, SIZE + 1));
    assert!(begin.elapsed() < Duration::from_secs(2), "{speech:?}: {:?}", begin.elapsed());
}

fn limits() -> UnsentLimits {
    UnsentLimits { answers: 64, bytes: 16 * SIZE, age: LONG }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_answers_over_http2_take_bounded_memory() {
    let (server, held) = start(Speech::Http2, limits()).await;
    let (mut callers, mut answers) = (Vec::new(), Vec::new());
    for number in 0..40 {
        // With one byte, h2 has the data of an answer whose body is gone.
        let mut caller = Unread::connect(&server, number % 2).await;
        answers.push(caller.gets("/counted", 8).await);
        callers.push(caller);
        // The one that is being closed, and the one that has just asked.
        let held = held.load(Ordering::SeqCst);
        assert!(held <= 2 * limits().bytes, "{held} bytes");
    }
    is_healthy(&server, Speech::Http2).await;
    until("the oldest are closed", || held.load(Ordering::SeqCst) <= limits().bytes).await;
    let closed = |caller: &&Unread| caller.connection.is_finished();
    until("callers are closed", || callers.iter().filter(closed).count() >= 38).await;
    assert!(!callers[39].connection.is_finished(), "the last one is not the oldest");
    drop((callers, answers));
    until("all is freed", || held.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_answers_over_http1_take_bounded_memory() {
    let (server, held) = start(Speech::Plain, limits()).await;
    let mut callers = Vec::new();
    for _ in 0..100 {
        callers.push(unread(&server, "/counted", 128).await);
    }
    is_healthy(&server, Speech::Plain).await;
    until("the oldest are closed", || held.load(Ordering::SeqCst) <= limits().bytes).await;
    assert!(held.load(Ordering::SeqCst) > 0, "the kernel took all of it");
    assert!(is_closed(&mut callers[0]).await);
    drop(callers);
    until("all is freed", || held.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_connection_whose_answers_stand_still_is_closed() {
    let age = Duration::from_millis(200);
    for speech in [Speech::Plain, Speech::Http2] {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = recorder.handle();
        let _recorder = metrics::set_default_local_recorder(&recorder);
        let (server, held) = start(speech, UnsentLimits { age, ..UnsentLimits::default() }).await;
        let mut reads = server.connect(speech).await;
        let begin = Instant::now();
        let (mut http1, mut http2) = (None, None);
        if speech == Speech::Plain {
            http1 = Some(unread(&server, "/counted", 128).await);
        } else {
            let mut caller = Unread::connect(&server, 0).await;
            http2 = Some((caller.get("/counted").await.unwrap(), caller));
        }
        let closed = "dropped_total{what=\"stalled connections\"} 1\n";
        until("it is closed", || metrics.render().contains(closed)).await;
        assert!(begin.elapsed() >= age, "{speech:?}: {:?}", begin.elapsed());
        assert!(begin.elapsed() < Duration::from_secs(5), "{speech:?}: {:?}", begin.elapsed());
        until("its memory is free", || held.load(Ordering::SeqCst) == 0).await;
        assert_eq!(reads.get("/healthz").await.unwrap().0, 200, "{speech:?}");
        drop((http1, http2));
    }
}

#[tokio::test]
async fn a_connection_has_few_answers_but_of_post() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _recorder = metrics::set_default_local_recorder(&recorder);
    let (server, _) = start(Speech::Http2, UnsentLimits::default()).await;
    let mut caller = Unread::connect(&server, 0).await;
    let mut answers = caller.gets("/shared", 12).await;
    let status: Vec<u16> = answers.iter().map(|answer| answer.status().as_u16()).collect();
    assert_eq!(status, [200, 200, 200, 200, 200, 200, 200, 200, 503, 503, 503, 503]);
    // Without a body, which would have to wait for the window.
    let refused = answers.pop().unwrap().into_body().collect().await.unwrap();
    assert_eq!(refused.to_bytes(), Bytes::new());
    let counted = "dropped_total{what=\"get requests\"} 4";
    assert!(metrics.render().contains(counted), "{}", metrics.render());
    is_healthy(&server, Speech::Http2).await;
    // A caller that gives up its streams may go on.
    drop(answers);
    let mut next = caller.get("/healthz").await.unwrap().status();
    while next == StatusCode::SERVICE_UNAVAILABLE {
        sleep(Duration::from_millis(5)).await;
        next = caller.get("/healthz").await.unwrap().status();
    }
    assert_eq!(next, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bursts_of_callers_that_read_are_answered() {
    let (server, _) = start(Speech::Http2, UnsentLimits::default()).await;
    let bursts = (0..7).map(async |_| {
        let stream = server.tls("h2", None).await.unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..5 {
            let burst = (0..128).map(|_| {
                let request = Request::post("https://localhost/reads");
                let body = Full::<Bytes>::default();
                sender.clone().send_request(request.body(body).unwrap())
            });
            for answer in futures::future::join_all(burst).await {
                let body = answer.unwrap().into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body.len(), 2048);
            }
        }
    });
    futures::future::join_all(bursts).await;
}
