//! How much of its time the event loop may judge.

use std::time::Duration;

use tokio::time::Instant;

/// Of each second, for the pods of one namespace: some hundred, unless the expressions are expensive.
pub(super) const OF_NAMESPACE: Duration = Duration::from_millis(50);
/// The same for all namespaces.
pub(super) const OF_ALL: Duration = Duration::from_millis(500);
const SECOND: Duration = Duration::from_secs(1);

/// The time that was spent in the present second.
#[derive(Debug, Default)]
pub(super) struct Budget {
    began: Option<Instant>,
    spent: Duration,
}

impl Budget {
    /// Whether less than that was spent.
    pub(super) fn allows(&mut self, most: Duration, now: Instant) -> bool {
        if self.began.is_none_or(|began| now >= began + SECOND) {
            *self = Self { began: Some(now), spent: Duration::ZERO };
        }
        self.spent < most
    }

    pub(super) fn spend(&mut self, time: Duration) {
        self.spent += time;
    }
}
