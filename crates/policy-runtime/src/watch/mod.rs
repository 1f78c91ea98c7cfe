//! Watches all objects of one kind: an initial list, then each change. Nothing is stored here.
//!
//! The initial list is a stream (KEP-3157, on from Kubernetes 1.34). After a disconnect the watch
//! resumes at the last version that it saw; where the server has dropped that version (410 Gone),
//! it lists again. Each object is decoded straight into the wanted type and handed on; an object
//! that cannot be decoded is counted and affects no other.
//!
//! kube-runtime's `watcher` is not used: decoding each object twice in its `DeserializeGuard`
//! takes 341 to 356 microseconds for a pod of 10 KB, against 24 to 30 here. What it takes care of
//! is listed in `PRECAUTIONS.md` beside this file; read that again at each upgrade of kube.

mod lines;
mod list_watch;
mod status;
mod wire;

use std::time::Duration;

use kube::{Client, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::readiness::Hold;
use list_watch::{Ended, ListWatch};
pub use status::{WatchReport, WatchStatus};

/// The delays between requests: at most one request a second on average.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(20);
/// Whether an optional kind is served is asked again after that time, and up to half of it more.
const NOT_SERVED: Duration = Duration::from_secs(10);
/// A request that made progress and lasted for so long resets the backoff.
const GOOD: Duration = Duration::from_secs(10);

/// Receives the objects of a watch: one call at a time, in the server's order.
pub trait Sink<T>: Send {
    /// A list begins. An object that it does not hold once it is complete is gone.
    fn list_begins(&mut self);

    /// The list is complete.
    fn list_completes(&mut self);

    /// An object as it is now, of a list or a change. The same one may come again.
    fn applied(&mut self, object: T);

    /// The same, for a sink that reads more of some objects than `T` has.
    fn applied_from(&mut self, object: T, event: RawEvent<'_>) {
        let _ = event;
        self.applied(object);
    }

    /// An object that exists and cannot be decoded. Keep its last known state.
    fn undecodable(&mut self, namespace: &str, name: &str);

    /// An object that is gone.
    fn deleted(&mut self, namespace: &str, name: &str);
}

/// An event as the server wrote it.
#[derive(Clone, Copy)]
pub struct RawEvent<'a>(&'a [u8]);

impl<'a> RawEvent<'a> {
    /// The event in its JSON.
    #[must_use]
    pub const fn new(json: &'a [u8]) -> Self {
        Self(json)
    }

    /// Decodes its object once more, into another type.
    ///
    /// # Errors
    /// The object is no `U`.
    pub fn object<U: Deserialize<'a>>(self) -> serde_json::Result<U> {
        #[derive(Deserialize)]
        struct Event<U> {
            object: U,
        }
        serde_json::from_slice::<Event<U>>(self.0).map(|event| event.object)
    }
}

/// The kind that is watched.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name in logs and metrics, such as `Pod`.
    pub kind: &'static str,
    /// Its plural in messages, such as `pods`.
    pub plural: &'static str,
    /// The path of its list, such as `/api/v1/pods`.
    pub path: &'static str,
    /// Whether a cluster may lack the kind. There are no objects of it then, until the API server
    /// serves it.
    pub is_optional: bool,
}

/// Watches until it is stopped. The first complete list releases `ready`, where anybody waits for it.
pub async fn run<T, S>(
    client: Client,
    target: Target,
    mut sink: S,
    status: WatchStatus,
    mut ready: Option<Hold>,
    stop: CancellationToken,
) where
    T: Resource<DynamicType = ()> + DeserializeOwned + Send,
    S: Sink<T>,
{
    let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
    let mut request = ListWatch::new(client, target.clone(), status.clone());
    loop {
        let start = Instant::now();
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            () = status.asked_to_list_again() => {
                info!(kind = target.kind, "listing again, as asked");
                request.list_again();
                continue;
            }
            ended = request.run(&mut sink, &mut ready) => ended,
        };
        // A request that merely took long to fail resets nothing.
        let was_good = request.made_progress && start.elapsed() >= GOOD;
        if was_good {
            backoff.reset();
        }
        let delay = match ended {
            Ended::ByServer if was_good => continue,
            Ended::ByServer => backoff.delay(),
            Ended::NotServed => NOT_SERVED + NOT_SERVED.mul_f64(fastrand::f64() / 2.0),
            Ended::VersionGone => {
                info!(
                    kind = target.kind,
                    "the server has dropped the last resource version: listing again"
                );
                backoff.delay()
            }
            Ended::Failed(reason) => {
                let delay = backoff.delay();
                warn!(kind = target.kind, ?delay, "cannot watch {}: {reason}", target.path);
                status.failed(reason);
                delay
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(delay) => {}
        }
    }
}

#[cfg(test)]
mod tests;
