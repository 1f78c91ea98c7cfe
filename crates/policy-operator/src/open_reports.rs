//! Reports of openreports.io: one for each policy, owned by it, where the configuration wants them.
//!
//! ```text
//! reconcile ─ Judgement ─ ReportSource ─ ReportState: changed? ─ content ─ Writer ─ the Report
//!                                                                            │ its kind is not served
//! all policies are due again ◄───────────── OpenReports::follow asks ◄───────┘
//! ```

mod content;
mod state;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use metrics::counter;
use parking_lot::Mutex;
use policy_kube::{ClusterError, objects};
use policy_metrics::operator::REPORT_ERRORS;
use policy_runtime::backoff::Backoff;
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::policies::Policies;
use crate::write_error::WriteError;

pub(crate) use content::{Content, ReportSource};
pub(crate) use state::ReportState;

/// The path of the version, which lists its kinds.
const VERSION: &str = "/apis/openreports.io/v1alpha1";
const PLURAL: &str = "reports";
/// The class of the failure that the kind is not served.
pub(crate) const NOT_SERVED: &str = "not_served";
/// So many Reports are written at a time, so that a slow API server leaves reconciles to statuses.
const MAX_WRITES: usize = 2;
/// The first and the longest time between two questions whether the kind is served.
const ASKED: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];
const DEADLINE: Duration = Duration::from_secs(3);
/// Of failures one is logged in that time; all are counted.
const LOGGED: Duration = Duration::from_secs(60);

/// The path of a Report.
pub(crate) fn path(namespace: &str, name: &str) -> String {
    format!("{VERSION}/namespaces/{namespace}/{PLURAL}/{name}")
}

/// What the Reports of all policies share. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct OpenReports(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    is_served: watch::Sender<bool>,
    writes: Semaphore,
    /// When a failure was logged last.
    logged: Mutex<Option<Instant>>,
}

impl OpenReports {
    /// The kind counts as served until a write shows that it is not.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared {
            is_served: watch::Sender::new(true),
            writes: Semaphore::new(MAX_WRITES),
            logged: Mutex::default(),
        }))
    }

    /// Whether Reports can be written, as far as is known.
    pub(crate) fn are_served(&self) -> bool {
        *self.0.is_served.borrow()
    }

    /// Leave to write a Report; `None` while too many are being written.
    pub(crate) fn permit(&self) -> Option<SemaphorePermit<'_>> {
        self.0.writes.try_acquire().ok()
    }

    /// Asks whether the kind is served, and says so once where it is not. Then no Report is written
    /// until it is.
    pub(crate) async fn ask(&self, client: &Client) -> Result<bool, ClusterError> {
        let version = objects::get(client, VERSION, DEADLINE).await?;
        let kinds = version.as_ref().and_then(|version| version["resources"].as_array());
        let is_it = |kind: &Value| kind["name"] == PLURAL;
        let is_served = kinds.is_some_and(|kinds| kinds.iter().any(is_it));
        if !is_served {
            counter!(REPORT_ERRORS.name, "class" => NOT_SERVED).increment(1);
            if self.0.is_served.send_replace(false) {
                warn!(
                    "no Reports are written, because the cluster does not serve \
                     reports.openreports.io/v1alpha1; they are as soon as its definition is installed"
                );
            }
        }
        Ok(is_served)
    }

    /// While the kind is not served: asks again and again, and has all policies written once it is.
    pub(crate) async fn follow(self, client: Client, policies: Policies) {
        let mut changes = self.0.is_served.subscribe();
        let [first, longest] = ASKED;
        while changes.wait_for(|is_served| !is_served).await.is_ok() {
            let mut backoff = Backoff::new(first, longest);
            loop {
                sleep(backoff.delay()).await;
                match self.ask(&client).await {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(error) => debug!("{error}"),
                }
            }
            info!("the cluster serves reports.openreports.io/v1alpha1: Reports are written");
            self.0.is_served.send_replace(true);
            policies.all_due();
        }
    }

    /// Counts and logs a write that failed. Many policies may fail for the same reason.
    pub(crate) fn failed(&self, error: &WriteError, delay: Duration) {
        let class = error.class().as_str();
        counter!(REPORT_ERRORS.name, "class" => class).increment(1);
        let now = Instant::now();
        let mut logged = self.0.logged.lock();
        if logged.is_none_or(|logged| now - logged >= LOGGED) {
            *logged = Some(now);
            warn!(class, retry_after = ?delay, "{error}");
        } else {
            debug!(class, retry_after = ?delay, "{error}");
        }
    }
}
