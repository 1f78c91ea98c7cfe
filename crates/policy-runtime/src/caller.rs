//! The caller of a connection, and whether the connection is busy: what the server, which closes
//! connections, and the endpoints, which answer requests, know about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::tls::Peer;

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) peer: Arc<Peer>,
    pub(crate) activity: Arc<Activity>,
    /// Whether the service has no certificate yet, and serves this connection with a bootstrap
    /// certificate that nobody can verify.
    pub(crate) is_bootstrap: bool,
}

/// Whether a connection is busy, and since when it has been quiet.
#[derive(Debug)]
pub(crate) struct Activity {
    /// Times below are relative to this one, to fit into an atomic number.
    origin: Instant,
    /// Requests that are being answered; those whose body is still arriving are not counted.
    busy: AtomicUsize,
    /// When the last request was answered, in milliseconds after `origin`.
    quiet_since: AtomicU64,
    had_request: AtomicBool,
    /// Requests other than POST that are being answered.
    getting: AtomicUsize,
    /// Answers that are not sent yet.
    unsent: AtomicUsize,
}

/// While this exists, a request is being answered.
pub(crate) struct AnsweringRequest<'a>(&'a Activity);

/// While this exists, a request waits for the rest of its body, or for its answer to be rendered.
pub(crate) struct Waiting<'a>(&'a Activity);

/// While this exists, a request other than POST is being answered.
pub(crate) struct Getting<'a>(&'a Activity);

impl Activity {
    /// A quiet connection. `origin` is common to all connections of a server, so that their quiet
    /// times can be compared.
    pub(crate) fn new(origin: Instant) -> Self {
        let activity = Self {
            origin,
            busy: AtomicUsize::new(0),
            quiet_since: AtomicU64::new(0),
            had_request: AtomicBool::new(false),
            getting: AtomicUsize::new(0),
            unsent: AtomicUsize::new(0),
        };
        activity.restart_quiet_time();
        activity
    }

    /// Marks the connection as busy while a request is being answered.
    pub(crate) fn answering(&self) -> AnsweringRequest<'_> {
        self.begin();
        AnsweringRequest(self)
    }

    /// Marks a request that is being answered as quiet while it waits for its caller, so that an
    /// upload that stands still does not protect its connection from eviction.
    pub(crate) fn awaiting_body(&self) -> Waiting<'_> {
        self.end();
        Waiting(self)
    }

    /// The same while an answer is being rendered, for which many connections can wait: if they
    /// were busy, none of them could be evicted for a new one.
    pub(crate) fn awaiting_answer(&self) -> Waiting<'_> {
        self.awaiting_body()
    }

    /// Begins to answer a request other than POST, unless the connection has `limit` answers that
    /// are being prepared or are not sent yet.
    pub(crate) fn try_get(&self, limit: usize) -> Option<Getting<'_>> {
        let others = self.getting.fetch_add(1, Ordering::Relaxed);
        let getting = Getting(self);
        (others + self.unsent.load(Ordering::Relaxed) < limit).then_some(getting)
    }

    pub(crate) fn add_unsent(&self) {
        self.unsent.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove_unsent(&self) {
        self.unsent.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    /// Whether the whole head of a request ever arrived.
    pub(crate) fn had_request(&self) -> bool {
        self.had_request.load(Ordering::Relaxed)
    }

    /// When the last request was answered, or the connection began.
    pub(crate) fn quiet_since(&self) -> Instant {
        self.origin + Duration::from_millis(self.quiet_since.load(Ordering::Relaxed))
    }

    pub(crate) fn restart_quiet_time(&self) {
        let now = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.quiet_since.store(now, Ordering::Relaxed);
    }

    fn begin(&self) {
        self.had_request.store(true, Ordering::Relaxed);
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    fn end(&self) {
        self.restart_quiet_time();
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for AnsweringRequest<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.begin();
    }
}

impl Drop for Getting<'_> {
    fn drop(&mut self) {
        self.0.getting.fetch_sub(1, Ordering::Relaxed);
    }
}
