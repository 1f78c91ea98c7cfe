//! Enforce mode: what is done with the workloads of a namespace, and whether it did them good.
//!
//! ```text
//! verdict ─ Record::sync ─┐                                ┌─ Injecting, in the status
//! GET ─ plan ─ decision ──┼─ choose: breaker, window, budgets ─ dry run, apply ─ Observing
//! pods ─ HealthTable ─────┴─ Guard ─ Patched, or release ─ Reverted
//! ```

mod budget;
mod counters;
mod decision;
mod executor;
mod guard;
mod notices;
mod pod_health;
mod record;
mod report;
mod rollout;
mod standing;
mod succession;
mod surroundings;

pub(crate) use budget::Budgets;
pub(crate) use counters::describe;
pub(crate) use executor::{Executor, Scope};
pub(crate) use pod_health::{HealthTable, PodHealth};
pub(crate) use record::Record;
pub(crate) use report::Report;
pub(crate) use standing::Standing;
