//! Endpoints that take a body: it is read within limits, and the request is answered in time or
//! refused.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Either;
use hyper::body::Body;
use metrics::{Counter, counter};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tower::{Service as _, ServiceBuilder};
use tower_http::catch_panic::CatchPanicLayer;

use super::body::BodyBudget;
use super::{Answer, ServedAnswer, text, with_deadline};
use crate::caller::Caller;
use crate::tls::Peer;

/// A handler that has not answered by its deadline gets this much more before its caller gets 503:
/// a handler has better answers of its own for this case.
const LATE: Duration = Duration::from_millis(250);

/// The label of `dropped_total` for bodies of which only the beginning was read.
const TOO_LARGE: &str = "large bodies";

/// The limits of an endpoint that takes a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostLimits {
    /// The largest body that is read whole, in bytes; at most 24 MiB.
    pub body: usize,
    /// So many first bytes of a larger one are read.
    pub beginning: usize,
    /// The time for the whole body, from the head of the request on.
    pub read: Duration,
    /// Requests that are handled at a time. One more is refused, its body unread.
    pub concurrency: usize,
    /// The time from the head of the request to the answer.
    pub deadline: Duration,
}

/// A request with its body.
#[derive(Debug)]
pub struct Posted {
    /// The body.
    pub body: PostedBody,
    /// The `Content-Type` of the body.
    pub content_type: Option<HeaderValue>,
    /// The caller.
    pub peer: Arc<Peer>,
    /// When the head of the request arrived.
    pub arrived: Instant,
    /// When the answer is due. A little later the caller gets 503.
    pub deadline: Instant,
}

/// The body of a request.
#[derive(Clone, Debug)]
pub enum PostedBody {
    /// All of it.
    Whole(Bytes),
    /// Only the beginning of one that is larger than [`PostLimits::body`].
    TooLarge {
        /// Its first bytes.
        beginning: Bytes,
        /// The size of all of it; without a declared size, of what arrived in time.
        size: u64,
    },
}

/// Why a request got another answer than that of its handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As many requests as allowed are being handled: 503.
    Busy,
    /// The bodies of other requests take the whole body budget: 503.
    BudgetExhausted,
    /// The body did not arrive in time, or was displaced by others that were arriving: 408.
    TooSlow,
    /// The body ended early: 400, if the caller is still there to read it.
    Broken,
    /// The handler did not answer in time: 503.
    Late,
    /// The handler panicked: 500.
    Panicked,
}

/// An endpoint that takes a body.
pub(super) struct Post {
    limits: PostLimits,
    budget: Arc<BodyBudget>,
    concurrency: Semaphore,
    too_large: Counter,
    on_refusal: Box<dyn Fn(Refusal) + Send + Sync>,
    handler: Box<dyn Fn(Posted) -> BoxFuture<'static, Answer> + Send + Sync>,
}

impl Refusal {
    fn answer(self) -> Answer {
        let (status, line) = match self {
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "too many requests at a time"),
            Self::BudgetExhausted => {
                (StatusCode::SERVICE_UNAVAILABLE, "the bodies of other requests take all memory")
            }
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
            Self::Broken => (StatusCode::BAD_REQUEST, "the body ended early"),
            Self::Late => (StatusCode::SERVICE_UNAVAILABLE, "no answer in time"),
            Self::Panicked => (StatusCode::INTERNAL_SERVER_ERROR, "the handler panicked"),
        };
        text(status, line)
    }

    /// The label of `dropped_total`.
    const fn dropped(self) -> &'static str {
        match self {
            Self::Busy | Self::BudgetExhausted => "requests",
            Self::TooSlow | Self::Broken => "bodies",
            Self::Late | Self::Panicked => "answers",
        }
    }
}

impl Post {
    pub(super) fn new<F>(
        limits: PostLimits,
        budget: Arc<BodyBudget>,
        on_refusal: impl Fn(Refusal) + Send + Sync + 'static,
        handler: impl Fn(Posted) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        for refusal in [Refusal::Busy, Refusal::TooSlow, Refusal::Late] {
            counter!("dropped_total", "what" => refusal.dropped()).increment(0);
        }
        let too_large = counter!("dropped_total", "what" => TOO_LARGE);
        too_large.increment(0);
        Self {
            limits,
            budget,
            concurrency: Semaphore::new(limits.concurrency),
            too_large,
            on_refusal: Box::new(on_refusal),
            handler: Box::new(move |posted| handler(posted).boxed()),
        }
    }

    pub(super) async fn answer<B>(&self, request: Request<B>, caller: &Caller) -> ServedAnswer
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let answered = ServiceBuilder::new()
            .layer(CatchPanicLayer::custom(|_| self.refuse(Refusal::Panicked)))
            .service_fn(|request| self.handle(request, caller))
            .call(request)
            .await;
        match answered {
            Ok(answer) => answer.map(Either::Left),
            Err(refusal) => self.refuse(refusal).map(Either::Right),
        }
    }

    /// Reads the body and has the handler answer.
    async fn handle<B>(&self, request: Request<B>, caller: &Caller) -> Result<Answer, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let arrived = Instant::now();
        let (mut head, body) = request.into_parts();
        let content_type = head.headers.remove(CONTENT_TYPE);
        drop(head);
        let (body, _permit) = self.read(body, arrived, caller).await?;
        if let PostedBody::TooLarge { .. } = body {
            self.too_large.increment(1);
        }
        let deadline = arrived + self.limits.deadline;
        let peer = Arc::clone(&caller.peer);
        let posted = Posted { body, content_type, peer, arrived, deadline };
        with_deadline(deadline + LATE, (self.handler)(posted)).await.ok_or(Refusal::Late)
    }

    /// Reads the body, and gives the right to be handled, which is held until the answer.
    async fn read<B>(
        &self,
        body: B,
        arrived: Instant,
        caller: &Caller,
    ) -> Result<(PostedBody, SemaphorePermit<'_>), Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let acquire = || self.concurrency.try_acquire().map_err(|_| Refusal::Busy);
        let permit = acquire()?;
        let mut reading = pin!(self.budget.read(body, &self.limits));
        // Most bodies arrive together with their head.
        if let Poll::Ready(body) = futures::poll!(reading.as_mut()) {
            return Ok((body?, permit));
        }
        // A request whose body is still arriving is not being handled.
        drop(permit);
        let awaiting_body = caller.activity.awaiting_body();
        let read = with_deadline(arrived + self.limits.read, self.budget.wait(reading)).await;
        let body = read.unwrap_or(Err(Refusal::TooSlow))?;
        drop(awaiting_body);
        Ok((body, acquire()?))
    }

    /// Counts a refusal and gives the answer to it.
    fn refuse(&self, refusal: Refusal) -> Answer {
        counter!("dropped_total", "what" => refusal.dropped()).increment(1);
        (self.on_refusal)(refusal);
        refusal.answer()
    }
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").field("limits", &self.limits).finish_non_exhaustive()
    }
}
