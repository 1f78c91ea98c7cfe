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

/// The time between the beginnings of two renderings.
const PERIOD: Duration = Duration::from_millis(100);

/// An answer that is rendered at most once per [`PERIOD`], on a thread for blocking work: the
/// threads of the server also run the leader election and the watches.
///
/// A caller never gets a rendering that began before it asked. It waits for the next one, which it
/// shares with all that come meanwhile, and which begins at once where the last one is long ago.
pub(super) struct Rendered {
    render: Arc<dyn Fn() -> Answer + Send + Sync>,
    /// When the last rendering began. Locked while one runs.
    last: Arc<tokio::sync::Mutex<Option<Instant>>>,
    /// The next rendering, while it has not begun.
    next: Arc<Mutex<Option<Rendering>>>,
}

/// Runs while any of its callers waits for it.
type Rendering = Shared<BoxFuture<'static, Answer>>;

impl Rendered {
    pub(super) fn new(render: impl Fn() -> Answer + Send + Sync + 'static) -> Self {
        Self { render: Arc::new(render), last: Arc::default(), next: Arc::default() }
    }

    /// The next rendering.
    pub(super) fn answer(&self) -> Rendering {
        self.next.lock().get_or_insert_with(|| self.rendering()).clone()
    }

    fn rendering(&self) -> Rendering {
        let Self { render, last, next } = self;
        let (render, last, next) = (Arc::clone(render), Arc::clone(last), Arc::clone(next));
        let rendering = async move {
            let mut last = last.lock_owned().await;
            if let Some(last) = *last {
                sleep_until(last + PERIOD).await;
            }
            // Whoever asks from now on gets the one after this.
            *next.lock() = None;
            *last = Some(Instant::now());
            let rendered = spawn_blocking(move || {
                // Until the end, even if all callers are gone.
                let _last = last;
                render()
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
    use tokio::time::{advance, sleep, timeout};

    use super::*;

    /// Renders how many renderings have begun, and takes so long.
    fn counting() -> Rendered {
        let begun = AtomicUsize::new(0);
        Rendered::new(move || {
            text(StatusCode::OK, &begun.fetch_add(1, Ordering::SeqCst).to_string())
        })
    }

    async fn body(rendering: Rendering) -> String {
        let body = rendering.await.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn callers_share_a_rendering_that_began_after_they_asked() {
        let rendered = counting();
        let begin = Instant::now();
        assert_eq!(body(rendered.answer()).await, "0\n");
        assert_eq!(begin.elapsed(), Duration::ZERO, "nothing to wait for");
        advance(PERIOD / 2).await;
        let many: Vec<_> = (0..100).map(|_| body(rendered.answer())).collect();
        let many = futures::future::join_all(many).await;
        assert!(many.iter().all(|one| one == "1\n"), "{many:?}");
        assert_eq!(begin.elapsed(), PERIOD);
        sleep(2 * PERIOD).await;
        let again = Instant::now();
        assert_eq!(body(rendered.answer()).await, "2\n");
        assert_eq!(again.elapsed(), Duration::ZERO);
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
        assert!(timeout(2 * PERIOD, second.as_mut()).await.is_err());
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
