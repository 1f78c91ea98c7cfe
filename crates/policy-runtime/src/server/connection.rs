//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use metrics::counter;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::Limits;
use super::table::{Caller, Entry, Place, Word};
use crate::endpoints::Routes;
use crate::tls::{CertificateStore, HTTP2, Peer};

/// For a request that is on its way when the end comes: a connection on which nothing was asked
/// yet would be closed at once.
const LINGER: Duration = Duration::from_millis(200);
/// For the answer that a connection is in the middle of when its life ends.
const LAST_ANSWER: Duration = Duration::from_secs(30);
/// The same when the server stops: who holds half a question open shall not hold up the stop.
const LAST_ANSWER_AT_STOP: Duration = Duration::from_millis(600);
/// The same when somebody else needs the room.
const LAST_ANSWER_FOR_ROOM: Duration = Duration::from_millis(100);

/// The largest head of a request, in bytes.
const HEAD: u32 = 16 << 10;
/// What a connection has in its hands of a request or an answer, in bytes.
const BUFFER: usize = 64 << 10;
/// Requests at a time on an HTTP/2 connection.
const STREAMS: u32 = 128;
/// Requests that a caller may take back before they are looked at, as it would to have work done
/// for nothing (CVE-2023-44487).
const TAKEN_BACK: usize = 20;
/// Streams that a caller may break by its own errors.
const BROKEN: usize = 100;
/// Bytes that may be under way to us, for each request and in all.
const WINDOW: u32 = 256 << 10;
const WINDOWS: u32 = 1 << 20;
/// A connection without a word for so long is asked whether anybody is there.
const PING: Duration = Duration::from_secs(30);
/// For the answer to that.
const PONG: Duration = Duration::from_secs(10);

/// What handshakes that failed are counted as.
const HANDSHAKES: &str = "handshakes";

/// What all connections have in common.
pub(super) struct Setting {
    routes: Routes,
    certificates: Option<CertificateStore>,
    limits: Limits,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Setting {
    pub(super) fn new(
        routes: Routes,
        certificates: Option<CertificateStore>,
        limits: Limits,
    ) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            // The table looks after those that ask nothing.
            .header_read_timeout(None)
            .max_header_size(HEAD as usize)
            .max_buf_size(BUFFER);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEAD)
            .max_pending_accept_reset_streams(TAKEN_BACK)
            .max_local_error_reset_streams(BROKEN)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOWS)
            .max_send_buf_size(BUFFER);
        if certificates.is_some() {
            counter!("dropped_total", "what" => HANDSHAKES).increment(0);
        }
        Self { routes, certificates, limits, http1, http2 }
    }

    /// Answers a connection for as long as it lasts.
    pub(super) async fn answer(&self, stream: TcpStream, address: SocketAddr, place: Place) {
        let _ = stream.set_nodelay(true);
        let entry = &place.entry;
        let Some(certificates) = &self.certificates else {
            return self.speak_http1(stream, Peer::unknown(address), entry).await;
        };
        match self.shake_hands(stream, address, certificates, entry).await {
            Ok((stream, peer)) if stream.get_ref().1.alpn_protocol() == Some(HTTP2) => {
                self.speak_http2(stream, peer, entry).await;
            }
            Ok((stream, peer)) => self.speak_http1(stream, peer, entry).await,
            Err(error) => {
                counter!("dropped_total", "what" => HANDSHAKES).increment(1);
                debug!(%address, %error, "no handshake");
            }
        }
    }

    async fn shake_hands(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        certificates: &CertificateStore,
        entry: &Entry,
    ) -> io::Result<(TlsStream<TcpStream>, Peer)> {
        let served = certificates.served();
        let served = served.ok_or_else(|| io::Error::other("there is no certificate yet"))?;
        let accept = TlsAcceptor::from(Arc::clone(&served.config)).accept(stream);
        let mut accept = pin!(timeout(self.limits.handshake, accept));
        let accepted = tokio::select! {
            biased;
            accepted = accept.as_mut() => accepted,
            word = entry.told() => match word {
                Word::MakeRoom => return Err(io::Error::other("others need the room")),
                Word::Old | Word::Idle | Word::Stop => {
                    entry.tell_again();
                    timeout(LAST_ANSWER_AT_STOP, accept).await.and_then(|accepted| accepted)
                }
            },
        };
        let stream = accepted.map_err(|_| io::ErrorKind::TimedOut)??;
        let peer = served.peer(address, stream.get_ref().1);
        Ok((stream, peer))
    }

    async fn speak_http1<I>(&self, stream: I, peer: Peer, entry: &Arc<Entry>)
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
    {
        entry.expect_requests();
        let caller = self.caller(peer, entry);
        let service = service_fn(move |request| answer(Arc::clone(&caller), request));
        let connection = self.http1.serve_connection(TokioIo::new(stream), service);
        live(connection, entry).await;
    }

    async fn speak_http2(&self, stream: TlsStream<TcpStream>, peer: Peer, entry: &Arc<Entry>) {
        let caller = self.caller(peer, entry);
        let service = service_fn(move |request| answer(Arc::clone(&caller), request));
        let connection = self.http2.serve_connection(TokioIo::new(stream), service);
        live(connection, entry).await;
    }

    fn caller(&self, peer: Peer, entry: &Arc<Entry>) -> Arc<Caller> {
        let (routes, entry) = (self.routes.clone(), Arc::clone(entry));
        Arc::new(Caller { routes, peer: Arc::new(peer), entry })
    }
}

async fn answer(
    caller: Arc<Caller>,
    request: Request<Incoming>,
) -> Result<crate::endpoints::Answer, Infallible> {
    let _answering = caller.answering();
    Ok(caller.routes.answer(Box::new(request), &caller).await)
}

/// Lets a connection go on until it ends, or has to.
async fn live<C>(connection: C, entry: &Entry)
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let mut connection = pin!(connection);
    let word = tokio::select! {
        biased;
        ended = connection.as_mut() => return tell(ended),
        word = entry.told() => word,
    };
    // Waits for what is on its way, and then for what is under way.
    let linger = if word == Word::Stop { LINGER } else { Duration::ZERO };
    let mut patience = patience_after(word, entry);
    if let Ok(ended) = timeout(linger, connection.as_mut()).await {
        return tell(ended);
    }
    connection.as_mut().graceful_shutdown();
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return tell(ended),
            word = entry.told() => patience = patience.min(patience_after(word, entry)),
            // What is being answered has a deadline of its own.
            () = sleep(patience) => if !entry.is_answering() { return },
        }
    }
}

/// For the answer that a connection is in the middle of.
fn patience_after(word: Word, entry: &Entry) -> Duration {
    match word {
        // Between two requests it ends at once. Else an answer is being read, however slowly.
        Word::Idle if entry.has_asked() => Duration::MAX,
        Word::Old => LAST_ANSWER,
        Word::Stop => LAST_ANSWER_AT_STOP,
        Word::Idle | Word::MakeRoom => LAST_ANSWER_FOR_ROOM,
    }
}

fn tell(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        // The peer went away or was too slow.
        debug!(%error, "a connection ended early");
    }
}
