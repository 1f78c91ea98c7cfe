//! Watching all objects of one kind: a list, then each change, with nothing kept here.
//!
//! The list comes as a stream where the server has that (KEP-3157), else in pages. What was lost
//! comes by another list (410 Gone) or by going on at the last version that was seen. Objects are
//! decoded straight into the type that is wanted and handed on one by one; one that cannot be
//! decoded is counted and harms no other.

mod lines;
mod list;
mod session;
mod status;
mod wire;

use std::time::Duration;

use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::readiness::Hold;
use session::{Ended, Session};
pub use status::{WatchReport, WatchStatus};

/// The delays between tries: never more than one try a second on average.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(15);
/// A session that lived for so long and brought something was a good one: the next may start at
/// once.
const GOOD: Duration = Duration::from_secs(10);

/// What takes in the objects of a watch: one call at a time, in the server's order.
pub trait Sink<T>: Send {
    /// A list begins. What it does not show by the time it is complete is gone.
    fn list_begins(&mut self);

    /// The list is complete.
    fn list_completes(&mut self);

    /// An object as it is now, of a list or a change. The same one may come again.
    fn applied(&mut self, object: T);

    /// An object that is there but cannot be read. What was known of it is to be kept.
    fn undecodable(&mut self, namespace: &str, name: &str);

    /// An object that is gone.
    fn deleted(&mut self, namespace: &str, name: &str);
}

/// What is watched.
#[derive(Clone, Debug)]
pub struct Target {
    /// What logs and metrics call it, such as `Pod`.
    pub kind: &'static str,
    /// What people call many of it, such as `pods`.
    pub plural: &'static str,
    /// The path of its list, such as `/api/v1/pods`.
    pub path: &'static str,
}

/// Watches until it is stopped. `ready` is released by the first complete list.
pub async fn run<T, S>(
    client: Client,
    target: Target,
    mut sink: S,
    status: WatchStatus,
    ready: Hold,
    stop: CancellationToken,
) where
    T: Resource<DynamicType = ()> + DeserializeOwned + Send,
    S: Sink<T>,
{
    let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
    let mut ready = Some(ready);
    let mut session = Session::new(client, target.clone(), status.clone());
    loop {
        let start = Instant::now();
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = session.run(&mut sink, &mut ready) => ended,
        };
        // One that merely took long to fail is no good one.
        let was_good = session.made_progress && start.elapsed() >= GOOD;
        if was_good {
            backoff.reset();
        }
        let delay = match ended {
            Ended::ByServer if was_good => continue,
            Ended::ByServer => backoff.delay(),
            Ended::VersionGone => {
                info!(kind = target.kind, "the server forgot the last version: listing anew");
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
