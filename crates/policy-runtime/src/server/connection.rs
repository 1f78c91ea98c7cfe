//! One connection, from the handshake to the end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{lazy, poll_fn};
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use metrics::counter;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::util::MapResponse;
use tower::{BoxError, Service};
use tracing::debug;

use super::Limits;
use super::connections::{CloseReason, Connection, ConnectionSlot};
use super::unsent::RegisteredBody;
use crate::caller::Caller;
use crate::endpoints::WAITING_BODIES;
use crate::tls::{CertificateStore, HTTP2, Peer};

/// At a shutdown, how long a request may still be on its way: hyper closes a connection without a
/// request at once when it is asked to end in good order.
const LAST_REQUEST: Duration = Duration::from_millis(200);
/// How long the rest of a request is read, and dropped, after the last answer. Closing a socket
/// that has unread bytes resets it, and the caller would not get the answer (RFC 9112, section
/// 9.6).
const DRAIN: Duration = Duration::from_secs(1);

/// The largest head of a request, in bytes.
const HEAD: u32 = 16 << 10;
/// The largest part of a request or an answer that is buffered for a connection, in bytes.
const BUFFER: usize = 64 << 10;
/// Requests at a time on an HTTP/2 connection.
const STREAMS: u32 = 128;
/// Requests of all HTTP/2 connections that wait for a thread, before no more are read.
const QUEUED: usize = 256;
/// Streams that a caller may reset before the server has accepted them (CVE-2023-44487).
const RESET_STREAMS: usize = 20;
/// Streams that the server may reset because of errors of the caller.
const ERROR_STREAMS: usize = 100;
/// Bytes that may be under way to the server, for a stream and for all of a connection. An API
/// server that calls a webhook by a loopback URL sends all reviews over one connection, so large
/// bodies that wait for memory must leave some of its window to others. A Service it calls over
/// HTTP/1.1 (<https://github.com/kubernetes/kubernetes/issues/75791>).
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 32;
const _: () = assert!(WAITING_BODIES * 2 <= (CONNECTION_WINDOW / STREAM_WINDOW) as usize);
/// How long an HTTP/2 connection may be silent before the caller is pinged.
const PING: Duration = Duration::from_secs(30);
/// The time for the answer to a ping.
const PONG: Duration = Duration::from_secs(10);

/// The label of `dropped_total` for failed handshakes.
const HANDSHAKES: &str = "handshakes";

/// What all connections of a server share.
pub(super) struct Protocols<M> {
    make_service: M,
    certificates: Option<CertificateStore>,
    handshake: Duration,
    http1: http1::Builder,
    http2: http2::Builder<StreamExecutor>,
    queue: StreamExecutor,
}

/// Spawns the requests of HTTP/2 connections, and counts those that no thread has begun yet. Many
/// connections at a time can send more than there is memory for before the first one is answered.
#[derive(Clone, Default)]
struct StreamExecutor {
    queued: Arc<AtomicUsize>,
}

