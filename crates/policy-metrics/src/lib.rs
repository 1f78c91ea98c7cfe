//! The metrics that the services export, each defined once: a service exports it, the reference page
//! lists it, and the queries of the dashboard and of the alerts can name no other.
//!
//! [`every_service`] has those that services have in common; [`watcher`], [`operator`] and
//! [`webhook`] those of one. The crate depends on nothing.

pub mod every_service;
pub mod operator;
pub mod watcher;
pub mod webhook;

use std::fmt::Write as _;

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value that goes up and down.
    Gauge,
    /// A value that only goes up.
    Counter,
    /// Values by their size, in buckets.
    Histogram,
}

impl Kind {
    /// As in the lines of `/metrics`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric. `/metrics` has its help text and its type, and the documentation all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Such as `watch_errors_total`.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What it says, as a sentence.
    pub help: &'static str,
    /// The names of its labels, each with its values where these are a fixed list, else with
    /// nothing.
    pub labels: &'static [(&'static str, &'static str)],
    /// Whether only the leader exports it.
    pub is_of_leader: bool,
}

impl Metric {
    /// A metric of this type, without labels.
    #[must_use]
    pub const fn new(kind: Kind, name: &'static str, help: &'static str) -> Self {
        Self { name, kind, help, labels: &[], is_of_leader: false }
    }

    /// The same with labels.
    #[must_use]
    pub const fn with(self, labels: &'static [(&'static str, &'static str)]) -> Self {
        Self { labels, ..self }
    }

    /// The same, exported only by the leader.
    #[must_use]
    pub const fn of_leader(self) -> Self {
        Self { is_of_leader: true, ..self }
    }
}

/// Metrics as a table in Markdown, by name.
#[must_use]
pub fn metric_table(metrics: &[&Metric]) -> String {
    let mut metrics = metrics.to_vec();
    metrics.sort_by_key(|metric| metric.name);
    let mut table = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for Metric { name, kind, help, labels, is_of_leader } in metrics {
        let kind = kind.as_str();
        let label = |(label, values): &(&str, &str)| match *values {
            "" => format!("`{label}`"),
            values => format!("`{label}`: {values}"),
        };
        let labels = labels.iter().map(label).collect::<Vec<_>>().join("; ");
        let leader = if *is_of_leader { " Only the leader exports it." } else { "" };
        // Writing to a string does not fail.
        let _ = writeln!(table, "| `{name}` | {kind} | {labels} | {help}{leader} |");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_says_what_labels_hold() {
        const UP: Metric = Metric::new(Kind::Gauge, "up", "Whether it is up.").of_leader();
        const SEEN: Metric = Metric::new(Kind::Counter, "seen_total", "How many.")
            .with(&[("kind", ""), ("what", "a, b")]);
        assert_eq!(
            metric_table(&[&UP, &SEEN]),
            "| metric | type | labels | meaning |\n|---|---|---|---|\n\
             | `seen_total` | counter | `kind`; `what`: a, b | How many. |\n\
             | `up` | gauge |  | Whether it is up. Only the leader exports it. |\n"
        );
    }
}
