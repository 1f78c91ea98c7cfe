//! The series of one metric.

use std::collections::BTreeSet;
use std::marker::PhantomData;

use policy_metrics::{Kind, Metric};

use super::expr::Expr;
use super::foreign::UP;
use super::{Foreign, Range, TARGET_LABELS};

/// A value that only goes up, and starts anew with its process.
#[derive(Clone, Debug)]
pub struct Counter;
/// A value that goes up and down.
#[derive(Clone, Debug)]
pub struct Gauge;
/// Values by their size, in buckets.
#[derive(Clone, Debug)]
pub struct Histogram;

/// Series of a metric of this kind.
#[must_use]
#[derive(Clone, Debug)]
pub struct Selector<K> {
    name: &'static str,
    own: Vec<(&'static str, &'static str)>,
    is_of_leader: bool,
    matchers: Vec<String>,
    offset: Option<Range>,
    kind: PhantomData<K>,
}

/// The series of a counter.
pub fn counter(metric: &'static Metric) -> Selector<Counter> {
    Selector::of(metric, Kind::Counter)
}

/// The series of a gauge.
pub fn gauge(metric: &'static Metric) -> Selector<Gauge> {
    Selector::of(metric, Kind::Gauge)
}

/// The series of a histogram.
pub fn histogram(metric: &'static Metric) -> Selector<Histogram> {
    Selector::of(metric, Kind::Histogram)
}

impl Foreign {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The series of a counter.
    pub fn counter(&self) -> Selector<Counter> {
        assert!(self.is_counter, "{} is no counter", self.name);
        self.selector()
    }

    /// The series of a gauge.
    pub fn gauge(&self) -> Selector<Gauge> {
        assert!(!self.is_counter, "{} is no gauge", self.name);
        self.selector()
    }

    fn selector<K>(&self) -> Selector<K> {
        Selector {
            name: self.name,
            own: self.labels.iter().map(|label| (*label, "")).collect(),
            is_of_leader: false,
            matchers: Vec::new(),
            offset: None,
            kind: PhantomData,
        }
    }
}

impl<K> Selector<K> {
    fn of(metric: &'static Metric, kind: Kind) -> Self {
        let Metric { name, kind: is, .. } = metric;
        assert!(*is == kind, "{name} is a {}, not a {}", is.as_str(), kind.as_str());
        Self {
            name,
            own: metric.labels.to_vec(),
            is_of_leader: metric.is_of_leader,
            matchers: Vec::new(),
            offset: None,
            kind: PhantomData,
        }
    }

    /// Those whose label has this value.
    pub fn equal(self, label: &str, value: &str) -> Self {
        self.check_value(label, value);
        self.matcher(label, "=", value)
    }

    /// Those whose label has another value.
    pub fn not_equal(self, label: &str, value: &str) -> Self {
        self.check_value(label, value);
        self.matcher(label, "!=", value)
    }

    /// Those whose label matches a regular expression, which may be a variable of Grafana.
    pub fn matching(self, label: &str, pattern: &str) -> Self {
        self.matcher(label, "=~", pattern)
    }

    /// As they were this long ago.
    pub fn offset(self, ago: &'static str) -> Self {
        self.before(Range::Fixed(ago))
    }

    /// Grafana's query for the values of a label in these series, of which a reader chooses
    /// (<https://grafana.com/docs/grafana/latest/datasources/prometheus/template-variables/>).
    #[must_use]
    pub fn label_values(&self, label: &str) -> String {
        self.must_have(label);
        format!("label_values({}, {label})", self.text("", None))
    }

    fn before(mut self, ago: Range) -> Self {
        self.offset = Some(ago);
        self
    }

    /// Whether the metric itself has this label; what a scrape adds does not count.
    #[must_use]
    pub fn has_label(&self, label: &str) -> bool {
        self.own.iter().any(|(own, _)| *own == label)
    }

