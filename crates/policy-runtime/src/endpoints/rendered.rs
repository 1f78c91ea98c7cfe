//! Answers that take long to render, or are large: all callers share one.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use http::StatusCode;
use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use tracing::error;

use super::{Answer, text, unavailable};

/// After a rendering comes a pause of so many times its duration, so that a tenth of a processor's
/// time at most is spent on an answer, however many ask for it.
const PAUSES: u32 = 9;
/// The longest pause: whoever scrapes waits no longer for a rendering to begin.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// An answer that is rendered once at a time, with pauses, and on a thread for blocking work: the
/// threads of the server also run the leader election and the watches.
///
/// A caller never gets a rendering that began before it asked. It waits for the next one, which it
/// shares with all that come meanwhile, and which begins at once where the last one is long ago.
pub(super) struct Rendered {
    render: Arc<dyn Fn() -> Answer + Send + Sync>,
    /// When the next rendering may begin. Locked while one runs.
    not_before: Arc<tokio::sync::Mutex<Instant>>,
    /// The next rendering, while it has not begun.
    next: Arc<Mutex<Option<Rendering>>>,
}

/// Runs while any of its callers waits for it.
type Rendering = Shared<BoxFuture<'static, Answer>>;

impl Rendered {
    pub(super) fn new(render: impl Fn() -> Answer + Send + Sync + 'static) -> Self {
        let not_before = Arc::new(tokio::sync::Mutex::new(Instant::now()));
        Self { render: Arc::new(render), not_before, next: Arc::default() }
    }

    /// The next rendering.
    pub(super) fn answer(&self) -> Rendering {
        self.next.lock().get_or_insert_with(|| self.rendering()).clone()
    }

    fn rendering(&self) -> Rendering {
        let Self { render, not_before, next } = self;
        let (render, not_before) = (Arc::clone(render), Arc::clone(not_before));
        let next = Arc::clone(next);
        let rendering = async move {
            let mut not_before = not_before.lock_owned().await;
            sleep_until(*not_before).await;
            // Whoever asks from now on gets the one after this.
            *next.lock() = None;
            let rendered = spawn_blocking(move || {
                let begin = Instant::now();
                // If it panics.
                *not_before = begin + LONGEST_PAUSE;
                let answer = render();
                *not_before = Instant::now() + (begin.elapsed() * PAUSES).min(LONGEST_PAUSE);
                answer
            });
            rendered.await.unwrap_or_else(|problem| {
                if problem.is_panic() {
                    error!("the rendering of an answer panicked");
                    return text(StatusCode::INTERNAL_SERVER_ERROR, "the handler panicked");
                }
                unavailable("the service ends")
            })
        };
        rendering.boxed().shared()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt as _;
    use tokio::time::{sleep, timeout};

    use super::*;

    /// Renders how many renderings have begun, and takes so long.
    fn counting(takes: Duration) -> Rendered {
        let begun = AtomicUsize::new(0);
        Rendered::new(move || {
            let number = begun.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(takes);
            text(StatusCode::OK, &number.to_string())
        })
    }

    async fn body(rendering: Rendering) -> String {
        let body = rendering.await.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn callers_share_a_rendering_that_began_after_they_asked() {
        let takes = Duration::from_millis(20);
        let rendered = counting(takes);
        assert_eq!(body(rendered.answer()).await, "0\n");
        let begin = Instant::now();
        let early = body(rendered.answer());
        let late = async {
            sleep(PAUSES * takes / 2).await;
            body(rendered.answer()).await
        };
        let (early, late) = tokio::join!(early, late);
        assert_eq!((early.as_str(), late.as_str()), ("1\n", "1\n"));
        assert!(begin.elapsed() >= (PAUSES + 1) * takes, "{:?}", begin.elapsed());
        assert_eq!(body(rendered.answer()).await, "2\n");
    }

    #[tokio::test]
    async fn pauses_are_bounded() {
        let rendered = counting(LONGEST_PAUSE);
        let begin = Instant::now();
        for _ in 0..3 {
            body(rendered.answer()).await;
        }
        assert!(begin.elapsed() >= 5 * LONGEST_PAUSE, "{:?}", begin.elapsed());
        assert!(begin.elapsed() < 10 * LONGEST_PAUSE, "{:?}", begin.elapsed());
    }

    #[tokio::test]
    async fn a_rendering_under_way_is_too_old() {
        let (end, may_end) = std::sync::mpsc::channel::<()>();
        let (begun, may_end) = (Arc::new(AtomicUsize::new(0)), Mutex::new(may_end));
        let counter = Arc::clone(&begun);
        let rendered = Rendered::new(move || {
            let number = counter.fetch_add(1, Ordering::SeqCst);
            may_end.lock().recv().unwrap();
            text(StatusCode::OK, &number.to_string())
        });
        let mut first = Box::pin(body(rendered.answer()));
        while begun.load(Ordering::SeqCst) == 0 {
            assert!(futures::poll!(first.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
        // Without its caller it still runs to its end.
        drop(first);
        let mut second = Box::pin(body(rendered.answer()));
        assert!(timeout(2 * LONGEST_PAUSE, second.as_mut()).await.is_err());
        assert_eq!(begun.load(Ordering::SeqCst), 1, "one at a time");
        end.send(()).unwrap();
        end.send(()).unwrap();
        assert_eq!(second.await, "1\n");
    }

    #[tokio::test]
    async fn a_rendering_that_panics_costs_its_callers_only() {
        let begun = AtomicUsize::new(0);
        let rendered = Rendered::new(move || {
            assert_ne!(begun.fetch_add(1, Ordering::SeqCst), 0, "as the test wants");
            text(StatusCode::OK, "fine")
        });
        assert_eq!(rendered.answer().await.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(rendered.answer().await.status(), StatusCode::OK);
    }
}
