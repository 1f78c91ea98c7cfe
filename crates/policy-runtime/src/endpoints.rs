//! What a service answers: `/healthz`, `/readyz`, `/metrics`, and what it adds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use tower::Service;

use crate::metrics::Metrics;
use crate::readiness::Readiness;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");

/// An answer whose body is at hand.
pub type Answer = Response<Full<Bytes>>;

type Handler = Box<dyn Fn() -> Answer + Send + Sync>;

/// The paths of a service, each with what answers a `GET`.
#[derive(Default)]
pub struct Endpoints(BTreeMap<&'static str, Handler>);

/// [`Endpoints`] that no longer change, as the server takes them.
#[derive(Clone)]
pub struct Routes(Arc<Endpoints>);

impl Endpoints {
    /// The three paths that each service has.
    pub(crate) fn standard(readiness: &Readiness, metrics: &Metrics) -> Self {
        let mut endpoints = Self::default();
        endpoints.get("/healthz", || answer(StatusCode::OK, TEXT, "ok\n"));
        let readiness = readiness.clone();
        endpoints.get("/readyz", move || ready_or_pending(&readiness.pending()));
        let metrics = metrics.clone();
        endpoints.get("/metrics", move || answer(StatusCode::OK, PROMETHEUS, metrics.render()));
        endpoints
    }

    /// Adds a path. The handler runs on the server's own threads and must not wait for anything.
    pub fn get(
        &mut self,
        path: &'static str,
        handler: impl Fn() -> Answer + Send + Sync + 'static,
    ) {
        self.0.insert(path, Box::new(handler));
    }

    pub(crate) fn routes(self) -> Routes {
        Routes(Arc::new(self))
    }

    fn answer(&self, method: &Method, path: &str) -> Answer {
        let Some(handler) = self.0.get(path) else {
            let paths: Vec<&str> = self.0.keys().copied().collect();
            let text = format!("not found; there are {}\n", paths.join(", "));
            return answer(StatusCode::NOT_FOUND, TEXT, text);
        };
        if method != Method::GET {
            let mut refused = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return refused;
        }
        handler()
    }
}

/// The value as JSON.
#[must_use]
pub fn json(value: &impl Serialize) -> Answer {
    match serde_json::to_vec_pretty(value) {
        Ok(mut body) => {
            body.push(b'\n');
            answer(StatusCode::OK, JSON, body)
        }
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
    }
}

/// What was asked for is not there yet, and why.
#[must_use]
pub fn unavailable(why: &str) -> Answer {
    answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n"))
}

fn ready_or_pending(pending: &[Cow<'static, str>]) -> Answer {
    if pending.is_empty() {
        return answer(StatusCode::OK, TEXT, "ready\n");
    }
    unavailable(&format!("pending: {}", pending.join(", ")))
}

fn answer(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

impl<B> Service<Request<B>> for Routes {
    type Response = Answer;
    type Error = Infallible;
    type Future = Ready<Result<Answer, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.0.answer(request.method(), request.uri().path())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods_are_kept_apart() {
        let mut endpoints = Endpoints::default();
        endpoints.get("/numbers", || json(&[1, 2]));
        let status = |method: &Method, path: &str| endpoints.answer(method, path).status().as_u16();
        assert_eq!(status(&Method::GET, "/numbers"), 200);
        assert_eq!(status(&Method::POST, "/numbers"), 405);
        assert_eq!(status(&Method::HEAD, "/numbers"), 405);
        assert_eq!(status(&Method::GET, "/numbers/"), 404);
        assert_eq!(status(&Method::POST, "/"), 404);
    }

    #[test]
    fn who_is_not_ready_says_why() {
        assert_eq!(ready_or_pending(&[]).status(), StatusCode::OK);
        assert_eq!(ready_or_pending(&["a list".into()]).status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
