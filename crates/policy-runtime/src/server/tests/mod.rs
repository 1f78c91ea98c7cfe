//! The server over real sockets.

mod bodies;
mod crowd;
mod idle;
mod stop;
mod tls;
mod unread;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::{Limits, Server};
use crate::endpoints::{Answer, Endpoints, PostLimits, PostedBody, text};
use crate::testing::trusting_anybody;
use crate::tls::CertificateStore;
use crate::tls::tests::{Authority, Issued};

/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_secs(20);

/// More than lies in the buffers of a connection, in bytes.
const LARGE: usize = 32 << 20;

/// A server that runs, and what its handlers wait for.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) stop: CancellationToken,
    pub(super) task: JoinHandle<()>,
    pub(super) store: CertificateStore,
    pub(super) authority: Authority,
    /// Each answer of `/slow` takes one.
    pub(super) answers: Arc<Semaphore>,
    /// One for each handler of `/slow` that was begun.
    pub(super) begun: Arc<Semaphore>,
}

/// What a caller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    Plain,
    Http1,
    Http2,
}

/// A connection of a caller.
pub(crate) enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Running {
    pub(super) async fn start(speech: Speech, limits: Limits) -> Self {
        let (authority, store) = (Authority::new(), CertificateStore::new());
        authority.server(1).serve(&store).unwrap();
        Self::with(speech, limits, authority, store).await
    }

    pub(super) async fn with(
        speech: Speech,
        limits: Limits,
        authority: Authority,
        store: CertificateStore,
    ) -> Self {
        let (answers, begun) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let endpoints = endpoints(&answers, &begun);
        let server = Self::serving(endpoints, speech, limits, authority, store).await;
        Self { answers, begun, ..server }
    }

    /// The same with other endpoints.
    pub(super) async fn serving(
        endpoints: Endpoints,
        speech: Speech,
        limits: Limits,
        authority: Authority,
        store: CertificateStore,
    ) -> Self {
        let router = endpoints.router();
        let server = Server {
            make_service: move |caller| router.service(caller),
            certificates: (speech != Speech::Plain).then(|| store.clone()),
            limits,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.serve(listener, stop.clone()));
        let [answers, begun] = [(); 2].map(|()| Arc::new(Semaphore::new(0)));
        Self { address, stop, task, store, authority, answers, begun }
    }

    pub(super) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Shakes hands as somebody who trusts the server's CA, and shows a certificate, if any.
    pub(super) async fn tls(
        &self,
        protocol: &str,
        shown: Option<&Issued>,
    ) -> io::Result<TlsStream<TcpStream>> {
        shake_hands(self.tcp().await, client(&self.authority, protocol, shown)).await
    }

    /// Shakes hands as a kubelet's probe does, which verifies nothing.
    pub(super) async fn tls_unverified(&self) -> io::Result<TlsStream<TcpStream>> {
        shake_hands(self.tcp().await, trusting_anybody().unwrap()).await
    }

    pub(super) async fn connect(&self, speech: Speech) -> Connection {
        connect(self.tcp().await, &self.authority, speech).await
    }

    /// Waits until the handler of `/slow` has been begun once more.
    pub(super) async fn one_begun(&self) {
        timeout(LONG, self.begun.acquire()).await.unwrap().unwrap().forget();
    }

    pub(super) async fn ended(self) {
        timeout(LONG, self.task).await.unwrap().unwrap();
    }
}

/// `/quick`, `/large`, `/slow` that waits for the test, and `/who` that says who calls.
fn endpoints(answers: &Arc<Semaphore>, begun: &Arc<Semaphore>) -> Endpoints {
    let limits =
        PostLimits { body: 1 << 20, beginning: 9, read: LONG, concurrency: 64, deadline: LONG };
    let mut endpoints = Endpoints::default();
    endpoints.probe("/quick", || text(StatusCode::OK, "quick"));
    endpoints.get("/large", || text(StatusCode::OK, &"x".repeat(LARGE)));
    endpoints.post(
        "/who",
        limits,
        |_| {},
        |posted| async move {
            let name = posted.peer.name.clone().unwrap_or_default();
            if_whole(&posted.body, |_| format!("{name} {}", posted.peer.is_verified))
        },
    );
    let (answers, begun) = (Arc::clone(answers), Arc::clone(begun));
    endpoints.post(
        "/slow",
        limits,
        |_| {},
        move |posted| {
            begun.add_permits(1);
            let answers = Arc::clone(&answers);
            async move {
                answers.acquire().await.unwrap().forget();
                if_whole(&posted.body, |body| format!("slow {}", body.len()))
            }
        },
    );
    endpoints
}

/// Answers a body that is not too large.
fn if_whole(body: &PostedBody, answer: impl FnOnce(&[u8]) -> String) -> Answer {
    match body {
        PostedBody::Whole(body) => text(StatusCode::OK, &answer(body)),
        PostedBody::TooLarge { .. } => text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"),
    }
}

/// What a caller has in its hands that trusts this CA.
pub(crate) async fn connect(stream: TcpStream, ca: &Authority, speech: Speech) -> Connection {
    let tls =
        async |stream, protocol| shake_hands(stream, client(ca, protocol, None)).await.unwrap();
    match speech {
        Speech::Plain => http1(stream).await,
        Speech::Http1 => http1(tls(stream, "http/1.1").await).await,
        Speech::Http2 => http2(tls(stream, "h2").await).await,
    }
}

async fn shake_hands(stream: TcpStream, config: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

fn client(authority: &Authority, protocol: &str, shown: Option<&Issued>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match shown {
        Some(shown) => {
            let chain = CertificateDer::from_pem_slice(shown.cert.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![chain], key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.into()];
    config
}

/// Reads until the other end closes; says whether it has, in time.
pub(super) async fn is_closed(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let all = async {
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).await.is_ok_and(|size| size > 0) {}
    };
    timeout(LONG, all).await.is_ok()
}

pub(super) async fn http1(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Connection {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    Connection::Http1(sender)
}

pub(super) async fn http2(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Connection {
    let executor = TokioExecutor::new();
    let (sender, connection) = http2::handshake(executor, TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    Connection::Http2(sender)
}

impl Connection {
    pub(crate) async fn get(&mut self, path: &str) -> hyper::Result<(u16, String)> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    pub(super) async fn post(
        &mut self,
        path: &str,
        body: impl Into<Bytes>,
    ) -> hyper::Result<(u16, String)> {
        self.ask(Method::POST, path, body.into()).await
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> hyper::Result<(u16, String)> {
        let uri = format!("https://localhost{path}");
        let request = Request::builder().method(method).uri(uri).header("host", "localhost");
        let request = request.body(Full::new(body)).unwrap();
        let response = match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8(body.to_vec()).unwrap()))
    }
}
