//! How long to wait before the next attempt.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// This pause, up to a tenth shorter or longer, so that replicas that started together do not send
/// requests together for ever.
#[must_use]
pub fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.9 + fastrand::f64() / 5.0)
}

/// Delays that double from attempt to attempt, with random jitter of up to the same length on top,
/// so that clients that failed together do not retry together.
#[derive(Debug)]
pub struct Backoff {
    builder: ExponentialBuilder,
    delays: ExponentialBackoff,
    longest: Duration,
}

impl Backoff {
    /// Delays from `first` to `longest`, the jitter included.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        let builder = ExponentialBuilder::new()
            .with_min_delay(first)
            .with_max_delay(longest / 2)
            .without_max_times()
            .with_jitter();
        Self { builder, delays: builder.build(), longest }
    }

    /// The time to wait before the next attempt.
    #[must_use]
    pub fn delay(&mut self) -> Duration {
        // The delays never end: their number is not limited.
        self.delays.next().unwrap_or(self.longest)
    }

    /// Starts from the first delay again.
    pub fn reset(&mut self) {
        self.delays = self.builder.build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn delays_double_to_the_longest_with_jitter_on_top() {
        let mut backoff = Backoff::new(SECOND, 16 * SECOND);
        for expected in [1, 2, 4, 8, 8, 8] {
            let delay = backoff.delay();
            assert!(delay >= expected * SECOND && delay <= expected * SECOND * 2, "{delay:?}");
        }
        backoff.reset();
        assert!(backoff.delay() <= 2 * SECOND);
    }

    #[test]
    fn a_pause_is_longer_or_shorter_by_a_tenth_at_most() {
        for _ in 0..100 {
            let pause = jittered(10 * SECOND);
            assert!(pause >= 9 * SECOND && pause <= 11 * SECOND, "{pause:?}");
        }
    }

    #[test]
    fn clients_that_fail_together_do_not_retry_together() {
        let [mut a, mut b] = [(); 2].map(|()| Backoff::new(SECOND, 2 * SECOND));
        assert!((0..8).any(|_| a.delay() != b.delay()));
    }
}
