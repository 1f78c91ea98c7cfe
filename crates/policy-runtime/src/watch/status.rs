//! The state of a watch, for metrics and `/debug` endpoints.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Counter, Gauge, counter, gauge};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;
use tracing::warn;

use crate::log_throttle::LogThrottle;
use policy_metrics::every_service::{
    DROPPED, WATCH_ERRORS, WATCH_LAST_EVENT, WATCH_RESTARTS, WATCH_UNDECODABLE,
};

/// An undecodable object is logged at most so often; all are counted.
const LOG_PERIOD: Duration = Duration::from_secs(10);

/// The state of one watch, shared by the watch and whatever shows it.
#[derive(Clone)]
pub struct WatchStatus(Arc<Inner>);

struct Inner {
    kind: &'static str,
    errors: Counter,
    restarts: Counter,
    undecodable: Counter,
    /// Log lines left out.
    dropped: Counter,
    last_event: Gauge,
    state: Mutex<State>,
    throttle: Mutex<LogThrottle>,
    /// Notified when a list is complete.
    listed: Notify,
    /// Notified when everything is to be listed again.
    again: Notify,
}

#[derive(Default)]
struct State {
    lists: u64,
    errors: u64,
    undecodable: u64,
    last_error: Option<String>,
    received: Option<SystemTime>,
}

/// What `/debug` endpoints show of a watch.
#[derive(Serialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WatchReport {
    /// What is watched.
    pub kind: &'static str,
    /// Whether an initial list was ever complete.
    pub is_listed: bool,
    /// Complete lists after the first one.
    pub restarts: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Objects that could not be decoded.
    pub undecodable: u64,
    /// The last failure, until the server sends something again.
    pub last_error: Option<String>,
    /// Seconds since the server last sent an object or a bookmark.
    pub last_event_age_seconds: Option<u64>,
}

impl WatchStatus {
    /// The state of a watch before its first request.
    #[must_use]
    pub fn new(kind: &'static str) -> Self {
        let metrics = [WATCH_ERRORS, WATCH_RESTARTS, WATCH_UNDECODABLE, WATCH_LAST_EVENT, DROPPED];
        metrics.iter().for_each(crate::metrics::describe);
        let inner = Inner {
            kind,
            errors: counter!(WATCH_ERRORS.name, "kind" => kind),
            restarts: counter!(WATCH_RESTARTS.name, "kind" => kind),
            undecodable: counter!(WATCH_UNDECODABLE.name, "kind" => kind),
            dropped: counter!(DROPPED.name, "what" => "log lines"),
            last_event: gauge!(WATCH_LAST_EVENT.name, "kind" => kind),
            state: Mutex::default(),
            throttle: Mutex::new(LogThrottle::new(LOG_PERIOD)),
            listed: Notify::new(),
            again: Notify::new(),
        };
        // Series exist from the start: `rate()` misses an increase from nothing to 1.
        for counter in [&inner.errors, &inner.restarts, &inner.undecodable, &inner.dropped] {
            counter.increment(0);
        }
        Self(Arc::new(inner))
    }

    /// Whether an initial list was ever complete.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.update(|state| state.lists > 0)
    }

    /// Waits until an initial list is complete.
    pub async fn listed(&self) {
        loop {
            let notified = self.0.listed.notified();
            if self.is_listed() {
                return;
            }
            notified.await;
        }
    }

    /// Asks for another list, as after an event that was lost. The sink keeps what it has until that
    /// list is complete. Asked for while one is being read, that one begins again.
    pub fn list_again(&self) {
        self.0.again.notify_one();
    }

    /// Waits until another list is asked for.
    pub(super) async fn asked_to_list_again(&self) {
        self.0.again.notified().await;
    }

    /// The state as `/debug` endpoints show it.
    #[must_use]
    pub fn report(&self) -> WatchReport {
        self.update(|state| WatchReport {
            kind: self.0.kind,
            is_listed: state.lists > 0,
            restarts: state.lists.saturating_sub(1),
            errors: state.errors,
            undecodable: state.undecodable,
            last_error: state.last_error.clone(),
            last_event_age_seconds: state
                .received
                .map(|received| received.elapsed().map_or(0, |age| age.as_secs())),
        })
    }

    pub(super) fn list_completed(&self) {
        let is_again = self.update(|state| {
            state.lists += 1;
            state.lists > 1
        });
        if is_again {
            self.0.restarts.increment(1);
        }
        self.0.listed.notify_waiters();
        self.received();
    }

    /// The server sent something. Whether the watch had failed before.
    pub(super) fn received(&self) -> bool {
        let now = SystemTime::now();
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.0.last_event.set(since_epoch.as_secs_f64());
        self.update(|state| {
            state.received = Some(now);
            state.last_error.take().is_some()
        })
    }

    pub(super) fn failed(&self, reason: String) {
        self.0.errors.increment(1);
        self.update(|state| {
            state.errors += 1;
            state.last_error = Some(reason);
        });
    }

    pub(super) fn undecodable(&self, object: &str, error: &str) {
        self.0.undecodable.increment(1);
        self.update(|state| state.undecodable += 1);
        if self.0.throttle.lock().permits(()) {
            let kind = self.0.kind;
            warn!(kind, object, error, "skipping an object that cannot be decoded");
        } else {
            self.0.dropped.increment(1);
        }
    }

    fn update<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.state.lock())
    }
}
