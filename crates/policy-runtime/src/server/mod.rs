//! The server, plain or with TLS: bounded connections, deadlines, and an end that resets nobody.

mod connection;
mod table;
#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use self::connection::Setting;
pub(crate) use self::table::Caller;
use self::table::{Place, Table};
use crate::endpoints::Routes;
use crate::tls::CertificateStore;

/// As many as the kernel's queue holds.
const QUEUE: usize = 1024;
/// After an accept that failed, such as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);
/// The same where a connection was told to leave.
const MOMENT: Duration = Duration::from_millis(5);
/// So often the table is looked through for connections whose time is over.
const SWEEP: Duration = Duration::from_secs(1);
/// At most so often that is told.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// How many connections there may be, and how long what takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at a time. One more takes the room of the one that is quiet for the longest.
    pub(crate) connections: usize,
    /// Of those that had to make room, how many may be there still.
    pub(crate) leaving: usize,
    /// For the handshake.
    pub(crate) handshake: Duration,
    /// For the head of a request, and for the idle time between two of them over HTTP/1.1.
    pub(crate) head: Duration,
    /// The longest life of a connection, give or take a tenth, after which it ends at its next
    /// answer: who reads an answer too slowly shall not hold it for ever, and callers spread over
    /// replicas that came later.
    pub(crate) life: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            leaving: 64,
            handshake: Duration::from_secs(5),
            head: Duration::from_secs(60),
            life: Duration::from_secs(600),
        }
    }
}

/// What is served, and how.
#[derive(Debug)]
pub(crate) struct Server {
    /// What is answered.
    pub(crate) routes: Routes,
    /// The certificate for TLS; without, HTTP is plain.
    pub(crate) certificates: Option<CertificateStore>,
    /// Bounds.
    pub(crate) limits: Limits,
}

impl Server {
    /// Answers the connections of a listener until it is stopped, and then those requests that are
    /// under way. Connections that the kernel had accepted by then are answered as well.
    pub(crate) async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let table = Table::new(self.limits);
        let setting = Arc::new(Setting::new(self.routes, self.certificates, self.limits));
        let connections = TaskTracker::new();
        let start = |stream: TcpStream, address: SocketAddr, place: Place| {
            let setting = Arc::clone(&setting);
            connections.spawn(async move { setting.answer(stream, address, place).await });
        };
        let mut trouble = Trouble::default();
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = sweep.tick() => {
                    table.sweep();
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    let place = stop.run_until_cancelled(table.enter()).await;
                    start(stream, address, place.unwrap_or_else(|| table.enter_anyway()));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    trouble.tell(&error);
                    // It may be file descriptors, of which quiet connections have some.
                    sleep(if table.evict() { MOMENT } else { PAUSE }).await;
                }
            }
        }
        table.stop();
        // Those that wait in the kernel's queue would be reset with the listener. Asked directly:
        // the runtime may not have heard of them yet.
        match listener.into_std() {
            Ok(queue) => {
                for _ in 0..QUEUE {
                    let Ok((stream, address)) = queue.accept() else { break };
                    if stream.set_nonblocking(true).is_ok()
                        && let Ok(stream) = TcpStream::from_std(stream)
                    {
                        start(stream, address, table.enter_anyway());
                    }
                }
            }
            Err(error) => warn!(%error, "cannot answer those that wait for a connection"),
        }
        connections.close();
        connections.wait().await;
    }
}

/// Whether it was the peer that went away.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Accepts that failed. Told of now and then, since they come in thousands.
#[derive(Debug, Default)]
struct Trouble {
    told: Option<Instant>,
    untold: u64,
}

impl Trouble {
    fn tell(&mut self, error: &io::Error) {
        if self.told.is_some_and(|told| told.elapsed() < TOLD_EVERY) {
            self.untold += 1;
            return;
        }
        warn!(%error, before = self.untold, "cannot accept connections");
        *self = Self { told: Some(Instant::now()), untold: 0 };
    }
}
