//! The text formats of `/metrics`, and which of them a scraper asks for.

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue};
use policy_metrics::Kind;

/// A text format of metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
    #[default]
    Prometheus,
    /// `OpenMetrics` 1.0 (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
    OpenMetrics,
}

impl Format {
    /// The format that the caller prefers. Where it has no preference, Prometheus' own.
    pub(crate) fn preferred(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let (mut open, mut prometheus) = (0.0, 0.0);
        for range in accepted.flat_map(|value| value.split(',')) {
            let (media, version, quality) = media_range(range);
            let best = match (media.as_str(), version) {
                ("application/openmetrics-text", None | Some("1.0.0")) => &mut open,
                ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => &mut prometheus,
                _ => continue,
            };
            *best = quality.max(*best);
        }
        if open > 0.0 && open >= prometheus { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The content type. Prometheus 3 refuses a scrape whose type it does not know.
    pub(crate) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        })
    }

    /// The name in the HELP and TYPE lines. `OpenMetrics` names a counter without the suffix of its
    /// series. A gauge may end in `_total` as long as no counter has the same name without it.
    pub(super) fn family_name(self, name: &str, kind: Kind) -> &str {
        match (self, kind) {
            (Self::OpenMetrics, Kind::Counter) => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        }
    }

    /// The lines of the recorder, which writes Prometheus' format.
    pub(super) fn of_recorder(self, text: String) -> String {
        if self == Self::Prometheus {
            return text;
        }
        let mut open = String::with_capacity(text.len());
        let mut help = None;
        // OpenMetrics knows no empty lines.
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(described) = line.strip_prefix("# HELP ") {
                // The type, in the line after it, decides about the name.
                help = described.split_once(' ');
                continue;
            }
            if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' '))
            {
                let is_counter = kind == Kind::Counter.as_str();
                let kind_of = if is_counter { Kind::Counter } else { Kind::Gauge };
                let name = self.family_name(name, kind_of);
                if let Some((_, text)) = help.take() {
                    open.extend(["# HELP ", name, " ", text, "\n"]);
                }
                open.extend(["# TYPE ", name, " ", kind, "\n"]);
                continue;
            }
            open.extend([line, "\n"]);
        }
        open
    }

    /// What follows the last line.
    pub(super) fn end(self) -> &'static str {
        match self {
            Self::Prometheus => "",
            Self::OpenMetrics => "# EOF\n",
        }
    }
}

/// Type, version and quality of a media range such as `text/plain;version=0.0.4;q=0.5`
/// (RFC 9110, section 12.5.1).
fn media_range(range: &str) -> (String, Option<&str>, f32) {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default().to_ascii_lowercase();
    let (mut version, mut quality) = (None, 1.0);
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        match name {
            "version" => version = Some(value.trim_matches('"')),
            "q" => quality = value.parse().unwrap_or(0.0),
            _ => {}
        }
    }
    (media, version, quality)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrapers_get_the_format_that_they_prefer() {
        let preferred = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.append(ACCEPT, accept.parse().unwrap());
            Format::preferred(&headers)
        };
        assert_eq!(Format::preferred(&HeaderMap::new()), Format::Prometheus);
        for accept in [
            // Prometheus 3, with its two ways to escape names, and Prometheus 2.
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text;version=1.0.0,\
             application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,\
             */*;q=0.1",
            "Application/OpenMetrics-Text",
        ] {
            assert_eq!(preferred(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "*/*",
            "text/plain; version=0.0.4",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.2, text/plain;q=0.7",
            "application/openmetrics-text;q=often, text/plain;q=0.7",
            "text/html, application/xml;q=0.9",
        ] {
            assert_eq!(preferred(accept), Format::Prometheus, "{accept}");
        }
    }

    #[test]
    fn the_text_of_the_recorder_is_translated() {
        let text = "# HELP seen_total How many.\n# TYPE seen_total counter\nseen_total{a=\"b\"} 2\n\n\
                    # TYPE took histogram\ntook_bucket{le=\"+Inf\"} 1\ntook_sum 0.5\ntook_count 1\n\n";
        assert_eq!(Format::Prometheus.of_recorder(text.to_owned()), text);
        assert_eq!(
            Format::OpenMetrics.of_recorder(text.to_owned()),
            "# HELP seen How many.\n# TYPE seen counter\nseen_total{a=\"b\"} 2\n\
             # TYPE took histogram\ntook_bucket{le=\"+Inf\"} 1\ntook_sum 0.5\ntook_count 1\n"
        );
    }
}
