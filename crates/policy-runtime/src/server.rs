//! The HTTP server: bounded connections, deadlines, and an end that resets nobody.

use std::convert::Infallible;
use std::error::Error;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::{debug, warn};

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 256;
/// As many as the kernel's queue holds.
const QUEUE: usize = 1024;
/// For the head of a request, and for the idle time between two of them.
const HEAD: Duration = Duration::from_secs(10);
/// The longest life of a connection, after which it ends at its next answer: who reads an answer
/// too slowly shall not hold it for ever.
const LIFE: Duration = Duration::from_secs(600);
/// For the answer that a connection is in the middle of when its life ends.
const LAST_ANSWER: Duration = Duration::from_secs(30);
/// The same when the server stops: who holds half a question open shall not hold up the stop.
const LAST_ANSWER_AT_STOP: Duration = Duration::from_millis(600);
/// For a request that is on its way when the end comes: a connection on which nothing was asked
/// yet would be closed at once.
const LINGER: Duration = Duration::from_millis(200);
/// After an accept that failed, such as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers the connections of a listener until it is stopped, and then those requests that are
/// under way. Connections that the kernel had accepted by then are answered as well.
pub async fn serve<S, B>(listener: TcpListener, service: S, stop: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    let start = |stream: TcpStream, permit: Option<OwnedSemaphorePermit>| {
        let answered = answer(stream, service.clone(), stop.clone());
        connections.spawn(async move {
            answered.await;
            drop(permit);
        });
    };
    let accept_all = async {
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => start(stream, Some(permit)),
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accept_all).await;
    // Those that wait in the kernel's queue would be reset with the listener. Asked directly: the
    // runtime may not have heard of them yet.
    match listener.into_std() {
        Ok(queue) => {
            for _ in 0..QUEUE {
                let Ok((stream, _)) = queue.accept() else { break };
                if stream.set_nonblocking(true).is_ok()
                    && let Ok(stream) = TcpStream::from_std(stream)
                {
                    start(stream, None);
                }
            }
        }
        Err(error) => warn!(%error, "cannot answer those that wait for a connection"),
    }
    connections.close();
    connections.wait().await;
}

async fn answer<S, B>(stream: TcpStream, service: S, stop: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => finish(connection.as_mut(), LINGER, LAST_ANSWER_AT_STOP).await,
        () = tokio::time::sleep(LIFE) => {
            finish(connection.as_mut(), Duration::ZERO, LAST_ANSWER).await
        }
    };
    if let Err(error) = ended {
        // The peer went away or was too slow.
        debug!(%error, "a connection ended early");
    }
}

/// Ends a connection: waits for what is on its way, and then for what is under way.
async fn finish<S, B>(
    mut connection: Pin<&mut http1::Connection<TokioIo<TcpStream>, TowerToHyperService<S>>>,
    linger: Duration,
    last_answer: Duration,
) -> hyper::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if let Ok(ended) = timeout(linger, connection.as_mut()).await {
        return ended;
    }
    connection.as_mut().graceful_shutdown();
    timeout(last_answer, connection).await.unwrap_or(Ok(()))
}
