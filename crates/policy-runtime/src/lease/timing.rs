//! How long a lease lasts, and what its leader does meanwhile.

use std::time::Duration;

/// What the server and a candidate's clock can be asked for: more often is a load, and a lease of
/// more than an hour leaves the service without a leader for that long after a crash.
const SHORTEST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_LEASE: Duration = Duration::from_secs(3600);

/// The durations of an election. Replicas of one service may differ in them, during an update say:
/// a candidate waits for the longer of its own lease duration and the one that the Lease states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    duration: Duration,
    renew_deadline: Duration,
    retry: Duration,
}

/// Why three durations do not make a [`Timing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// The leader has to have stopped well before anybody may take over.
    #[error(
        "the renew deadline {renew_deadline:?} is too long for a lease of {duration:?}: \
         at most {longest:?} leaves the margin of a fifth"
    )]
    Margin {
        /// What was asked for.
        renew_deadline: Duration,
        /// What was asked for.
        duration: Duration,
        /// The longest deadline that this duration allows.
        longest: Duration,
    },
    /// A leader that tries only once loses the lead with the first lost packet.
    #[error(
        "the renew deadline {renew_deadline:?} has to be longer than 1.2 times \
         the retry period {retry:?}"
    )]
    RenewDeadline {
        /// What was asked for.
        renew_deadline: Duration,
        /// What was asked for.
        retry: Duration,
    },
    /// Each candidate asks the server once per retry period.
    #[error("the retry period {0:?} is shorter than a second")]
    Retry(Duration),
    /// Nobody leads for that long after a leader crashed.
    #[error("a lease of {0:?} is longer than an hour")]
    Duration(Duration),
}

impl Timing {
    /// Checks that a leader stops before others take over, and can try more than once until then.
    ///
    /// # Errors
    /// Says which durations do not fit together.
    pub fn new(
        duration: Duration,
        renew_deadline: Duration,
        retry: Duration,
    ) -> Result<Self, TimingError> {
        if duration > LONGEST_LEASE {
            return Err(TimingError::Duration(duration));
        }
        if retry < SHORTEST_RETRY {
            return Err(TimingError::Retry(retry));
        }
        let longest = duration / 5 * 4;
        if renew_deadline > longest {
            return Err(TimingError::Margin { renew_deadline, duration, longest });
        }
        if renew_deadline <= retry.saturating_add(retry / 5) {
            return Err(TimingError::RenewDeadline { renew_deadline, retry });
        }
        Ok(Self { duration, renew_deadline, retry })
    }

    /// For how long after the last renewal nobody else takes over.
    #[must_use]
    pub fn duration(self) -> Duration {
        self.duration
    }

    /// For how long after its last renewal a leader leads.
    #[must_use]
    pub fn renew_deadline(self) -> Duration {
        self.renew_deadline
    }

    /// The time from one try to the next; up to a tenth is added at random.
    #[must_use]
    pub fn retry(self) -> Duration {
        self.retry
    }

    /// The duration as a Lease states it: in seconds, rounded up.
    pub(super) fn seconds(self) -> i32 {
        let whole = i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX);
        whole.saturating_add(i32::from(self.duration.subsec_nanos() > 0))
    }
}

impl Default for Timing {
    /// 15 s, 10 s and 2 s: the values of Kubernetes' own components.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(duration: u64, renew_deadline: u64, retry: u64) -> Result<Timing, String> {
        let [duration, renew_deadline, retry] =
            [duration, renew_deadline, retry].map(Duration::from_millis);
        Timing::new(duration, renew_deadline, retry).map_err(|error| error.to_string())
    }

    #[test]
    fn default_is_valid() {
        assert_eq!(new(15_000, 10_000, 2_000), Ok(Timing::default()));
    }

    #[test]
    fn says_what_does_not_fit() {
        assert!(new(15_000, 12_000, 2_000).is_ok());
        assert_eq!(
            new(15_000, 12_001, 2_000).unwrap_err(),
            "the renew deadline 12.001s is too long for a lease of 15s: \
             at most 12s leaves the margin of a fifth"
        );
        assert_eq!(
            new(15_000, 2_400, 2_000).unwrap_err(),
            "the renew deadline 2.4s has to be longer than 1.2 times the retry period 2s"
        );
        assert!(new(15_000, 2_401, 2_000).is_ok());
        assert_eq!(
            new(15_000, 10_000, 999).unwrap_err(),
            "the retry period 999ms is shorter than a second"
        );
        assert_eq!(
            new(3_600_001, 10_000, 2_000).unwrap_err(),
            "a lease of 3600.001s is longer than an hour"
        );
        let forever = Timing::new(Duration::from_secs(15), Duration::from_secs(10), Duration::MAX);
        assert!(forever.is_err());
    }

    #[test]
    fn seconds_are_rounded_up() {
        assert_eq!(new(15_000, 10_000, 2_000).unwrap().seconds(), 15);
        assert_eq!(new(15_001, 10_000, 2_000).unwrap().seconds(), 16);
    }
}
