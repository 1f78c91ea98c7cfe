//! The queries of the dashboard, by a real Prometheus that scrapes 10 000 namespaces.

use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::{PanelQuery, Prometheus, Service, Testbed, Viewed, say};
use policy_manifests::dashboard;
use serde_json::json;

/// What is scraped before the first query, and how often.
const HISTORY: Duration = Duration::from_secs(100);
const EVERY: Duration = Duration::from_secs(5);
const SURELY: Duration = Duration::from_secs(180);
/// What a reader looks at as the dashboard opens, with the usual interval of scrapes.
const SHOWN: Duration = Duration::from_secs(6 * 3600);
const SCRAPED: Duration = Duration::from_secs(15);

/// The most that a panel takes.
#[derive(Default)]
pub(super) struct Slowest {
    pub(super) milliseconds: f64,
    pub(super) series: usize,
}

pub(super) fn measure(testbed: &Testbed, services: &[&Service<'_>]) -> Result<Slowest> {
    let prometheus = scraping(testbed, services)?;
    let dashboard = serde_json::to_value(dashboard::dashboard())?;
    let viewed = Viewed::new(&dashboard).over(SHOWN, SCRAPED);
    let queries = viewed.queries()?;
    let mut slowest = Slowest::default();
    // The queries of a panel follow each other.
    for panel in queries.chunk_by(|a, b| a.panel == b.panel) {
        let (start, mut series) = (Instant::now(), 0);
        for query in panel {
            series += found(&prometheus, query)?;
        }
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        let title = panel.first().map_or("", |query| &query.panel);
        say(&format!("{milliseconds:>7.1} ms {series:>5} series  {title}"));
        slowest.milliseconds = slowest.milliseconds.max(milliseconds);
        slowest.series = slowest.series.max(series);
    }
    for list in viewed.choices()? {
        let start = Instant::now();
        let values = prometheus.label_values(&list.selector, &list.label)?.len();
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        say(&format!("{milliseconds:>7.1} ms {values:>5} values  to choose a {} from", list.name));
    }
    Ok(slowest)
}

fn scraping<'a>(testbed: &'a Testbed, services: &[&Service<'_>]) -> Result<Prometheus<'a>> {
    let jobs = services.iter().map(|service| {
        json!({ "job_name": service.name(), "static_configs": [{
            "targets": [service.addr().to_string()],
            "labels": { "service": service.name() },
        }] })
    });
    let every = format!("{}s", EVERY.as_secs());
    let prometheus = testbed.start_prometheus_with(
        "prometheus",
        &json!({
            "global": { "scrape_interval": every, "scrape_timeout": every },
            "scrape_configs": jobs.collect::<Vec<_>>(),
        }),
    )?;
    let scrapes = HISTORY.as_secs() / EVERY.as_secs();
    let enough = format!("min(count_over_time(up[10m])) >= {scrapes}");
    testbed.wait_for("a history", SURELY, || Ok(prometheus.value(&enough)?.is_some()))?;
    let series = prometheus.value("sum(scrape_samples_scraped)")?.unwrap_or_default();
    say(&format!("Prometheus scrapes {series} series"));
    Ok(prometheus)
}

/// The number of series that a query returns.
fn found(prometheus: &Prometheus<'_>, query: &PanelQuery) -> Result<usize> {
    let Some(step) = query.step else {
        return Ok(prometheus.query(&query.expr)?.len());
    };
    // As many steps as the time shown has, within the history: each costs what it costs there, but
    // for the decoding of older samples.
    let step = HISTORY.mul_f64(step.as_secs_f64() / query.back.as_secs_f64());
    Ok(prometheus.query_range(&query.expr, HISTORY, step)?.len())
}
