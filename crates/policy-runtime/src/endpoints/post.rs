//! Paths that take something: read under limits, answered in time, or refused at once.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, StatusCode, Version};
use hyper::body::Body;
use metrics::counter;
use tokio::time::{Instant, timeout_at};

use super::quota::{Quota, Share};
use super::readers::Readers;
use super::{Answer, body, by, text};
use crate::server::Caller;
use crate::tls::Peer;

/// Bytes of all bodies that are held at a time.
const MEMORY: usize = 32 << 20;
/// Requests that may wait for the rest of their body at a time.
const READERS: usize = 256;
/// A handler that has not even answered by its deadline gets so much more: it has fallbacks of its
/// own, which are better.
const LAST_RESORT: Duration = Duration::from_millis(250);

/// What a path takes, and in which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostLimits {
    /// The largest body, in bytes.
    pub body: usize,
    /// The time for the whole body, from the head of the request on.
    pub read: Duration,
    /// Requests that are worked on at a time. One more is refused, its body unread.
    pub concurrency: usize,
    /// The time for all, from the head of the request to the answer.
    pub deadline: Duration,
}

/// A request with its body.
#[derive(Debug)]
pub struct Posted {
    /// The body, whole.
    pub body: Bytes,
    /// What the caller says it is.
    pub content_type: Option<HeaderValue>,
    /// Who calls.
    pub peer: Arc<Peer>,
    /// When the head of the request was there.
    pub arrived: Instant,
    /// When the answer is due. A little later the caller gets 503 instead of it.
    pub deadline: Instant,
}

/// A request's share of the memory of all bodies, and its place among those that are worked on.
/// Kept here: of what the handler gets, it may drop any part.
type Shares<'a> = [Share<'a>; 2];

/// Why a request got an answer that is not its handler's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As many as may be are worked on: 503.
    Busy,
    /// Bodies that came before it take all the room there is: 503.
    NoRoom,
    /// Its body is larger than may be: 413.
    TooLarge,
    /// Its body did not come in time, or too slowly when many others waited for theirs: 408.
    TooSlow,
    /// Its body broke off: 400, where anybody is still there to read it.
    Broken,
    /// The handler did not answer in time: 503.
    Late,
    /// The handler panicked: 500.
    Panicked,
}

/// What the bodies of all paths share.
#[derive(Debug)]
pub(super) struct Room {
    memory: Quota,
    readers: Readers,
}

/// A path that takes something.
pub(super) struct Post {
    limits: PostLimits,
    places: Quota,
    refused: Box<dyn Fn(Refusal) + Send + Sync>,
    handler: Box<dyn Fn(Posted) -> BoxFuture<'static, Answer> + Send + Sync>,
}

impl Refusal {
    fn answer(self) -> Answer {
        let (status, what) = match self {
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "too many requests at a time"),
            Self::NoRoom => (StatusCode::SERVICE_UNAVAILABLE, "no room for the body"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
            Self::Broken => (StatusCode::BAD_REQUEST, "the body broke off"),
            Self::Late => (StatusCode::SERVICE_UNAVAILABLE, "no answer in time"),
            Self::Panicked => (StatusCode::INTERNAL_SERVER_ERROR, "the answer failed"),
        };
        text(status, what)
    }

    /// What it is counted as.
    const fn dropped(self) -> &'static str {
        match self {
            Self::Busy | Self::NoRoom => "requests",
            Self::TooLarge | Self::TooSlow | Self::Broken => "bodies",
            Self::Late | Self::Panicked => "answers",
        }
    }
}

impl Default for Room {
    fn default() -> Self {
        Self { memory: Quota::new(MEMORY), readers: Readers::new(READERS) }
    }
}

impl Post {
    pub(super) fn new<F>(
        limits: PostLimits,
        refused: impl Fn(Refusal) + Send + Sync + 'static,
        handler: impl Fn(Posted) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        for refusal in [Refusal::Busy, Refusal::TooLarge, Refusal::Late] {
            counter!("dropped_total", "what" => refusal.dropped()).increment(0);
        }
        Self {
            limits,
            places: Quota::new(limits.concurrency),
            refused: Box::new(refused),
            handler: Box::new(move |posted| handler(posted).boxed()),
        }
    }

    pub(super) async fn answer<B>(
        &self,
        request: Box<Request<B>>,
        caller: &Caller,
        room: &Room,
    ) -> Answer
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
    {
        let outcome = match self.read(request, caller, room).await {
            Ok((posted, _shares)) => self.handle(posted).await,
            Err(refusal) => Err(refusal),
        };
        outcome.unwrap_or_else(|refusal| {
            counter!("dropped_total", "what" => refusal.dropped()).increment(1);
            (self.refused)(refusal);
            refusal.answer()
        })
    }

    async fn handle(&self, posted: Posted) -> Result<Answer, Refusal> {
        let end = posted.deadline + LAST_RESORT;
        let handled = AssertUnwindSafe(async { (self.handler)(posted).await }).catch_unwind();
        let handled = by(end, handled).await.ok_or(Refusal::Late)?;
        handled.map_err(|_| Refusal::Panicked)
    }

    async fn read<'a, B>(
        &'a self,
        mut request: Box<Request<B>>,
        caller: &Caller,
        room: &'a Room,
    ) -> Result<(Posted, Shares<'a>), Refusal>
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
    {
        let arrived = Instant::now();
        let read = self.read_body(request.body_mut(), arrived, caller, room).await;
        let is_unread = matches!(read, Err(Refusal::Busy | Refusal::NoRoom | Refusal::TooLarge));
        // HTTP/2 has a word for "send no more", and needs no such courtesy.
        let content_type = request.headers_mut().remove(CONTENT_TYPE);
        if is_unread && request.version() != Version::HTTP_2 && !request.body().is_end_stream() {
            tokio::spawn(body::discard(request.into_body()));
        }
        let (body, shares) = read?;
        let posted = Posted {
            body,
            content_type,
            peer: Arc::clone(caller.peer()),
            arrived,
            deadline: arrived + self.limits.deadline,
        };
        Ok((posted, shares))
    }

    async fn read_body<'a, B>(
        &'a self,
        body: &mut B,
        arrived: Instant,
        caller: &Caller,
        room: &'a Room,
    ) -> Result<(Bytes, Shares<'a>), Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let place = || self.places.take(1).ok_or(Refusal::Busy);
        if body::is_larger(body, self.limits.body) {
            return Err(Refusal::TooLarge);
        }
        let held = place()?;
        let mut memory = room.memory.nothing();
        let (read, held) = {
            let mut read = pin!(body::read(body, self.limits.body, &mut memory));
            // Most bodies are there with their head.
            if let Poll::Ready(read) = futures::poll!(read.as_mut()) {
                (read, Some(held))
            } else {
                // Who waits for others works on nothing.
                drop(held);
                let (_quiet, turn) = (caller.wait(), room.readers.enter());
                let read = tokio::select! {
                    read = timeout_at(arrived + self.limits.read, read) => read,
                    () = turn.displaced() => Ok(Err(Refusal::TooSlow)),
                };
                (read.unwrap_or(Err(Refusal::TooSlow)), None)
            }
        };
        if read == Err(Refusal::NoRoom) {
            room.readers.displace_oldest();
        }
        let (read, held) = (read?, held.map_or_else(place, Ok)?);
        Ok((read, [memory, held]))
    }
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").field("limits", &self.limits).finish_non_exhaustive()
    }
}
