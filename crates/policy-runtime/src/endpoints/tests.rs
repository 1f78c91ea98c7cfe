//! Requests within their limits, and beyond them.

use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::caller::Activity;
use crate::tls::Peer;

const SECOND: Duration = Duration::from_secs(1);
const LIMITS: PostLimits = PostLimits {
    body: 100,
    beginning: 10,
    read: SECOND,
    concurrency: 2,
    deadline: Duration::from_secs(3),
};

/// Endpoints with a path `/count` that tells the length of bodies, when it may.
struct Counting {
    endpoints: Endpoints,
    caller: Arc<Caller>,
    refused: Arc<Mutex<Vec<Refusal>>>,
    may: Arc<Semaphore>,
}

impl Counting {
    fn new(limits: PostLimits) -> Self {
        let (refused, may) = (Arc::<Mutex<Vec<_>>>::default(), Arc::new(Semaphore::new(0)));
        let mut endpoints = Endpoints::default();
        let (told, waits) = (Arc::clone(&refused), Arc::clone(&may));
        let handler = move |posted: Posted| {
            let waits = Arc::clone(&waits);
            async move {
                let body = match posted.body {
                    PostedBody::Whole(body) => body,
                    PostedBody::TooLarge { beginning, size } => {
                        let line = format!("{} of {size}", beginning.len());
                        return text(StatusCode::PAYLOAD_TOO_LARGE, &line);
                    }
                };
                assert_ne!(&*body, b"panic");
                waits.acquire().await.unwrap().forget();
                let kind = posted.content_type.as_ref().map(|kind| kind.to_str().unwrap());
                let kind = kind.unwrap_or("nothing").to_owned();
                text(StatusCode::OK, &format!("{} of {kind}", body.len()))
            }
        };
        endpoints.post("/count", limits, move |why| told.lock().unwrap().push(why), handler);
        let peer = Arc::new(Peer::unknown(([127, 0, 0, 1], 1).into()));
        let activity = Arc::new(Activity::new(Instant::now()));
        Self {
            endpoints,
            caller: Arc::new(Caller { peer, activity, is_bootstrap: false }),
            refused,
            may,
        }
    }

    async fn post<B>(&self, body: B) -> (u16, String)
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        let request = Request::post("/count").header(CONTENT_TYPE, "a/b").body(body).unwrap();
        let answer = self.endpoints.answer(request, &self.caller).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn refused(&self) -> Vec<Refusal> {
        std::mem::take(&mut self.refused.lock().unwrap())
    }
}

/// A body in one piece, whose size its head tells.
fn whole(size: usize) -> Full<Bytes> {
    Full::new(vec![b'a'; size].into())
}

/// A body of these pieces, then of silence.
fn pieces(
    sizes: impl IntoIterator<Item = usize>,
) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + Unpin {
    let sizes: Vec<usize> = sizes.into_iter().collect();
    stream::iter(sizes.into_iter().map(|size| Ok(Frame::data(vec![b'a'; size].into()))))
}

