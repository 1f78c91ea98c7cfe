//! How long to wait before trying again.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// A pause of about that length, give or take a tenth: replicas that started together shall not
/// keep asking together.
#[must_use]
pub fn about(pause: Duration) -> Duration {
    pause.mul_f64(0.9 + fastrand::f64() / 5.0)
}

/// Delays that double from try to try, up to a cap, each with up to half of itself on top at
/// random: who fell together shall not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
}

impl Backoff {
    /// Delays from `first` up to one and a half times `cap`.
    #[must_use]
    pub const fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, next: first }
    }

    /// The time to wait before the next try.
    #[must_use]
    pub fn delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.cap);
        delay.mul_f64(1.0 + fastrand::f64() / 2.0)
    }

    /// Starts from the first delay again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// A [`Backoff`] for each of many things. Holds an entry for those only that fail; whoever drops
/// a thing has to [`KeyedBackoff::forget`] it.
#[derive(Clone, Debug)]
pub struct KeyedBackoff<K> {
    first: Duration,
    cap: Duration,
    failing: HashMap<K, Backoff>,
}

impl<K: Eq + Hash> KeyedBackoff<K> {
    /// Delays from `first` up to one and a half times `cap`, for each key.
    #[must_use]
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, failing: HashMap::new() }
    }

    /// Notes a failure and gives the time to wait.
    #[must_use]
    pub fn failed(&mut self, key: K) -> Duration {
        let Self { first, cap, failing } = self;
        failing.entry(key).or_insert_with(|| Backoff::new(*first, *cap)).delay()
    }

    /// Notes a success, or that there is nothing to try any more.
    pub fn forget(&mut self, key: &K) {
        self.failing.remove(key);
    }

    /// How many are failing at present.
    #[must_use]
    pub fn len(&self) -> usize {
        self.failing.len()
    }

    /// Whether none is failing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.failing.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn delays_double_to_the_cap_with_jitter_on_top() {
        let mut backoff = Backoff::new(SECOND, 8 * SECOND);
        for expected in [1, 2, 4, 8, 8, 8] {
            let delay = backoff.delay();
            assert!(delay >= expected * SECOND && delay <= expected * SECOND * 3 / 2, "{delay:?}");
        }
        backoff.reset();
        assert!(backoff.delay() < 2 * SECOND);
    }

    #[test]
    fn a_pause_is_longer_or_shorter_by_a_tenth_at_most() {
        for _ in 0..100 {
            let pause = about(10 * SECOND);
            assert!(pause >= 9 * SECOND && pause <= 11 * SECOND, "{pause:?}");
        }
    }

    #[test]
    fn two_that_fall_together_do_not_come_back_together() {
        let [mut a, mut b] = [Backoff::new(SECOND, SECOND), Backoff::new(SECOND, SECOND)];
        assert!((0..8).any(|_| a.delay() != b.delay()));
    }

    #[test]
    fn each_key_fails_for_itself_and_a_success_leaves_nothing() {
        let mut backoff = KeyedBackoff::new(SECOND, 60 * SECOND);
        for _ in 0..3 {
            let _ = backoff.failed("a");
        }
        assert!(backoff.failed("a") >= 8 * SECOND);
        assert!(backoff.failed("b") < 2 * SECOND);
        backoff.forget(&"a");
        assert!(backoff.failed("a") < 2 * SECOND);
        backoff.forget(&"a");
        backoff.forget(&"b");
        assert!(backoff.is_empty());
    }
}
