//! What a service answers: `/healthz`, `/readyz`, `/metrics`, and what it adds.

mod body;
mod deadline;
mod post;
mod quota;
mod readers;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Body;
use serde::Serialize;

pub use self::deadline::by;
use self::post::{Post, Room};
pub use self::post::{PostLimits, Posted, Refusal};
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::server::Caller;

/// The content type of text for people.
pub const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// The content type of JSON.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");

/// An answer whose body is at hand.
pub type Answer = Response<Full<Bytes>>;

/// The paths of a service, each with what answers it.
#[derive(Default)]
pub struct Endpoints {
    paths: BTreeMap<&'static str, Handler>,
    room: Room,
}

enum Handler {
    Get(Box<dyn Fn() -> Answer + Send + Sync>),
    Post(Post),
}

/// [`Endpoints`] that no longer change, as the server takes them.
#[derive(Clone, Debug)]
pub(crate) struct Routes(Arc<Endpoints>);

impl Endpoints {
    /// The three paths that each service has.
    pub(crate) fn standard(readiness: &Readiness, metrics: &Metrics) -> Self {
        let mut endpoints = Self::default();
        endpoints.get("/healthz", || respond(StatusCode::OK, TEXT, "ok\n"));
        let readiness = readiness.clone();
        endpoints.get("/readyz", move || ready_or_pending(&readiness.pending()));
        let metrics = metrics.clone();
        endpoints.get("/metrics", move || respond(StatusCode::OK, PROMETHEUS, metrics.render()));
        endpoints
    }

    /// Adds a path that is asked by `GET`. The handler runs on the server's own threads and must
    /// not wait for anything.
    pub fn get(
        &mut self,
        path: &'static str,
        handler: impl Fn() -> Answer + Send + Sync + 'static,
    ) {
        self.paths.insert(path, Handler::Get(Box::new(handler)));
    }

    /// Adds a path that takes something by `POST`, within limits. The handler gets requests with
    /// their whole body, and is to answer each by its deadline. `refused` is told of all that get
    /// another answer than the handler's.
    ///
    /// All paths together hold 32 MiB of bodies, and 256 that are still on their way; of those the
    /// oldest gives way to the next one. A handler that panics costs its caller an answer of 500
    /// and nobody else anything.
    pub fn post<F>(
        &mut self,
        path: &'static str,
        limits: PostLimits,
        refused: impl Fn(Refusal) + Send + Sync + 'static,
        handler: impl Fn(Posted) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Answer> + Send + 'static,
    {
        self.paths.insert(path, Handler::Post(Post::new(limits, refused, handler)));
    }

    pub(crate) fn routes(self) -> Routes {
        Routes(Arc::new(self))
    }

    async fn answer<B>(&self, request: Box<Request<B>>, caller: &Caller) -> Answer
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
    {
        match (self.paths.get(request.uri().path()), request.method()) {
            (Some(Handler::Get(handler)), &Method::GET) => handler(),
            (Some(Handler::Post(post)), &Method::POST) => {
                post.answer(request, caller, &self.room).await
            }
            (Some(Handler::Get(_)), _) => not_allowed(HeaderValue::from_static("GET")),
            (Some(Handler::Post(_)), _) => not_allowed(HeaderValue::from_static("POST")),
            (None, _) => {
                let paths: Vec<&str> = self.paths.keys().copied().collect();
                text(StatusCode::NOT_FOUND, &format!("not found; there are {}", paths.join(", ")))
            }
        }
    }
}

impl Routes {
    /// Answers whatever happens. The request is boxed as it goes through many hands: each future on
    /// the way would have room for it twice, and be moved with it.
    pub(crate) async fn answer<B>(&self, request: Box<Request<B>>, caller: &Caller) -> Answer
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
    {
        let answered = AssertUnwindSafe(self.0.answer(request, caller)).catch_unwind().await;
        answered.unwrap_or_else(|_| text(StatusCode::INTERNAL_SERVER_ERROR, "the answer failed"))
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.paths.keys()).finish()
    }
}

/// An answer.
#[must_use]
pub fn respond(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

/// The value as JSON.
#[must_use]
pub fn json(value: &impl Serialize) -> Answer {
    match serde_json::to_vec_pretty(value) {
        Ok(mut body) => {
            body.push(b'\n');
            respond(StatusCode::OK, JSON, body)
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// What was asked for is not there yet, and why.
#[must_use]
pub fn unavailable(why: &str) -> Answer {
    text(StatusCode::SERVICE_UNAVAILABLE, why)
}

/// A line for people.
#[must_use]
pub fn text(status: StatusCode, line: &str) -> Answer {
    respond(status, TEXT, format!("{line}\n"))
}

fn ready_or_pending(pending: &[Cow<'static, str>]) -> Answer {
    if pending.is_empty() {
        return text(StatusCode::OK, "ready");
    }
    unavailable(&format!("pending: {}", pending.join(", ")))
}

fn not_allowed(method: HeaderValue) -> Answer {
    let line = format!("only {}", method.to_str().unwrap_or_default());
    let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, &line);
    refused.headers_mut().insert(ALLOW, method);
    refused
}
