//! When a change of class is told in an Event. Pure.

use std::time::Duration;

use policy_core::score::Classification;
use tokio::time::Instant;

/// At most one Event in that time for a policy: a score on the edge of two classes is no news.
pub(crate) const PAUSE: Duration = Duration::from_secs(60);

/// What was last told of a policy's class.
#[derive(Debug, Default)]
pub(crate) struct Herald {
    has_begun: bool,
    told: Option<Classification>,
    at: Option<Instant>,
}

/// Whether to tell now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tell {
    /// There is nothing new.
    Nothing,
    /// The class is another one than that.
    Since(Option<Classification>),
    /// There is something new, but not before that moment.
    At(Instant),
}

impl Herald {
    /// Takes that as told, by whomever.
    pub(crate) fn assume(&mut self, class: Option<Classification>) {
        self.has_begun = true;
        self.told = class;
    }

    /// Takes that as told, unless something is known: a process that begins anew has no news.
    pub(crate) fn begin(&mut self, class: Option<Classification>) {
        if !self.has_begun {
            self.assume(class);
        }
    }

    /// Notes that the class was told.
    pub(crate) fn told(&mut self, class: Classification, now: Instant) {
        *self = Self { has_begun: true, told: Some(class), at: Some(now) };
    }

    /// Whether that class is to be told.
    pub(crate) fn news(&self, class: Classification, now: Instant) -> Tell {
        if self.told == Some(class) {
            return Tell::Nothing;
        }
        match self.at.map(|at| at + PAUSE) {
            Some(next) if next > now => Tell::At(next),
            _ => Tell::Since(self.told),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Classification::{Degraded, Healthy, Stable};

    #[test]
    fn a_class_is_told_once_and_not_too_often() {
        let start = Instant::now();
        let mut herald = Herald::default();
        assert_eq!(herald.news(Healthy, start), Tell::Since(None));
        herald.told(Healthy, start);
        assert_eq!(herald.news(Healthy, start + 2 * PAUSE), Tell::Nothing);
        assert_eq!(herald.news(Stable, start), Tell::At(start + PAUSE));
        assert_eq!(herald.news(Healthy, start), Tell::Nothing, "it came back in the meantime");
        assert_eq!(herald.news(Degraded, start + PAUSE), Tell::Since(Some(Healthy)));
    }

    #[test]
    fn what_the_status_says_was_told_by_somebody() {
        let mut herald = Herald::default();
        herald.begin(Some(Stable));
        assert_eq!(herald.news(Stable, Instant::now()), Tell::Nothing);
        herald.begin(Some(Healthy));
        assert_eq!(herald.news(Stable, Instant::now()), Tell::Nothing, "it has begun");
        herald.assume(Some(Healthy));
        assert_eq!(herald.news(Stable, Instant::now()), Tell::Since(Some(Healthy)));
    }
}
