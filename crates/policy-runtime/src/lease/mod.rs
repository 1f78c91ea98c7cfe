//! Leader election among the replicas of a service, by a Kubernetes Lease.
//!
//! An [`Election`] competes for the Lease; a [`LeaderGate`] says to the rest of the process whether
//! this replica is the leader. Whatever writes to the cluster asks the gate right before each
//! request, and gives the request no more time than [`Leadership::remaining`]: a task that a leader
//! started may still run after another replica took over.
//!
//! ```text
//! timing    the three durations, and what has to hold between them
//! tracker   what is known of the Lease, and what to do next: no requests, no clock
//! election  the requests, with deadlines, and the pauses
//! gate      whether this process is the leader
//! ```
//!
//! Why two replicas never lead at the same time:
//! - A leader counts its time from before it sent the request that acquired or renewed the Lease,
//!   and stops [`Timing::renew_deadline`] later. The gate compares instants, so it closes on time
//!   even where the election's task, or the whole process, is suspended.
//! - A standby waits for [`Timing::duration`], counted from when it saw the Lease change. Clocks of
//!   different nodes are never compared; they only have to run about equally fast. (A clock that
//!   stops while work goes on would break this; the clock of a suspended machine stops together
//!   with its work.)
//! - Each write names the resource version that it is based on, so of two candidates that write at
//!   the same time the API server refuses one.
//!
//! A request that a leader sent just before its time was up cannot be recalled. The margin between
//! deadline and duration is for such requests; writes should be harmless when they are repeated or
//! come late.
//!
//! Deleting the Lease of a leader lets a newly started replica create another one and lead at the
//! same time, for at most the renew deadline.
//!
//! # Permissions
//! In the API group `coordination.k8s.io`, resource `leases`: `get` and `update` by the Lease's
//! name (`resourceNames`), and `create` without one, because RBAC cannot restrict `create` by name.
//! A Lease that exists beforehand, with an empty `spec`, needs no `create`.

mod election;
mod gate;
#[cfg(test)]
mod tests;
mod timing;
mod tracker;

pub use election::{Election, identity};
#[cfg(feature = "testing")]
pub use gate::GateControl;
pub use gate::{LeaderGate, LeaderReport, Leadership};
pub(crate) use timing::LONGEST;
pub use timing::{Timing, TimingError};
