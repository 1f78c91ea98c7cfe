//! One leader among the replicas of a service, by a Kubernetes Lease.
//!
//! An [`Election`] keeps a candidate in the race, a [`Gate`] tells the rest of the process whether
//! it leads. Who writes to the cluster asks the gate right before each request, and gives the
//! request no more time than [`Lead::remaining`]: a task that merely was started by a leader may
//! be running long after somebody else took over.
//!
//! ```text
//! timing    the three durations, and what has to hold between them
//! tracker   what is known of the Lease, and what to do next: no requests, no clock
//! election  does it: requests with deadlines, and sleep
//! gate      the answer for everybody else
//! failure   why a request failed, in a sentence; each only now and then
//! ```
//!
//! What makes it safe:
//! - A leader counts its time from before it sent the request that made or kept it leader, and
//!   stops [`Timing::renew_deadline`] later. The gate compares instants, so it closes on time even
//!   where the election's task, or the whole process, stands still.
//! - Others wait for [`Timing::duration`], counted from when they saw the Lease change. No
//!   time of day is ever compared: clocks of different nodes may differ as they like, as long as
//!   they run about equally fast. (A clock that stands still while work goes on is the one thing
//!   that would break this; a suspended machine's does, but so does its work.)
//! - Each write names the version of the Lease that it is based on, so of two candidates that
//!   write at the same time the API server refuses one.
//!
//! What it cannot do: stop a request that a leader sent just before its time was up. The margin
//! between deadline and duration is for these. Writes should be harmless when they are
//! repeated, or come late.
//!
//! Deleting a Lease under a leader invites a newly started replica to make another and lead beside
//! it, for at most the renew deadline.
//!
//! # Rights
//! In the API group `coordination.k8s.io`, resource `leases`: `get` and `update` by the Lease's
//! name (`resourceNames`), and `create` without one, because there is no name yet to compare when
//! something is created. A Lease made beforehand, with an empty `spec`, needs no `create`.

mod election;
mod failure;
mod gate;
#[cfg(test)]
mod tests;
mod timing;
mod tracker;

pub use election::{Election, identity};
#[cfg(feature = "testing")]
pub use gate::Lever;
pub use gate::{Gate, Lead, LeaderReport};
pub use timing::{Timing, TimingError};
