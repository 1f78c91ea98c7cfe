//! Metrics: what is counted as it happens goes through the crate `metrics`; what objects and
//! leadership say is written at each scrape, since a recorder cannot take a series away.

mod exposition;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

pub use exposition::{Exposition, Family, Kind};

/// How often the samples of histograms are folded, so that they do not pile up.
const UPKEEP: Duration = Duration::from_secs(5);

/// A histogram and the upper bounds of its buckets, in its own unit.
pub type Buckets<'a> = (&'a str, &'a [f64]);

/// Writes what objects say at the moment of a scrape.
type Writer = Box<dyn Fn(&mut Exposition) + Send + Sync>;

/// All metrics of the process.
#[derive(Clone)]
pub struct Metrics {
    recorder: PrometheusHandle,
    process: Collector,
    writers: Arc<Mutex<Vec<Writer>>>,
}

impl Metrics {
    /// Makes the process's recorder. Can be done once.
    ///
    /// # Errors
    /// A histogram without buckets, or a second recorder.
    pub fn install(histograms: &[Buckets<'_>]) -> Result<Self, BuildError> {
        let mut builder = PrometheusBuilder::new();
        for (name, buckets) in histograms {
            builder = builder.set_buckets_for_metric(Matcher::Full((*name).into()), buckets)?;
        }
        let process = Collector::default();
        let recorder = builder.install_recorder()?;
        process.describe();
        Ok(Self { recorder, process, writers: Arc::default() })
    }

    /// Adds what is written at each scrape.
    pub fn write_at_scrape(&self, writer: impl Fn(&mut Exposition) + Send + Sync + 'static) {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(writer));
    }

    /// All metrics in Prometheus' text format
    /// (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
    #[must_use]
    pub fn render(&self) -> String {
        self.process.collect();
        let mut exposition = Exposition::after(self.recorder.render());
        for writer in &*self.writers.lock().unwrap_or_else(PoisonError::into_inner) {
            writer(&mut exposition);
        }
        exposition.finish()
    }

    /// Folds samples for as long as it is polled.
    pub(crate) async fn upkeep(self) {
        loop {
            tokio::time::sleep(UPKEEP).await;
            self.recorder.run_upkeep();
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
