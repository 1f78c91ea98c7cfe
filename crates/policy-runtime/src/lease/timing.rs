//! The three durations of an election, and the rules between them.

use std::time::Duration;

/// The longest lease duration. A candidate waits no longer for a holder, whatever duration the Lease
/// states: otherwise one write could keep a service without a leader for years.
pub(crate) const LONGEST: Duration = Duration::from_secs(5 * 60);

/// The durations of an election. Replicas of one service may have different ones, during a rolling
/// update for example: a candidate waits for the longer of its own lease duration and the one that
/// the Lease states, up to five minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// For how long after the last renewal no other candidate takes over.
    pub(super) duration: Duration,
    /// For how long after its last renewal a leader leads.
    pub(super) renew_deadline: Duration,
    /// The time between two attempts; up to a tenth is added at random.
    pub(super) retry: Duration,
}

/// Why three durations do not make a [`Timing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are what the texts name")]
pub enum TimingError {
    /// A leader must stop well before another candidate may take over.
    #[error(
        "the renew deadline of {renew_deadline:?} is too long for a lease duration of \
         {duration:?}: at most 4/5 of it, {longest:?}"
    )]
    Margin { renew_deadline: Duration, duration: Duration, longest: Duration },
    /// A leader that has only one attempt loses the Lease with the first lost packet.
    #[error(
        "the renew deadline of {renew_deadline:?} is too short for a retry period of {retry:?}: \
         it must be longer than 6/5 of it, {shortest:?}"
    )]
    Attempts { renew_deadline: Duration, retry: Duration, shortest: Duration },
}

impl Timing {
    /// Checks that a leader stops before another candidate takes over, and has more than one attempt
    /// to renew until then.
    ///
    /// # Errors
    /// Says which durations do not fit together.
    pub fn new(
        duration: Duration,
        renew_deadline: Duration,
        retry: Duration,
    ) -> Result<Self, TimingError> {
        let longest = duration / 5 * 4;
        if renew_deadline > longest {
            return Err(TimingError::Margin { renew_deadline, duration, longest });
        }
        let shortest = retry.saturating_add(retry / 5);
        if renew_deadline <= shortest {
            return Err(TimingError::Attempts { renew_deadline, retry, shortest });
        }
        Ok(Self { duration, renew_deadline, retry })
    }

    /// The duration as a Lease states it: in seconds, rounded up.
    pub(super) fn seconds(self) -> i32 {
        let whole = i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX);
        whole.saturating_add(i32::from(self.duration.subsec_nanos() > 0))
    }
}

impl Default for Timing {
    /// 15 s, 10 s and 2 s, as Kubernetes' own components have.
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
    fn durations_that_do_not_fit_together_are_refused() {
        assert!(new(15_000, 12_000, 2_000).is_ok());
        assert_eq!(
            new(15_000, 12_001, 2_000).unwrap_err(),
            "the renew deadline of 12.001s is too long for a lease duration of 15s: \
             at most 4/5 of it, 12s"
        );
        assert_eq!(
            new(15_000, 2_400, 2_000).unwrap_err(),
            "the renew deadline of 2.4s is too short for a retry period of 2s: \
             it must be longer than 6/5 of it, 2.4s"
        );
        assert!(new(15_000, 2_401, 2_000).is_ok());
        let forever = Timing::new(Duration::from_secs(15), Duration::from_secs(10), Duration::MAX);
        assert!(forever.is_err());
    }

    #[test]
    fn seconds_are_rounded_up() {
        assert_eq!(new(15_000, 10_000, 2_000).unwrap().seconds(), 15);
        assert_eq!(new(15_001, 10_000, 2_000).unwrap().seconds(), 16);
    }
}
