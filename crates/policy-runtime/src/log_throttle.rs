//! Limits how often a problem that repeats is logged.

use std::time::Duration;

use tokio::time::Instant;

/// Remembers which problems were logged, by a key from a fixed list, so that an outage does not
/// fill the log.
#[derive(Debug)]
pub(crate) struct LogThrottle<K = ()> {
    period: Duration,
    logged: Vec<(K, Instant)>,
}

impl<K: PartialEq> LogThrottle<K> {
    pub(crate) const fn new(period: Duration) -> Self {
        Self { period, logged: Vec::new() }
    }

    /// Whether to log a problem now: the first time, and again once the period is over.
    pub(crate) fn permits(&mut self, key: K) -> bool {
        let now = Instant::now();
        self.logged.retain(|(_, when)| now < *when + self.period);
        let is_new = self.logged.iter().all(|(known, _)| *known != key);
        if is_new {
            self.logged.push((key, now));
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_problem_is_logged_once_in_a_period() {
        let second = Duration::from_secs(1);
        let mut throttle = LogThrottle::new(10 * second);
        assert!(throttle.permits("a") && throttle.permits("b") && !throttle.permits("a"));
        advance(9 * second).await;
        assert!(!throttle.permits("b"));
        advance(second).await;
        assert!(throttle.permits("a") && !throttle.permits("a"));
    }
}
