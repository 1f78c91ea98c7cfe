//! docs/reference/metrics.md, compared with what services export.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that finds something else has failed"
)]

use std::collections::BTreeMap;

use e2e::{Metrics, Series};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/metrics.md");
/// The series of a histogram.
const OF_HISTOGRAM: [&str; 3] = ["_bucket", "_sum", "_count"];

/// A row of the page.
struct Row {
    kind: String,
    /// By name, with their values where the page lists them all: `allowed, denied`.
    labels: BTreeMap<String, Option<String>>,
}

/// Asserts that the page has every series of a service that leads, with its type, labels and values,
/// and that the service exports all that the page promises of it.
pub(crate) fn assert_documented(service: &str, metrics: &Metrics) {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let own = section(&page, service);
    let known: BTreeMap<_, _> = section(&page, "All services").into_iter().chain(own).collect();
    for (series, _) in metrics.iter() {
        let name = family(metrics, series);
        let Some(row) = known.get(name) else { panic!("{PAGE} lacks {name}") };
        assert_eq!(metrics.kind(name), Some(row.kind.as_str()), "{name}");
        let labels = series.labels.iter().filter(|(label, _)| label != "le");
        for (label, value) in labels.clone() {
            let Some(values) = row.labels.get(label) else { panic!("{name} has a label {label}") };
            let is_listed = values.as_ref().is_none_or(|values| values.contains(value.as_str()));
            assert!(is_listed, "{name}: {label} is {value}, which the page does not list");
        }
        assert_eq!(labels.count(), row.labels.len(), "the labels of {name}");
    }
    let exported = |name: &&String| metrics.kind(name).is_some();
    let missing: Vec<_> =
        section(&page, service).into_keys().filter(|name| !exported(&name)).collect();
    assert!(missing.is_empty(), "in {PAGE}, and not exported by {service}: {missing:?}");
    assert_cumulative(metrics);
}

/// Each bucket of a histogram has the smaller ones in it, and the last one is the count: `promtool
/// check metrics` does not look (findings/promtool-histogram-buckets.sh).
fn assert_cumulative(metrics: &Metrics) {
    let mut histograms: BTreeMap<_, Vec<(f64, f64)>> = BTreeMap::new();
    for (series, value) in metrics.iter() {
        let (Some(name), Some(bound)) = (series.name.strip_suffix("_bucket"), series.label("le"))
        else {
            continue;
        };
        let labels = series.labels.iter().filter(|(label, _)| label != "le");
        let labels: Vec<_> = labels.map(|(name, value)| (&**name, &**value)).collect();
        histograms.entry((name, labels)).or_default().push((bound.parse().unwrap(), value));
    }
    for ((name, labels), mut buckets) in histograms {
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        assert!(buckets.is_sorted_by_key(|(_, count)| *count), "{name} {labels:?}: {buckets:?}");
        let count = metrics.value(&format!("{name}_count"), &labels);
        assert_eq!(buckets.last().copied(), count.map(|count| (f64::INFINITY, count)), "{name}");
    }
}

/// The metric that a series belongs to.
fn family<'a>(metrics: &Metrics, series: &'a Series) -> &'a str {
    let name = series.name.as_str();
    let of_histogram = OF_HISTOGRAM.iter().find_map(|end| name.strip_suffix(end));
    of_histogram.filter(|name| metrics.kind(name) == Some("histogram")).unwrap_or(name)
}

/// The rows below a heading, by the name of the metric.
fn section(page: &str, heading: &str) -> BTreeMap<String, Row> {
    let lines = page.lines().skip_while(|line| *line != format!("## {heading}")).skip(1);
    let lines = lines.take_while(|line| !line.starts_with("## "));
    let rows = lines.filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.trim_end_matches('`').to_owned();
        let kind = cells.next()?.to_owned();
        let labels = cells.next()?.split("; ").filter_map(|label| {
            let (name, values) = label.strip_prefix('`')?.split_once('`')?;
            let list = values.strip_prefix(": ").filter(|values| values.contains(", "));
            Some((name.to_owned(), list.map(str::to_owned)))
        });
        Some((name, Row { kind, labels: labels.collect() }))
    });
    rows.collect()
}