#[tokio::test(start_paused = true)]
async fn a_body_is_whole_or_refused() {
    let counting = Counting::new(LIMITS);
    counting.may.add_permits(4);
    for (sizes, expected) in
        [(vec![], 0), (vec![7], 7), (vec![0, 60, 0, 40], 100), (vec![1; 50], 50)]
    {
        let answer = counting.post(StreamBody::new(pieces(sizes))).await;
        assert_eq!(answer, (200, format!("{expected} of a/b\n")));
    }
    let too_large = |answer: (u16, String), size: u32| {
        assert_eq!(answer, (413, format!("10 of {size}\n")), "its beginning is handled");
    };
    too_large(counting.post(whole(101)).await, 101);
    too_large(counting.post(StreamBody::new(pieces([60, 41]))).await, 101);
    too_large(counting.post(StreamBody::new(pieces([101]))).await, 101);
    too_large(counting.post(StreamBody::new(pieces(vec![1; 400_000]))).await, 400_000);
    let broken = stream::iter([Ok(Frame::data(Bytes::from("a"))), Err("gone")]);
    assert_eq!(counting.post(StreamBody::new(broken)).await.0, 400);
    assert_eq!(counting.refused(), [Refusal::Broken]);
    // One that does not end is answered by what is there.
    let begin = Instant::now();
    let endless = StreamBody::new(pieces([60, 41]).chain(stream::pending()));
    assert_eq!(counting.post(endless).await, (413, "10 of 101\n".to_owned()));
    assert_eq!(begin.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_body_comes_in_time_or_is_refused() {
    let counting = Counting::new(LIMITS);
    counting.may.add_permits(1);
    let begin = Instant::now();
    // Each piece is quick, all together are not.
    let pieces = pieces([1; 90]).then(|piece| async {
        sleep(SECOND / 20).await;
        piece
    });
    assert_eq!(counting.post(StreamBody::new(pieces.boxed())).await.0, 408);
    assert_eq!(begin.elapsed(), SECOND);
    assert_eq!(counting.refused(), [Refusal::TooSlow]);
    let later = stream::once(async {
        sleep(SECOND / 2).await;
        Ok::<_, Infallible>(Frame::data(Bytes::from("late")))
    });
    assert_eq!(counting.post(StreamBody::new(later.boxed())).await.1, "4 of a/b\n");
}

#[tokio::test(start_paused = true)]
async fn requests_over_the_limit_are_refused_at_once() {
    let counting = Counting::new(LIMITS);
    let three = async {
        let (first, second) = (counting.post(whole(1)), counting.post(whole(2)));
        let third = async {
            let begin = Instant::now();
            assert_eq!(counting.post(whole(3)).await.0, 503);
            assert_eq!(begin.elapsed(), Duration::ZERO);
            counting.may.add_permits(2);
        };
        tokio::join!(biased; first, second, third)
    };
    let (first, second, ()) = three.await;
    assert_eq!((first.0, second.0), (200, 200));
    assert_eq!(counting.refused(), [Refusal::Busy]);
    // Those whose body is on its way take no place.
    let never = || StreamBody::new(pieces([1]).chain(stream::pending()));
    let (slow, quick) =
        (async { tokio::join!(counting.post(never()), counting.post(never())) }, async {
            counting.may.add_permits(1);
            counting.post(whole(4)).await
        });
    let ((one, two), quick) = tokio::join!(biased; slow, quick);
    assert_eq!((one.0, two.0, quick.0), (408, 408, 200));
}

#[tokio::test(start_paused = true)]
async fn stalled_bodies_are_displaced() {
    let big = PostLimits { body: 9 << 20, read: 60 * SECOND, ..LIMITS };
    let counting = Counting::new(big);
    // 9 MiB of the budget each: there is none for a third.
    let stuck = || StreamBody::new(pieces([4 << 20, (4 << 20) + 1]).chain(stream::pending()));
    let stuck: Vec<_> = (0..3).map(|_| counting.post(stuck())).collect();
    let newcomers = async {
        counting.may.add_permits(3);
        let begin = Instant::now();
        // What is there in one piece takes nothing of it.
        assert_eq!(counting.post(whole(9 << 20)).await.0, 200);
        // Small bodies have bytes of their own.
        let two = StreamBody::new(pieces([100 << 10, 100 << 10]));
        assert_eq!(counting.post(two).await.0, 200);
        assert_eq!(begin.elapsed(), Duration::ZERO);
        let two = StreamBody::new(pieces([4 << 20, 4 << 20]));
        assert_eq!(counting.post(two).await.0, 200);
        assert!(begin.elapsed() < 2 * SECOND, "{:?}", begin.elapsed());
    };
    let stuck = futures::future::join_all(stuck);
    let (stuck, ()) = tokio::join!(biased; stuck, newcomers);
    assert!(stuck.iter().all(|stuck| stuck.0 == 408), "{stuck:?}");
    assert_eq!(counting.refused(), [Refusal::TooSlow; 3]);
}

#[tokio::test(start_paused = true)]
async fn large_bodies_wait_for_each_other() {
    let counting =
        Counting::new(PostLimits { body: 20 << 20, read: 60 * SECOND, concurrency: 99, ..LIMITS });
    counting.may.add_permits(99);
    // Each may be of 20 MiB, so they are read one at a time.
    let slow = || {
        let pieces = pieces([300 << 10; 10]).then(|piece| async {
            sleep(SECOND / 100).await;
            piece
        });
        counting.post(StreamBody::new(pieces.boxed()))
    };
    let answers = futures::future::join_all((0..10).map(|_| slow())).await;
    assert!(answers.iter().all(|answer| answer.0 == 200), "{answers:?}");
    // More than may wait are refused at once.
    let answers = futures::future::join_all((0..30).map(|_| slow())).await;
    let refused = answers.iter().filter(|answer| answer.0 == 503).count();
    assert_eq!(refused, 30 - 1 - 16, "{answers:?}");
    assert_eq!(counting.refused(), vec![Refusal::BudgetExhausted; refused]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_fails_costs_one_answer() {
    let counting = Counting::new(LIMITS);
    assert_eq!(counting.post(Full::new(Bytes::from("panic"))).await.0, 500);
    let begin = Instant::now();
    let late = timeout(60 * SECOND, counting.post(whole(1))).await.unwrap();
    assert_eq!((late.0, late.1.as_str()), (503, "no answer in time\n"));
    assert!(begin.elapsed() > LIMITS.deadline && begin.elapsed() < LIMITS.deadline + SECOND);
    assert_eq!(counting.refused(), [Refusal::Panicked, Refusal::Late]);
    counting.may.add_permits(1);
    assert_eq!(counting.post(whole(1)).await.0, 200);
}

#[tokio::test]
async fn paths_and_methods_are_distinguished() {
    let mut counting = Counting::new(LIMITS);
    counting.endpoints.get("/numbers", || json(&[1, 2]));
    counting.endpoints.get("/panics", || panic!("as the test wants"));
    counting.endpoints.probe("/probe", || text(StatusCode::OK, "ok"));
    counting.endpoints.probe("/broken-probe", || panic!("as the test wants"));
    let mut service = counting.endpoints.router().service(counting.caller);
    for (method, path, expected, allowed) in [
        (Method::GET, "/numbers", 200, None),
        (Method::POST, "/numbers", 405, Some("GET")),
        (Method::HEAD, "/numbers", 405, Some("GET")),
        (Method::GET, "/count", 405, Some("POST")),
        (Method::GET, "/numbers/", 404, None),
        (Method::POST, "/", 404, None),
        (Method::GET, "/panics", 500, None),
        (Method::GET, "/probe", 200, None),
        (Method::GET, "/broken-probe", 500, None),
    ] {
        let request = Request::builder().method(&method).uri(path).body(whole(0)).unwrap();
        let answer = service.call(request).await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{method} {path}");
        let allow = answer.headers().get(ALLOW).map(|allow| allow.to_str().unwrap());
        assert_eq!(allow, allowed, "{method} {path}");
    }
}

#[test]
fn readyz_names_what_is_pending() {
    assert_eq!(ready_or_pending(&[]).status(), StatusCode::OK);
    assert_eq!(ready_or_pending(&["a list".into()]).status(), StatusCode::SERVICE_UNAVAILABLE);
}
