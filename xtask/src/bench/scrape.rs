//! `cargo xtask bench scrape`.

use super::measure::Goal::AtMost;
use super::measure::Row;

pub(super) const COMMAND: &str = "bench-scrape";
pub(super) const ROWS: [Row; 6] = [
    ("scrape_ms_10k", AtMost(300.0), "a scrape of the watcher, 10 000 namespaces"),
    ("scrape_mib_10k", AtMost(9.5), "its body, as Prometheus asks for it; 10 MB"),
    (
        "scrape_cpu_ratio",
        AtMost(0.25),
        "processor time of a scrape / kube-state-metrics, 1 000 namespaces",
    ),
    ("scrape_cpu_ratio_pods", AtMost(0.25), "the same / kube-state-metrics that exports pods only"),
    ("panel_ms_10k", AtMost(2000.0), "the slowest panel of the dashboard, 10 000 namespaces"),
    ("panel_series_10k", AtMost(200.0), "the most series that a panel gets"),
];
