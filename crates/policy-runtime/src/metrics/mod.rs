//! Metrics of the process. Counters and histograms go through the crate `metrics`. Gauges that are
//! bound to objects or to leadership are written at each scrape instead: a recorder cannot remove a
//! series, and a score must disappear together with its namespace.

mod exposition;
mod format;
mod process;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;
use policy_metrics::{Kind, Metric};

pub use exposition::{Exposition, Family};
pub use format::Format;

/// How often the recorder moves the samples of histograms into their buckets; samples accumulate in
/// memory in between.
const UPKEEP: Duration = Duration::from_secs(5);

/// The name of a histogram and the upper bounds of its buckets, in its unit.
pub type Buckets<'a> = (&'a str, &'a [f64]);

/// Writes gauges at the moment of a scrape.
type ScrapeWriter = Box<dyn Fn(&mut Exposition) + Send + Sync>;

/// Gives the help text of a metric to the recorder of the process. [`Exposition::family`] writes it
/// by itself.
pub fn describe(metric: &Metric) {
    let Metric { name, kind, help, .. } = *metric;
    match kind {
        Kind::Gauge => describe_gauge!(name, help),
        Kind::Counter => describe_counter!(name, help),
        Kind::Histogram => describe_histogram!(name, help),
    }
}

/// All metrics of the process.
#[derive(Clone)]
pub struct Metrics {
    recorder: PrometheusHandle,
    writers: Arc<Mutex<Vec<ScrapeWriter>>>,
}

impl Metrics {
    /// Installs the recorder of the process. Works once per process.
    ///
    /// # Errors
    /// A histogram has no buckets, or a recorder is installed already.
    pub fn install(histograms: &[Buckets<'_>]) -> Result<Self, BuildError> {
        let mut builder = PrometheusBuilder::new();
        for (name, buckets) in histograms {
            builder = builder.set_buckets_for_metric(Matcher::Full((*name).into()), buckets)?;
        }
        let recorder = builder.install_recorder()?;
        Ok(Self { recorder, writers: Arc::default() })
    }

    /// Adds a function that writes gauges at each scrape.
    pub fn write_at_scrape(&self, writer: impl Fn(&mut Exposition) + Send + Sync + 'static) {
        self.writers.lock().push(Box::new(writer));
    }

    /// All metrics as text.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        let mut exposition = Exposition::after(self.recorder.render(), format);
        process::write(&mut exposition);
        for writer in &*self.writers.lock() {
            writer(&mut exposition);
        }
        exposition.finish()
    }

    /// Moves the samples of histograms into their buckets every few seconds. Never ends.
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
