//! Queries of Prometheus, built so that none can name a metric, a label or a value that no service exports.
//!
//! [`counter`], [`gauge`] and [`histogram`] take a metric of the registry ([`policy_metrics`]) and give
//! a [`Selector`] of its kind: a counter is only read by [`Selector::rate`] and
//! [`Selector::increase`], a gauge never. A metric of somebody else comes from the list in
//! [`foreign`]. An [`Expr`] knows the labels of its result, and refuses to group or to join by others.
//! A misuse panics: queries are written in code and have no input, so whatever prints them, the tests
//! first of all, finds it.
//!
//! Two replicas export the same metric. [`gauge`] reads one that only the leader exports as one series
//! for each object, also in the seconds in which Prometheus has the series of two leaders.

#![expect(clippy::missing_panics_doc, reason = "said above, once for all of them")]

mod expr;
pub mod foreign;
mod selector;

use std::fmt;

pub use expr::Expr;
pub use foreign::Foreign;
pub use selector::{Counter, Gauge, Histogram, Selector, counter, gauge, histogram};

/// What a scrape adds to every series. `cluster` is there where the Prometheus has it as a label of
/// its targets or as an external label; grouping by a label that is not there changes nothing.
pub const TARGET_LABELS: [&str; 3] = ["cluster", "job", "instance"];

/// How far a function looks back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// As in `5m`.
    Fixed(&'static str),
    /// Grafana's: at least four scrapes, and no gap between two points.
    RateInterval,
    /// Grafana's: what the dashboard shows.
    Dashboard,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fixed(duration) => duration,
            Self::RateInterval => "$__rate_interval",
            Self::Dashboard => "$__range",
        })
    }
}

#[cfg(test)]
mod tests;
