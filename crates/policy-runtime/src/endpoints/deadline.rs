//! Waiting until a deadline.

use std::pin::pin;
use std::task::Poll;

use tokio::time::{Instant, timeout_at};

/// What a future comes to by then; `None` where it does not. Most have nothing to wait for, and
/// those cost no timer, which would be a fair part of what they take.
pub async fn by<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    if let Poll::Ready(outcome) = futures::poll!(future.as_mut()) {
        return Some(outcome);
    }
    timeout_at(deadline, future).await.ok()
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_time_is_had_and_nothing_else_is_waited_for() {
        let now = Instant::now();
        let deadline = now + Duration::from_secs(2);
        assert_eq!(by(now, ready(1)).await, Some(1), "it was there");
        assert_eq!(by(deadline, sleep(Duration::from_secs(1))).await, Some(()));
        assert_eq!(by(deadline, pending::<()>()).await, None);
        assert_eq!(Instant::now(), deadline);
    }
}
