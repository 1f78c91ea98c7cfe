//! Writes the text of metrics, for gauges that are written at each scrape.

use std::fmt::{Display, Write as _};

use policy_metrics::Metric;

use super::Format;

/// Metric families as text.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    format: Format,
}

/// A metric to which series are added.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl Exposition {
    /// Follows the text of the recorder.
    pub(super) fn after(recorded: String, format: Format) -> Self {
        Self { text: format.of_recorder(recorded), format }
    }

    pub(super) fn finish(mut self) -> String {
        self.text.push_str(self.format.end());
        self.text
    }

    /// An empty exposition in the same format, to append later.
    #[must_use]
    pub fn part(&self) -> Self {
        Self { text: String::new(), format: self.format }
    }

    /// Appends all families of a part.
    pub fn append(&mut self, part: &Self) {
        self.text.push_str(&part.text);
    }

    /// Starts a metric, which may appear once in an exposition.
    pub fn family(&mut self, metric: &Metric) -> Family<'_> {
        let name = self.format.family_name(metric.name, metric.kind);
        let (kind, help) = (metric.kind.as_str(), metric.help);
        push(&mut self.text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { text: &mut self.text, name: metric.name }
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

    fn written(format: Format) -> String {
        let mut exposition = Exposition::after(String::new(), format);
        let up = Metric::new(Kind::Gauge, "up", "Whether it is up.");
        exposition.family(&up).series(&[], 1);
        let seen = Metric::new(Kind::Counter, "seen_total", "How many.");
        let mut family = exposition.family(&seen);
        family.series(&[("a", "x"), ("b", "quote \" slash \\ line \n end")], 2);
        exposition.finish()
    }

    #[test]
    fn series_are_written_as_prometheus_reads_them() {
        assert_eq!(
            written(Format::Prometheus),
            "# HELP up Whether it is up.\n# TYPE up gauge\nup 1\n\
             # HELP seen_total How many.\n# TYPE seen_total counter\n\
             seen_total{a=\"x\",b=\"quote \\\" slash \\\\ line \\n end\"} 2\n"
        );
    }

    #[test]
    fn openmetrics_names_the_family_and_ends() {
        assert_eq!(
            written(Format::OpenMetrics),
            "# HELP up Whether it is up.\n# TYPE up gauge\nup 1\n\
             # HELP seen How many.\n# TYPE seen counter\n\
             seen_total{a=\"x\",b=\"quote \\\" slash \\\\ line \\n end\"} 2\n# EOF\n"
        );
    }
}
