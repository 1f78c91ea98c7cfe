//! What is kept of the Report of a policy, and when it is written. Pure.

use std::time::Duration;

use policy_runtime::backoff::{Backoff, jittered};
use tokio::time::Instant;

use crate::write_error::ErrorClass;

/// A Report is written at most once in that time, up to a tenth more or less: a policy whose pods
/// always change would otherwise write hundreds of kilobytes each second.
const PACE: Duration = Duration::from_secs(15);
/// After that time it is written again: somebody may have changed or deleted it. The API server stores
/// nothing where it is as it was.
const REPEATED: Duration = Duration::from_secs(600);

/// What the leader knows of the Report of a policy.
#[derive(Debug, Default)]
pub(crate) struct ReportState {
    /// The term of the leadership in which this was learnt. Another leader may have written since.
    term: u32,
    written: Option<Written>,
    /// It is not written before.
    not_before: Option<Instant>,
    /// The writes that failed in a row, all for the same class of reason.
    failing: Option<(ErrorClass, Backoff)>,
}

#[derive(Debug)]
struct Written {
    /// Identifies the Report.
    identity: u64,
    /// When it is written again, even if nothing changed.
    expires: Instant,
}

impl ReportState {
    /// Forgets what was learnt in another term.
    pub(crate) fn in_term(&mut self, term: u32) {
        if self.term != term {
            *self = Self { term, ..Self::default() };
        }
    }

    /// How long to wait until the Report may be written; `None` if now.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        self.not_before.filter(|at| *at > now).map(|at| at - now)
    }

    /// Whether the Report of that identity is to be written.
    pub(crate) fn is_due(&self, identity: u64, now: Instant) -> bool {
        let is_current = |written: &Written| written.identity == identity && now < written.expires;
        !self.written.as_ref().is_some_and(is_current)
    }

    /// Records that it was written.
    pub(crate) fn wrote(&mut self, identity: u64, now: Instant) {
        self.written = Some(Written { identity, expires: now + jittered(REPEATED) });
        self.not_before = Some(now + jittered(PACE));
        self.failing = None;
    }

    /// Records that a write failed, and returns the time after which to retry.
    pub(crate) fn failed(&mut self, class: ErrorClass, now: Instant) -> Duration {
        let failing = self.failing.take().filter(|(before, _)| *before == class);
        let (class, mut backoff) = failing.unwrap_or_else(|| (class, class.backoff()));
        let delay = backoff.delay();
        self.failing = Some((class, backoff));
        self.not_before = Some(now + delay);
        delay
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_written_when_it_changed_and_not_too_often() {
        let mut state = ReportState::default();
        state.in_term(1);
        assert!(state.wait(Instant::now()).is_none() && state.is_due(1, Instant::now()));
        state.wrote(1, Instant::now());
        assert!(state.wait(Instant::now()).unwrap() <= PACE * 11 / 10);
        advance(PACE * 11 / 10).await;
        let now = Instant::now();
        assert_eq!(state.wait(now), None);
        assert!(!state.is_due(1, now) && state.is_due(2, now));
        advance(REPEATED * 11 / 10).await;
        assert!(state.is_due(1, Instant::now()), "somebody may have deleted it");
    }

    #[tokio::test(start_paused = true)]
    async fn another_leader_may_have_written_meanwhile() {
        let mut state = ReportState::default();
        state.in_term(1);
        state.wrote(1, Instant::now());
        state.in_term(1);
        assert!(!state.is_due(1, Instant::now()));
        state.in_term(3);
        assert!(state.is_due(1, Instant::now()) && state.wait(Instant::now()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_retried_later_and_later() {
        let mut state = ReportState::default();
        let mut last = Duration::ZERO;
        for _ in 0..4 {
            let delay = state.failed(ErrorClass::Forbidden, Instant::now());
            assert!(delay > last, "{delay:?} after {last:?}");
            assert_eq!(state.wait(Instant::now()), Some(delay));
            last = delay;
        }
        state.wrote(1, Instant::now());
        assert!(state.failed(ErrorClass::Forbidden, Instant::now()) < last);
    }
}