impl<M, S, B> Protocols<M>
where
    M: Fn(Arc<Caller>) -> S + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>,
    S: Clone + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    pub(super) fn new(
        make_service: M,
        certificates: Option<CertificateStore>,
        limits: Limits,
    ) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            // The table of connections closes those that send no request.
            .header_read_timeout(None)
            .max_header_size(HEAD as usize)
            .max_buf_size(BUFFER);
        let queue = StreamExecutor::default();
        let mut http2 = http2::Builder::new(queue.clone());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEAD)
            .max_pending_accept_reset_streams(RESET_STREAMS)
            .max_local_error_reset_streams(ERROR_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(BUFFER);
        if certificates.is_some() {
            counter!("dropped_total", "what" => HANDSHAKES).increment(0);
        }
        Self { make_service, certificates, handshake: limits.handshake, http1, http2, queue }
    }

    /// Serves a connection until it ends.
    pub(super) async fn serve(&self, stream: TcpStream, address: SocketAddr, slot: ConnectionSlot) {
        let _ = stream.set_nodelay(true);
        let connection = &slot.connection;
        let Some(certificates) = &self.certificates else {
            let caller = caller(Peer::unknown(address), connection, false);
            return self.serve_http1(stream, caller, connection).await;
        };
        match self.accept_tls(stream, address, certificates, connection).await {
            Ok((stream, caller)) if stream.get_ref().1.alpn_protocol() == Some(HTTP2) => {
                self.serve_http2(stream, caller, connection).await;
            }
            Ok((stream, caller)) => self.serve_http1(stream, caller, connection).await,
            Err(error) => {
                counter!("dropped_total", "what" => HANDSHAKES).increment(1);
                debug!(%address, %error, "TLS handshake failed");
            }
        }
    }

    async fn accept_tls(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        certificates: &CertificateStore,
        connection: &Connection,
    ) -> io::Result<(TlsStream<TcpStream>, Caller)> {
        let served = certificates.for_handshake();
        let served = served.ok_or_else(|| io::Error::other("there is no certificate yet"))?;
        let accept = TlsAcceptor::from(Arc::clone(&served.config)).accept(stream);
        let stream = tokio::select! {
            biased;
            accepted = timeout(self.handshake, accept) => accepted??,
            () = connection.overdue() => {
                return Err(io::Error::other("the connection is being closed"));
            }
        };
        let peer = served.peer(address, stream.get_ref().1);
        let caller = caller(peer, connection, served.is_bootstrap);
        Ok((stream, caller))
    }

    async fn serve_http1<I>(&self, mut stream: I, caller: Caller, connection: &Arc<Connection>)
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        connection.start_idle_timeout();
        let service = self.service(caller, connection, false);
        let served = self.http1.serve_connection(TokioIo::new(&mut stream), service);
        self.run(served, http1::Connection::graceful_shutdown, connection).await;
        // The server has ended its side of the connection, and now waits for the caller to do so.
        let drain = async { while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {} };
        tokio::select! {
            _ = timeout(DRAIN, drain) => {}
            () = connection.closing() => {}
        }
    }

    async fn serve_http2(
        &self,
        stream: TlsStream<TcpStream>,
        caller: Caller,
        connection: &Arc<Connection>,
    ) {
        let service = self.service(caller, connection, true);
        let served = self.http2.serve_connection(TokioIo::new(stream), service);
        self.run(served, http2::Connection::graceful_shutdown, connection).await;
    }

    /// The service of a connection, whose answers are registered until they are sent.
    fn service(
        &self,
        caller: Caller,
        connection: &Arc<Connection>,
        is_http2: bool,
    ) -> TowerToHyperService<
        impl Service<
            Request<Incoming>,
            Response = Response<RegisteredBody<B>>,
            Error = Infallible,
            Future: Send,
        > + Clone
        + Send
        + use<M, S, B>,
    > {
        let connection = Arc::clone(connection);
        let register = move |mut answer: Response<B>| {
            // Else a caller could send its next request just as the connection is closed, and could not
            // repeat it: the API server goes on without an answer then. HTTP/2 has GOAWAY for that.
            if !is_http2 && connection.close_reason() == Some(CloseReason::Shutdown) {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            answer.map(|body| RegisteredBody::new(body, connection))
        };
        TowerToHyperService::new(MapResponse::new((self.make_service)(Arc::new(caller)), register))
    }

    /// Lets a connection serve requests until it ends or has to be closed.
    async fn run<C>(
        &self,
        served: C,
        end_gracefully: impl FnOnce(Pin<&mut C>),
        connection: &Connection,
    ) where
        C: Future<Output = hyper::Result<()>>,
    {
        let mut served = pin!(served);
        tokio::select! {
            biased;
            ended = self.queue.in_turn(served.as_mut()) => return log(ended),
            () = connection.closing() => {}
        }
        if connection.close_reason() == Some(CloseReason::Shutdown)
            && let Ok(ended) = timeout(LAST_REQUEST, self.queue.in_turn(served.as_mut())).await
        {
            return log(ended);
        }
        end_gracefully(served.as_mut());
        tokio::select! {
            biased;
            ended = self.queue.in_turn(served.as_mut()) => log(ended),
            () = connection.overdue() => {}
        }
    }
}

impl StreamExecutor {
    /// Lets a connection read and write while few requests are queued; else those go first.
    async fn in_turn<C: Future>(&self, mut connection: Pin<&mut C>) -> C::Output {
        let in_turn = poll_fn(|context| {
            if self.queued.load(Ordering::Relaxed) < QUEUED {
                return connection.as_mut().poll(context);
            }
            // To the end of the threads' queue.
            context.waker().wake_by_ref();
            Poll::Pending
        });
        in_turn.await
    }
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.queued.fetch_add(1, Ordering::Relaxed);
        let queued = Arc::clone(&self.queued);
        let begun = lazy(move |_| queued.fetch_sub(1, Ordering::Relaxed));
        tokio::spawn(begun.then(|_| stream));
    }
}

fn caller(peer: Peer, connection: &Connection, is_bootstrap: bool) -> Caller {
    Caller { peer: Arc::new(peer), activity: Arc::clone(&connection.activity), is_bootstrap }
}

fn log(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        // The caller went away or was too slow.
        debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_waits_while_many_requests_are_queued() {
        const BURST: usize = 100;
        let queue = StreamExecutor::default();
        let (mut bursts, answered) = (0, Arc::<AtomicUsize>::default());
        let connection = pin!(poll_fn(|context| {
            if bursts == 50 {
                return Poll::Ready(());
            }
            bursts += 1;
            for _ in 0..BURST {
                let answered = Arc::clone(&answered);
                queue.execute(async move {
                    answered.fetch_add(1, Ordering::Relaxed);
                });
            }
            let queued = queue.queued.load(Ordering::Relaxed);
            assert!(queued < QUEUED + BURST, "{queued}");
            context.waker().wake_by_ref();
            Poll::Pending
        }));
        queue.in_turn(connection).await;
        while queue.queued.load(Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(answered.load(Ordering::Relaxed), 50 * BURST);
    }
}
