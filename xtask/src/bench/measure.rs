//! Timing and the table of results.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::e2e;

/// The duration of a call.
pub(super) fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed()
}

/// The median.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The median time of one of `count` units of work, in nanoseconds, over so many repeats.
#[expect(clippy::cast_precision_loss, reason = "counts of work are far below 2^52")]
pub(super) fn nanoseconds_each(repeats: usize, count: usize, mut work: impl FnMut()) -> f64 {
    let each = (0..repeats).map(|_| time(&mut work).as_secs_f64() * 1e9 / count as f64);
    median(each.collect())
}

/// The median of a/b, each pair measured one right after the other.
pub(super) fn ratio(repeats: usize, mut a: impl FnMut(), mut b: impl FnMut()) -> f64 {
    let ratios = (0..repeats).map(|_| time(&mut a).as_secs_f64() / time(&mut b).as_secs_f64());
    median(ratios.collect())
}

/// The goal of a figure.
#[derive(Clone, Copy)]
pub(super) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    fn is_reached(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => f.pad(&format!("<= {}", rounded(*most))),
            Self::AtLeast(least) => f.pad(&format!(">= {}", rounded(*least))),
        }
    }
}

/// A figure that the package `e2e` measures: its key, its goal, its description.
pub(super) type Row = (&'static str, Goal, &'static str);

/// Runs a measurement of the package `e2e`, and prints its figures.
pub(super) fn measure_by_e2e(command: &str, rows: &[Row], json: bool) -> Result<()> {
    let results: Value = serde_json::from_str(&e2e::measure(command)?)?;
    let measured = rows.iter().map(|(key, goal, what)| {
        let value = results[key].as_f64().with_context(|| format!("there is no figure {key}"))?;
        Ok(Measured { key, value, goal: *goal, what })
    });
    print(&measured.collect::<Result<Vec<_>>>()?, json)
}

/// A figure with its goal.
pub(super) struct Measured {
    pub(super) key: &'static str,
    pub(super) value: f64,
    pub(super) goal: Goal,
    pub(super) what: &'static str,
}

/// Prints the figures as a table or as one JSON object.
pub(super) fn print(results: &[Measured], json: bool) -> Result<()> {
    if json {
        let object: serde_json::Map<String, serde_json::Value> = results
            .iter()
            .map(|measured| (measured.key.to_owned(), rounded(measured.value).into()))
            .collect();
        println!("{}", serde_json::to_string_pretty(&object)?);
        return Ok(());
    }
    let width = results.iter().map(|measured| measured.key.len()).max().unwrap_or(0).max(22);
    println!("{:<width$} {:>9} {:>9}  {:<5} WHAT", "KEY", "MEASURED", "TO REACH", "");
    for Measured { key, value, goal, what } in results {
        let verdict = if goal.is_reached(*value) { "ok" } else { "MISS" };
        println!("{key:<width$} {:>9} {goal:>9}  {verdict:<5} {what}", rounded(*value));
    }
    Ok(())
}

fn rounded(value: f64) -> f64 {
    let digits = match value.abs() {
        ..0.1 => 1000.0,
        0.1..10.0 => 100.0,
        _ => 10.0,
    };
    (value * digits).round() / digits
}
