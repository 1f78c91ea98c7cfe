//! The controller: takes policies from the queue and reconciles them, some at a time.

use std::sync::Arc;

use futures::future;
use policy_runtime::lease::LeaderGate;
use policy_runtime::watch::WatchStatus;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::reconcile::Reconciler;

/// The most policies that are reconciled at the same time.
const CONCURRENCY: usize = 8;

/// Reconciles policies until it is stopped; reconciles that run then are completed. Starts when all
/// kinds have been listed once: what is not known yet must not count as missing.
pub(crate) async fn run(
    reconciler: Reconciler,
    gate: LeaderGate,
    watches: [WatchStatus; 7],
    stop: CancellationToken,
) {
    let listed = future::join_all(watches.iter().map(WatchStatus::listed));
    if stop.run_until_cancelled(listed).await.is_none() {
        return;
    }
    let reconciler = Arc::new(reconciler);
    let policies = reconciler.policies.clone();
    let mut leadership = gate.changes();
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(finished) = running.join_next() => completed(finished),
            () = becomes_leader(&mut leadership) => policies.all_due(),
            key = policies.queue.next(), if running.len() < CONCURRENCY => {
                let reconciler = Arc::clone(&reconciler);
                running.spawn(async move {
                    let outcome = reconciler.reconcile(&key).await;
                    reconciler.policies.queue.finish(&key, outcome);
                });
            }
        }
    }
    while let Some(finished) = running.join_next().await {
        completed(finished);
    }
}

/// A reconcile that panicked ends the service, as any task that panics.
fn completed(finished: Result<(), JoinError>) {
    if let Err(error) = finished
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// Waits until this replica becomes the leader. `changes` has the term of the leadership.
async fn becomes_leader(changes: &mut watch::Receiver<Option<u32>>) {
    while changes.changed().await.is_ok() {
        if changes.borrow_and_update().is_some() {
            return;
        }
    }
    // The election has ended, and the service is about to.
    future::pending::<()>().await;
}