    fn check_value(&self, label: &str, value: &str) {
        let values =
            self.own.iter().find(|(own, _)| *own == label).map_or("", |(_, values)| values);
        let is_listed = values.split([',', ' ']).any(|listed| listed == value);
        assert!(!values.contains(',') || is_listed, "{label} of {} is never {value}", self.name);
    }

    fn must_have(&self, label: &str) {
        // On a metric without a label `namespace` that would be the namespace of its service.
        let is_known = self.has_label(label) || TARGET_LABELS.contains(&label);
        assert!(is_known, "{} has no label {label}", self.name);
    }

    fn matcher(mut self, label: &str, operator: &str, value: &str) -> Self {
        self.must_have(label);
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        self.matchers.push(format!("{label}{operator}\"{value}\""));
        self
    }

    fn text(&self, suffix: &str, range: Option<Range>) -> String {
        let Self { name, matchers, .. } = self;
        let matchers = if matchers.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", matchers.join(", "))
        };
        let range = range.map(|range| format!("[{range}]")).unwrap_or_default();
        let offset = self.offset.map(|ago| format!(" offset {ago}")).unwrap_or_default();
        format!("{name}{suffix}{matchers}{range}{offset}")
    }

    fn expr(&self, text: String, more: &[&'static str]) -> Expr {
        let own = self.own.iter().map(|(label, _)| *label);
        let labels = own.chain(TARGET_LABELS).chain(more.iter().copied()).collect();
        Expr::new(text, labels, BTreeSet::from([self.name]))
    }
}

impl Selector<Counter> {
    /// Its growth for each second.
    pub fn rate(&self, range: Range) -> Expr {
        self.expr(format!("rate({})", self.text("", Some(range))), &[])
    }

    /// Its growth, from the first value that was scraped on: for a counter that is exported with 0
    /// before its first increment, as all of ours are.
    pub fn increase(&self, range: Range) -> Expr {
        self.expr(format!("increase({})", self.text("", Some(range))), &[])
    }

    /// Its growth, of a counter that is not exported before its first increment: what its series began
    /// with counts too, where their target was scraped without them at the start of the range.
    pub fn increase_from_none(&self, range: Range) -> Expr {
        let now = self.expr(self.text("", None), &[]);
        let before = self.clone().before(range);
        let before = before.expr(before.text("", None), &[]);
        let scraped = UP.gauge().before(range).value().equals(1.0);
        let begun = now.unless(before).and_on(&TARGET_LABELS, scraped);
        begun.or(self.increase(range))
    }
}

impl Selector<Gauge> {
    /// Its values. Of a metric that only the leader exports, one for each object.
    pub fn value(&self) -> Expr {
        let each = self.expr(self.text("", None), &[]);
        if !self.is_of_leader {
            return each;
        }
        let labels: Vec<_> = self.own.iter().map(|(label, _)| *label).collect();
        each.max_by(&[&["cluster"], &labels[..]].concat())
    }

    /// How often its value changed.
    pub fn changes(&self, range: Range) -> Expr {
        self.expr(format!("changes({})", self.text("", Some(range))), &[])
    }
}

impl Selector<Histogram> {
    /// The rate of values of each bucket, for a heat map; `le` has the upper bounds.
    pub fn buckets(&self, range: Range) -> Expr {
        self.expr(format!("rate({})", self.text("_bucket", Some(range))), &["le"]).sum_by(&["le"])
    }

    /// The value that this part of all values does not exceed, of all replicas together.
    pub fn quantile(&self, part: f64, range: Range) -> Expr {
        assert!((0.0..=1.0).contains(&part), "{part} is not a part of all values");
        self.buckets(range).called(&format!("histogram_quantile({part}, "), &["le"])
    }

    /// The mean of the values, of all replicas together.
    pub fn average(&self, range: Range) -> Expr {
        let rate = |suffix| self.expr(format!("rate({})", self.text(suffix, Some(range))), &[]);
        rate("_sum").sum() / rate("_count").sum()
    }

    /// The rate of values.
    pub fn rate(&self, range: Range) -> Expr {
        self.expr(format!("rate({})", self.text("_count", Some(range))), &[])
    }
}
