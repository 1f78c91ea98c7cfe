//! Expressions over series.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::{Add, Div, Mul, Sub};

use policy_metrics::every_service;

use super::selector::gauge;

/// An expression whose result is one value for each set of labels.
#[must_use]
#[derive(Clone, Debug)]
pub struct Expr {
    text: String,
    labels: BTreeSet<&'static str>,
    metrics: BTreeSet<&'static str>,
    is_binary: bool,
}

impl Expr {
    pub(super) fn new(
        text: String,
        labels: BTreeSet<&'static str>,
        metrics: BTreeSet<&'static str>,
    ) -> Self {
        Self { text, labels, metrics, is_binary: false }
    }

    /// The names of the metrics in it.
    #[must_use]
    pub fn metrics(&self) -> &BTreeSet<&'static str> {
        &self.metrics
    }

    /// The labels that a value may have.
    #[must_use]
    pub fn labels(&self) -> &BTreeSet<&'static str> {
        &self.labels
    }

    /// The sum for each set of these labels.
    pub fn sum_by(self, labels: &[&'static str]) -> Self {
        self.aggregated("sum", labels)
    }

    /// The greatest for each set of these labels.
    pub fn max_by(self, labels: &[&'static str]) -> Self {
        self.aggregated("max", labels)
    }

    /// The least for each set of these labels.
    pub fn min_by(self, labels: &[&'static str]) -> Self {
        self.aggregated("min", labels)
    }

    /// The number of values for each set of these labels.
    pub fn count_by(self, labels: &[&'static str]) -> Self {
        self.aggregated("count", labels)
    }

    /// The sum of all.
    pub fn sum(self) -> Self {
        self.sum_by(&[])
    }

    /// The greatest of all.
    pub fn max(self) -> Self {
        self.max_by(&[])
    }

    /// The least of all.
    pub fn min(self) -> Self {
        self.min_by(&[])
    }

    /// The number of values.
    pub fn count(self) -> Self {
        self.count_by(&[])
    }

    /// The value that this part of the values does not exceed.
    pub fn quantile(self, part: f64) -> Self {
        self.with_text(|text| format!("quantile({part}, {text})")).with_labels(&[])
    }

    /// The `k` greatest. In a range query they are chosen at every step anew.
    pub fn topk(self, k: u16) -> Self {
        self.with_text(|text| format!("topk({k}, {text})"))
    }

    /// The greatest for each set of these labels, with all of its labels.
    pub fn greatest_by(self, labels: &[&'static str]) -> Self {
        self.must_have(labels);
        let labels = labels.join(", ");
        self.with_text(|text| format!("topk by ({labels}) (1, {text})"))
    }

    /// From the greatest to the least. A range query ignores it.
    pub fn descending(self) -> Self {
        self.with_text(|text| format!("sort_desc({text})"))
    }

    /// The `k` least, chosen as by [`Self::topk`].
    pub fn bottomk(self, k: u16) -> Self {
        self.with_text(|text| format!("bottomk({k}, {text})"))
    }

    /// How many seconds ago this Unix time was.
    pub fn age(self) -> Self {
        self.in_parentheses().binary(|text| format!("time() - {text}"))
    }

    /// How many seconds it is until this Unix time.
    pub fn until(self) -> Self {
        self.in_parentheses().binary(|text| format!("{text} - time()"))
    }

    /// 1 where there is no value at all.
    pub fn absent(self) -> Self {
        self.with_text(|text| format!("absent({text})")).with_labels(&[])
    }

    /// The least of the last values, at the steps at which rules are evaluated.
    pub fn min_over_time(self, range: &str) -> Self {
        let inner = self.in_parentheses();
        inner.with_text(|text| format!("min_over_time({text}[{range}:])"))
    }

    /// The values that are greater.
    pub fn gt(self, than: f64) -> Self {
        self.compared(">", than)
    }

    /// The values that are greater or equal.
    pub fn ge(self, than: f64) -> Self {
        self.compared(">=", than)
    }

    /// The values that are less.
    pub fn lt(self, than: f64) -> Self {
        self.compared("<", than)
    }

    /// The values that are equal.
    pub fn equals(self, to: f64) -> Self {
        self.compared("==", to)
    }

    /// The values whose counterpart, with the same labels, is less.
    pub fn greater_than(self, other: Self) -> Self {
        self.joined(">", other)
    }

    /// The values that have a counterpart with the same labels.
    pub fn and(self, other: Self) -> Self {
        self.joined("and", other)
    }

    /// The values that have a counterpart with these labels.
    pub fn and_on(self, labels: &[&'static str], other: Self) -> Self {
        self.joined_on("and", labels, other)
    }

    /// The values that have no counterpart with the same labels.
    pub fn unless(self, other: Self) -> Self {
        self.joined("unless", other)
    }

    /// The values, and those of the other expression that have no counterpart here.
    pub fn or(self, other: Self) -> Self {
        self.joined("or", other)
    }

    /// The value, or 0 where there is none. Of an expression without labels.
    pub fn or_zero(self) -> Self {
        assert!(self.labels.is_empty(), "{self} has labels, and 0 has none");
        self.in_parentheses().binary(|text| format!("{text} or vector(0)"))
    }

    /// The values with a label `service`, of our services only. Names such as `leader` or
    /// `process_cpu_seconds_total` are exported by other programs too; the replica that exports our
    /// build information is ours, however it is scraped.
    pub fn of_our_services(self) -> Self {
        const REPLICA: [&str; 3] = super::TARGET_LABELS;
        self.must_have(&REPLICA);
        let info = gauge(&every_service::BUILD_INFO).value();
        let info = info.max_by(&[&REPLICA[..], &["service"]].concat());
        let mut all =
            self.joined_as(&format!("* on ({}) group_left (service)", REPLICA.join(", ")), info);
        all.labels.insert("service");
        all
    }

    pub(super) fn called(self, head: &str, consumed: &[&str]) -> Self {
        let mut called = self.with_text(|text| format!("{head}{text})"));
        called.labels.retain(|label| !consumed.contains(label));
        called
    }

    fn aggregated(self, operator: &str, labels: &[&'static str]) -> Self {
        self.must_have(labels);
        let by = match labels {
            [] => String::new(),
            labels => format!(" by ({})", labels.join(", ")),
        };
        let space = if by.is_empty() { "" } else { " " };
        self.with_text(|text| format!("{operator}{by}{space}({text})")).with_labels(labels)
    }

    fn must_have(&self, labels: &[&str]) {
        for label in labels {
            assert!(self.labels.contains(label), "no label {label} in {self}");
        }
    }

    fn compared(self, operator: &str, with: f64) -> Self {
        self.in_parentheses().binary(|text| format!("{text} {operator} {with}"))
    }

    /// Joins expressions whose values have the same labels.
    fn joined(self, operator: &str, other: Self) -> Self {
        assert_eq!(self.labels, other.labels, "other labels in {self} and in {other}");
        self.joined_as(operator, other)
    }

    fn joined_on(self, operator: &str, labels: &[&'static str], other: Self) -> Self {
        self.must_have(labels);
        other.must_have(labels);
        self.joined_as(&format!("{operator} on ({})", labels.join(", ")), other)
    }

    fn joined_as(self, operator: &str, other: Self) -> Self {
        let (left, right) = (self.in_parentheses(), other.in_parentheses());
        let metrics = left.metrics.union(&right.metrics).copied().collect();
        let text = format!("{} {operator} {}", left.text, right.text);
        Self { text, labels: left.labels, metrics, is_binary: true }
    }

    /// Fit to be an operand, whatever the operator.
    fn in_parentheses(self) -> Self {
        if self.is_binary { self.with_text(|text| format!("({text})")) } else { self }
    }

    fn with_text(self, change: impl FnOnce(&str) -> String) -> Self {
        Self { text: change(&self.text), is_binary: false, ..self }
    }

    fn binary(self, change: impl FnOnce(&str) -> String) -> Self {
        Self { is_binary: true, ..self.with_text(change) }
    }

    fn with_labels(self, labels: &[&'static str]) -> Self {
        Self { labels: labels.iter().copied().collect(), ..self }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Add for Expr {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.joined("+", other)
    }
}

impl Sub for Expr {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.joined("-", other)
    }
}

impl Mul<f64> for Expr {
    type Output = Self;

    fn mul(self, by: f64) -> Self {
        self.compared("*", by)
    }
}

impl Div for Expr {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        self.joined("/", other)
    }
}

impl Div<f64> for Expr {
    type Output = Self;

    fn div(self, by: f64) -> Self {
        self.compared("/", by)
    }
}
