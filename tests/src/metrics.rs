//! A parser of the Prometheus text format.

use std::collections::BTreeMap;
use std::str::Chars;

use anyhow::{Context as _, Result, ensure};

/// The response of `/metrics`: a value for each series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    series: BTreeMap<Series, f64>,
    types: BTreeMap<String, String>,
}

/// The name of a metric with its labels, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// The name, such as `pod_events_total`; a histogram has several, such as `…_bucket`.
    pub name: String,
    /// Names and values of the labels.
    pub labels: Vec<(String, String)>,
}

impl Metrics {
    /// Parses a response. Like Prometheus, it rejects a malformed line and a series that occurs
    /// twice.
    pub fn parse(text: &str) -> Result<Self> {
        let mut metrics = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix('#') {
                let mut words = comment.split_whitespace();
                if let (Some("TYPE"), Some(name), Some(kind)) =
                    (words.next(), words.next(), words.next())
                {
                    metrics.types.insert(name.to_owned(), kind.to_owned());
                }
                continue;
            }
            let (series, value) = sample(line).with_context(|| format!("malformed: {line}"))?;
            let twice = metrics.series.insert(series, value).is_some();
            ensure!(!twice, "a second value of one series: {line}");
        }
        Ok(metrics)
    }

    /// The value of the series with exactly these labels, in any order.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        let mut labels: Vec<_> = labels.iter().map(owned).collect();
        labels.sort_unstable();
        self.series.get(&Series { name: name.to_owned(), labels }).copied()
    }

    /// Whether a series has this name, with any labels.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.iter().any(|(series, _)| series.name == name)
    }

    /// The declared type of a metric: `counter`, `gauge`, `histogram`.
    #[must_use]
    pub fn kind(&self, name: &str) -> Option<&str> {
        self.types.get(name).map(String::as_str)
    }

    /// All series with their values, by name and labels.
    pub fn iter(&self) -> impl Iterator<Item = (&Series, f64)> {
        self.series.iter().map(|(series, &value)| (series, value))
    }
}

impl Series {
    /// The value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        let label = self.labels.iter().find(|(found, _)| found == name);
        label.map(|(_, value)| value.as_str())
    }
}

/// Parses `name{label="value"} 1`, with or without labels and a timestamp.
fn sample(line: &str) -> Option<(Series, f64)> {
    let end = line.find(['{', ' ']).filter(|end| *end > 0)?;
    let (name, rest) = line.split_at(end);
    let (mut labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => pairs(rest)?,
        None => (Vec::new(), rest),
    };
    labels.sort_unstable();
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((Series { name: name.to_owned(), labels }, value))
}

/// The labels up to the closing brace, and the rest of the line.
fn pairs(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut pairs = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((pairs, rest));
        }
        let (name, after) = rest.split_once("=\"")?;
        let mut letters = after.chars();
        pairs.push((name.trim().to_owned(), quoted(&mut letters)?));
        rest = letters.as_str();
    }
}

/// The text up to the closing quote, without its escapes.
fn quoted(letters: &mut Chars<'_>) -> Option<String> {
    let mut text = String::new();
    loop {
        match letters.next()? {
            '"' => return Some(text),
            '\\' => text.push(match letters.next()? {
                'n' => '\n',
                letter => letter,
            }),
            letter => text.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"
# HELP pod_events_total Events of pods
# TYPE pod_events_total counter
pod_events_total{event="applied"} 12
pod_events_total{event="deleted"} 0

# TYPE cluster_health_score gauge
cluster_health_score 96
namespace_violations{namespace="shop",check="latest-tag"} 2 1700000000000
odd{text="a \"b\" {c}, \\ d\ne=\"f",} NaN
odd_bucket{le="+Inf"} +Inf
"#;

    #[test]
    fn series_are_found_by_their_labels_in_any_order() {
        let metrics = Metrics::parse(PAGE).unwrap();
        assert_eq!(metrics.value("cluster_health_score", &[]), Some(96.0));
        assert_eq!(metrics.value("pod_events_total", &[("event", "applied")]), Some(12.0));
        let labels = [("namespace", "shop"), ("check", "latest-tag")];
        assert_eq!(metrics.value("namespace_violations", &labels), Some(2.0));
        // A part of the labels is another series.
        assert_eq!(metrics.value("namespace_violations", &labels[..1]), None);
        assert_eq!(metrics.value("pod_events_total", &[]), None);
        assert!(metrics.has("pod_events_total") && !metrics.has("pod_events"));
        assert_eq!(metrics.kind("pod_events_total"), Some("counter"));
        assert_eq!(metrics.iter().count(), 6);
    }

    #[test]
    fn quotes_and_odd_numbers_are_read() {
        let metrics = Metrics::parse(PAGE).unwrap();
        let odd = metrics.iter().find(|(series, _)| series.name == "odd").unwrap();
        assert_eq!(odd.0.label("text"), Some("a \"b\" {c}, \\ d\ne=\"f"));
        assert!(odd.1.is_nan());
        assert_eq!(metrics.value("odd_bucket", &[("le", "+Inf")]), Some(f64::INFINITY));
    }

    #[test]
    fn what_a_scrape_would_refuse_is_refused() {
        for page in ["a", "a{b=\"c\" 1", "a{b=c} 1", "{b=\"c\"} 1", "a one", "a 1\na 2", "<html>"] {
            Metrics::parse(page).unwrap_err();
        }
        assert_eq!(Metrics::parse("").unwrap(), Metrics::default());
    }
}
