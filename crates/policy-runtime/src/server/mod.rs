//! The server, plain or with TLS: connections are bounded and have deadlines, and a shutdown resets
//! no request.

mod connection;
mod connections;
#[cfg(test)]
pub(crate) mod tests;
mod unsent;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{BoxError, Service};
use tracing::warn;

use self::connection::Protocols;
use self::connections::{ConnectionSlot, Connections};
use self::unsent::UnsentLimits;
use crate::caller::Caller;
use crate::log_throttle::LogThrottle;
use crate::tls::CertificateStore;

/// The largest number of connections that the kernel has accepted and the server has not: the
/// backlog with which tokio listens.
const BACKLOG: usize = 1024;
/// The pause after a failed accept, for example without free file descriptors.
const PAUSE: Duration = Duration::from_millis(50);
/// The same where a connection was evicted, which soon frees its descriptor.
const PAUSE_AFTER_EVICTION: Duration = Duration::from_millis(5);
/// How often the server looks for connections that are idle or too old.
const SWEEP: Duration = Duration::from_secs(1);
/// How often failed accepts are logged at most.
const LOG_PERIOD: Duration = Duration::from_secs(10);

/// The limits of connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at a time. One more evicts the one that has been quiet for longest.
    pub(crate) connections: usize,
    /// Evicted connections that are not closed yet, at a time.
    pub(crate) leaving: usize,
    /// The time for the TLS handshake.
    pub(crate) handshake: Duration,
    /// The time for the head of a request, and between two requests, over HTTP/1.1.
    pub(crate) idle: Duration,
    /// The maximum age of a connection, give or take a tenth. It ends with its next answer. So
    /// callers spread over replicas that started later.
    pub(crate) life: Duration,
    /// Answers that are not sent yet.
    pub(crate) unsent: UnsentLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            leaving: 64,
            handshake: Duration::from_secs(5),
            idle: Duration::from_secs(60),
            life: Duration::from_secs(600),
            unsent: UnsentLimits::default(),
        }
    }
}

/// A server that is not listening yet.
#[derive(Debug)]
pub(crate) struct Server<M> {
    /// Makes the service that answers the requests of a connection.
    pub(crate) make_service: M,
    /// The certificate for TLS; without a store, HTTP is plain.
    pub(crate) certificates: Option<CertificateStore>,
    pub(crate) limits: Limits,
}

impl<M, S, B> Server<M>
where
    M: Fn(Arc<Caller>) -> S + Send + Sync + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    /// Serves the connections of a listener until `stop` is cancelled, and then finishes requests
    /// that are under way. Connections that the kernel has accepted by then are served as well.
    pub(crate) async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let connections = Connections::new(self.limits);
        let protocols = Arc::new(Protocols::new(self.make_service, self.certificates, self.limits));
        let tasks = TaskTracker::new();
        let spawn = |stream: TcpStream, address: SocketAddr, slot: ConnectionSlot| {
            let protocols = Arc::clone(&protocols);
            tasks.spawn(async move { protocols.serve(stream, address, slot).await });
        };
        let mut failures: u64 = 0;
        let mut throttle = LogThrottle::new(LOG_PERIOD);
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = sweep.tick() => {
                    connections.sweep();
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    let slot = stop.run_until_cancelled(connections.enter()).await;
                    spawn(stream, address, slot.unwrap_or_else(|| connections.enter_unbounded()));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    failures += 1;
                    if throttle.permits(()) {
                        warn!(%error, failures, "cannot accept connections");
                    }
                    // It may be for want of file descriptors, of which quiet connections have some.
                    sleep(if connections.evict() { PAUSE_AFTER_EVICTION } else { PAUSE }).await;
                }
            }
        }
        connections.shut_down();
        // Closing the listener resets the connections in its backlog. They are accepted without
        // the runtime, which may not have been notified of them yet.
        match listener.into_std() {
            Ok(backlog) => {
                for _ in 0..BACKLOG {
                    let Ok((stream, address)) = backlog.accept() else { break };
                    if stream.set_nonblocking(true).is_ok()
                        && let Ok(stream) = TcpStream::from_std(stream)
                    {
                        spawn(stream, address, connections.enter_unbounded());
                    }
                }
            }
            Err(error) => warn!(%error, "cannot serve the connections in the backlog"),
        }
        tasks.close();
        tasks.wait().await;
    }
}

/// Whether an accept failed because of the peer.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
