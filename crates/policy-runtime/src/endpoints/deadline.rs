//! Deadlines that cost nothing where nothing is waited for.

use std::pin::pin;
use std::task::Poll;

use tokio::time::{Instant, timeout_at};

/// The output of a future, or `None` if it is not there by the deadline.
///
/// Unlike [`timeout_at`] and the layers of tower-http, this sets no timer for a future that is
/// ready when it is polled for the first time. Most requests are: their body arrives together with
/// their head, and they are judged without waiting.
pub async fn with_deadline<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    if let Poll::Ready(output) = futures::poll!(future.as_mut()) {
        return Some(output);
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
    async fn only_output_that_comes_in_time_is_given() {
        let now = Instant::now();
        let deadline = now + Duration::from_secs(2);
        assert_eq!(with_deadline(now, ready(1)).await, Some(1), "it was ready");
        assert_eq!(with_deadline(deadline, sleep(Duration::from_secs(1))).await, Some(()));
        assert_eq!(with_deadline(deadline, pending::<()>()).await, None);
        assert_eq!(Instant::now(), deadline);
    }
}
