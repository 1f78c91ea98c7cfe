//! Writes Prometheus' text format, for gauges that are written at each scrape.

use std::fmt::{Display, Write as _};

use policy_metrics::Metric;

/// Metric families in Prometheus' text format.
#[derive(Debug, Default)]
pub struct Exposition(String);

/// A metric to which series are added.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl Exposition {
    pub(super) fn after(text: String) -> Self {
        Self(text)
    }

    pub(super) fn finish(self) -> String {
        self.0
    }

    /// Appends all families of another exposition.
    pub fn append(&mut self, other: &Self) {
        self.0.push_str(&other.0);
    }

    /// Starts a metric, which may appear once in an exposition.
    pub fn family(&mut self, metric: &Metric) -> Family<'_> {
        let Metric { name, kind, help, .. } = metric;
        let kind = kind.as_str();
        push(&mut self.0, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { text: &mut self.0, name: metric.name }
    }
}

impl Family<'_> {
    /// Adds a series with these labels.
    pub fn series(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.name);
        for (position, (name, value)) in labels.iter().enumerate() {
            self.text.push(if position == 0 { '{' } else { ',' });
            push(self.text, format_args!("{name}=\""));
            escape(self.text, value);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        push(self.text, format_args!(" {value}\n"));
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(arguments);
}

fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy_metrics::Kind;

    #[test]
    fn series_are_written_as_prometheus_reads_them() {
        let mut exposition = Exposition::default();
        let up = Metric::new(Kind::Gauge, "up", "Whether it is up.");
        exposition.family(&up).series(&[], 1);
        let seen = Metric::new(Kind::Counter, "seen_total", "How many.");
        let mut family = exposition.family(&seen);
        family.series(&[("a", "x"), ("b", "quote \" slash \\ line \n end")], 2);
        assert_eq!(
            exposition.finish(),
            "# HELP up Whether it is up.\n# TYPE up gauge\nup 1\n\
             # HELP seen_total How many.\n# TYPE seen_total counter\n\
             seen_total{a=\"x\",b=\"quote \\\" slash \\\\ line \\n end\"} 2\n"
        );
    }
}
