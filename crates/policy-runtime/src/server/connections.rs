//! The open connections, and which of them is closed when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::{Counter, counter};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Limits;
use super::unsent::UnsentAnswers;
use crate::backoff::jittered;
use crate::caller::Activity;

/// How long to wait for room where every connection is busy, before looking again.
const RETRY: Duration = Duration::from_millis(10);
/// How often a connection that is being closed checks whether its time is over.
const CHECK: Duration = Duration::from_millis(20);

/// How long a connection may still take for the answer that it is sending, by the reason why it is
/// closed. What is being answered has a deadline of its own, and is always waited for.
mod patience {
    use std::time::Duration;

    pub(super) const MAX_AGE: Duration = Duration::from_secs(30);
    /// A caller that never sends the rest of its request must not delay the shutdown.
    pub(super) const SHUTDOWN: Duration = Duration::from_millis(600);
    pub(super) const EVICTED: Duration = Duration::from_millis(100);
}

/// All open connections. A new one that finds the table full evicts the one that has been quiet
/// for longest. So connections that are idle, or that never finish a handshake, a head or a body,
/// do not keep other callers out, however many there are: with a semaphore alone they would, and
/// the API server would let everything in unjudged.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Limits,
    origin: Instant,
    table: Mutex<Table>,
    closed: Notify,
    evicted: Counter,
    unsent: Arc<UnsentAnswers>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    by_id: BTreeMap<u64, Arc<Connection>>,
    /// How many of them are evicted but not closed yet.
    leaving: usize,
    is_shutting_down: bool,
}

/// What the table knows about a connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) activity: Arc<Activity>,
    /// Where its answers are registered until they are sent.
    pub(super) unsent: Arc<UnsentAnswers>,
    expires: Instant,
    /// Whether a connection that is quiet for long is idle. Over HTTP/2 pings show whether the
    /// caller is still there.
    has_idle_timeout: AtomicBool,
    /// Why and since when it is being closed.
    reason: Mutex<Option<(CloseReason, Instant)>>,
    /// Whether it was evicted, also where it is closed for another reason by now.
    is_evicted: AtomicBool,
    close: CancellationToken,
}

/// Why the server closes a connection. Where there are several reasons the last of them in this
/// order counts, which leaves the least time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CloseReason {
    /// No request for longer than the limit.
    Idle,
    /// It is as old as a connection may get.
    MaxAge,
    /// The server shuts down.
    Shutdown,
    /// A new connection needs its slot.
    Evicted,
    /// Its caller does not read the answers.
    Stalled,
}

