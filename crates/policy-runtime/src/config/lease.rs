//! The Lease by which the replicas of a service elect a leader.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problems;
use crate::lease::{self, Timing, TimingError};

/// A longer lease would leave the service without a leader for longer than that after a crash, and
/// other candidates do not honour it.
const LONGEST: u64 = lease::LONGEST.as_secs();

/// `lease`: how replicas elect a leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaseConfig {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// A lease holder that has not renewed the Lease for so long is replaced.
    #[schemars(range(min = 1, max = LONGEST))]
    pub duration_seconds: u32,
    /// A leader that could not renew the Lease for so long stops leading; at most 4/5 of the
    /// duration.
    #[schemars(range(min = 1, max = LONGEST))]
    pub renew_deadline_seconds: u32,
    /// Time between two attempts to acquire or renew the Lease; less than 5/6 of the renew
    /// deadline.
    #[schemars(range(min = 1, max = LONGEST))]
    pub retry_seconds: u32,
}

impl LeaseConfig {
    /// The defaults, with the durations of Kubernetes' own components.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            namespace: "kube-devops".to_owned(),
            name: name.to_owned(),
            duration_seconds: 15,
            renew_deadline_seconds: 10,
            retry_seconds: 2,
        }
    }

    /// The durations, where they fit together: the one rule for the check and for the start.
    ///
    /// # Errors
    /// Says which of them do not fit together.
    pub fn timing(&self) -> Result<Timing, TimingError> {
        let [duration, renew_deadline, retry] =
            [self.duration_seconds, self.renew_deadline_seconds, self.retry_seconds]
                .map(|seconds| Duration::from_secs(seconds.into()));
        Timing::new(duration, renew_deadline, retry)
    }

    /// Adds what the schema cannot express.
    pub fn check(&self, problems: &mut Problems) {
        const DEADLINE: &str = "lease.renewDeadlineSeconds";
        problems.check_label("lease.namespace", &self.namespace);
        problems.check_subdomain("lease.name", &self.name);
        if let Err(error) = self.timing() {
            let other = match error {
                TimingError::Margin { .. } => "lease.durationSeconds",
                TimingError::Attempts { .. } => "lease.retrySeconds",
            };
            problems.add(&[other, DEADLINE], error.to_string());
        }
    }
}
