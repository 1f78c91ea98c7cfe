//! Cluster policies: which namespaces they select, and what they find there.
//!
//! ```text
//! watch of namespaces ─ Namespaces ── changed labels ─┐
//! watch of pods ──────────────── changed namespaces ──┴─ Policies: what each policy judges anew
//!                                                                         │ only that
//!                              NamespaceTallies ◄──────── judge, in slices ┘
//! ```

mod judge;
mod listed;
mod namespaces;
mod tallies;

pub(crate) use judge::{ClusterJudge, ClusterState, Interrupted};
#[cfg(test)]
pub(crate) use namespaces::NamespaceSink;
pub(crate) use namespaces::Namespaces;

#[cfg(test)]
mod tests;