/// The slot of a connection in the table. Dropping it frees the slot.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    connections: Arc<Connections>,
    id: u64,
    pub(super) connection: Arc<Connection>,
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            origin: Instant::now(),
            table: Mutex::default(),
            closed: Notify::new(),
            evicted: counter!("dropped_total", "what" => "connections"),
            unsent: Arc::new(UnsentAnswers::new(limits.unsent)),
        })
    }

    /// A slot for a new connection. Waits only where all others are busy.
    pub(super) async fn enter(self: &Arc<Self>) -> ConnectionSlot {
        loop {
            if let Some(slot) = self.try_enter() {
                return slot;
            }
            let _ = timeout(RETRY, self.closed.notified()).await;
        }
    }

    /// A slot for a new connection, even if the table is full.
    pub(super) fn enter_unbounded(self: &Arc<Self>) -> ConnectionSlot {
        self.insert(&mut self.table.lock())
    }

    fn try_enter(self: &Arc<Self>) -> Option<ConnectionSlot> {
        let table = &mut *self.table.lock();
        let is_full = table.by_id.len() - table.leaving >= self.limits.connections;
        let has_slot = !is_full || self.evict_longest_quiet(table);
        has_slot.then(|| self.insert(table))
    }

    fn insert(self: &Arc<Self>, table: &mut Table) -> ConnectionSlot {
        table.next += 1;
        let connection = Arc::new(Connection {
            activity: Arc::new(Activity::new(self.origin)),
            unsent: Arc::clone(&self.unsent),
            // Jittered: callers that connected at the same time must not reconnect together.
            expires: Instant::now() + jittered(self.limits.life),
            has_idle_timeout: AtomicBool::new(false),
            reason: Mutex::default(),
            is_evicted: AtomicBool::new(false),
            close: CancellationToken::new(),
        });
        if table.is_shutting_down {
            connection.close(CloseReason::Shutdown);
        }
        table.by_id.insert(table.next, Arc::clone(&connection));
        ConnectionSlot { connections: Arc::clone(self), id: table.next, connection }
    }

    /// Evicts a connection, to get its file descriptor back. Returns whether one was quiet.
    pub(super) fn evict(&self) -> bool {
        self.evict_longest_quiet(&mut self.table.lock())
    }

    fn evict_longest_quiet(&self, table: &mut Table) -> bool {
        // An evicted connection may take a moment to close; this bounds how many of them exist.
        if table.leaving >= self.limits.leaving {
            return false;
        }
        let quiet = table.by_id.values().filter(|one| !one.activity.is_busy() && !one.is_evicted());
        let Some(longest) = quiet.min_by_key(|one| one.activity.quiet_since()) else {
            return false;
        };
        longest.close(CloseReason::Evicted);
        longest.is_evicted.store(true, Ordering::Relaxed);
        table.leaving += 1;
        self.evicted.increment(1);
        true
    }

    /// Closes all connections, and those that come from now on.
    pub(super) fn shut_down(&self) {
        let table = &mut *self.table.lock();
        table.is_shutting_down = true;
        for connection in table.by_id.values() {
            connection.close(CloseReason::Shutdown);
        }
    }

    /// Closes the connections that are too old, idle for too long, or whose answers have not been
    /// sent for too long. Called about once a second: a timer for each connection would be reset at
    /// every request.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.unsent.sweep(now);
        for connection in self.table.lock().by_id.values() {
            if connection.expires <= now {
                connection.close(CloseReason::MaxAge);
            } else if connection.is_idle(now, self.limits.idle) {
                connection.close(CloseReason::Idle);
            }
        }
    }
}

impl Connection {
    /// From now on a connection without a request is idle. Before, its handshake has a timeout.
    pub(super) fn start_idle_timeout(&self) {
        self.activity.restart_quiet_time();
        self.has_idle_timeout.store(true, Ordering::Relaxed);
    }

    fn is_idle(&self, now: Instant, limit: Duration) -> bool {
        self.has_idle_timeout.load(Ordering::Relaxed)
            && !self.activity.is_busy()
            && now.duration_since(self.activity.quiet_since()) >= limit
    }

    /// Closes the connection; returns whether this reason is new and counts.
    pub(super) fn close(&self, reason: CloseReason) -> bool {
        let current = &mut *self.reason.lock();
        let counts = current.is_none_or(|(current, _)| current < reason);
        if counts {
            *current = Some((reason, Instant::now()));
            self.close.cancel();
        }
        counts
    }

    fn is_evicted(&self) -> bool {
        self.is_evicted.load(Ordering::Relaxed)
    }

    pub(super) fn close_reason(&self) -> Option<CloseReason> {
        self.reason.lock().map(|(reason, _)| reason)
    }

    /// Waits until the connection is to be closed. It should then end in good order by itself.
    pub(super) async fn closing(&self) {
        self.close.cancelled().await;
    }

    /// Waits until a connection that is to be closed has no more time to end by itself.
    pub(super) async fn overdue(&self) {
        self.closing().await;
        while !self.is_overdue() {
            sleep(CHECK).await;
        }
    }

    fn is_overdue(&self) -> bool {
        let Some((reason, since)) = *self.reason.lock() else { return false };
        let patience = match (reason, self.activity.had_request()) {
            // Also where a request is being answered: what it holds is needed for others.
            (CloseReason::Stalled, _) => return true,
            // Its caller is still reading an answer; the limit for unsent answers ends that.
            (CloseReason::Idle, true) => return false,
            (CloseReason::Idle | CloseReason::Evicted, false) => Duration::ZERO,
            (CloseReason::MaxAge, _) => patience::MAX_AGE,
            (CloseReason::Shutdown, _) => patience::SHUTDOWN,
            (CloseReason::Evicted, true) => patience::EVICTED,
        };
        let since = since.max(self.activity.quiet_since());
        !self.activity.is_busy() && since.elapsed() >= patience
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let table = &mut *self.connections.table.lock();
        table.by_id.remove(&self.id);
        table.leaving -= usize::from(self.connection.is_evicted());
        self.connections.closed.notify_one();
    }
}
