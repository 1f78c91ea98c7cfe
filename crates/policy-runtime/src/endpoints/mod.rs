//! The endpoints of a service: `/healthz`, `/readyz`, `/metrics`, and those that it adds.
//!
//! ```text
//! server ─ Router (one tower service for each connection)
//!            ├─ GET   limit ─ CatchPanic ─ Trace ─ client certificate ─ rendering ─ handler
//!            └─ POST  refusals ─ CatchPanic ─ body budget ─ handler
//! ```

mod body;
mod deadline;
mod post;
mod rendered;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Body;
use metrics::counter;
use serde::Serialize;
use tower::{BoxError, Service, ServiceBuilder, service_fn};
use tower_http::body::UnsyncBoxBody;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::trace::TraceLayer;

use self::body::BodyBudget;
pub(crate) use self::body::WAITING as WAITING_BODIES;
pub use self::deadline::with_deadline;
use self::post::Post;
pub use self::post::{PostLimits, Posted, PostedBody, Refusal};
use self::rendered::Rendered;
use crate::caller::Caller;
use crate::metrics::{Format, Metrics};
use crate::readiness::Readiness;

/// The content type of text for people.
pub const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// The content type of JSON.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Answers to requests other than POST that a connection may have under way. Probes and scrapes need
/// one or two; each takes memory until its caller reads it.
const GETS: usize = 8;
/// The labels of `dropped_total` for requests beyond that, and for those of clients without the
/// certificate that they need.
const TOO_MANY: &str = "get requests";
const UNVERIFIED: &str = "unverified clients";

/// The answer of a handler.
pub type Answer = Response<Full<Bytes>>;
/// An answer that went through the layers, or replaces one of theirs.
type ServedAnswer = Response<Either<UnsyncBoxBody<Bytes, BoxError>, Full<Bytes>>>;

/// The paths of a service with their handlers.
#[derive(Default)]
pub struct Endpoints {
    routes: BTreeMap<&'static str, Route>,
    budget: Arc<BodyBudget>,
    needs_certificate: bool,
}

enum Route {
    Probe(Box<dyn Fn() -> Answer + Send + Sync>),
    Get(Rendered),
    Metrics { prometheus: Rendered, open_metrics: Rendered },
    Post(Post),
}

/// [`Endpoints`] as the server takes them: they do not change any more.
#[derive(Clone, Debug)]
pub(crate) struct Router(Arc<Endpoints>);

impl Endpoints {
    /// The three paths that every service has.
    pub(crate) fn standard(readiness: &Readiness, metrics: &Metrics) -> Self {
        counter!("dropped_total", "what" => TOO_MANY).increment(0);
        let mut endpoints = Self::default();
        endpoints.probe("/healthz", || text(StatusCode::OK, "ok"));
        let readiness = readiness.clone();
        endpoints.probe("/readyz", move || ready_or_pending(&readiness.pending()));
        let rendered = |format: Format| {
            let metrics = metrics.clone();
            Rendered::new(move || {
                respond(StatusCode::OK, format.content_type(), metrics.render(format))
            })
        };
        let route = Route::Metrics {
            prometheus: rendered(Format::Prometheus),
            open_metrics: rendered(Format::OpenMetrics),
        };
        endpoints.routes.insert("/metrics", route);
        endpoints
    }

    /// Adds a path for `GET`. The handler runs on a thread of its own, once at a time and with
    /// pauses: callers wait for the next time, and share its answer.
    pub fn get(
        &mut self,
        path: &'static str,
        handler: impl Fn() -> Answer + Send + Sync + 'static,
    ) {
        self.routes.insert(path, Route::Get(Rendered::new(handler)));
    }

    /// Adds a path for `GET` that is answered at once, on the threads of the server, and to clients
    /// without a certificate as well.
    pub(crate) fn probe(
        &mut self,
        path: &'static str,
        handler: impl Fn() -> Answer + Send + Sync + 'static,
    ) {
        self.routes.insert(path, Route::Probe(Box::new(handler)));
    }

    /// From now on `GET` requests, too, are answered only to verified clients, except for probes.
    pub(crate) fn require_certificate(&mut self) {
        counter!("dropped_total", "what" => UNVERIFIED).increment(0);
        self.needs_certificate = true;
    }

    /// Adds a path for `POST` requests, which are read and handled within `limits`. The handler
    /// gets each request with its whole body, and should answer by its deadline. `on_refusal` is
    /// called for every request that gets another answer than the handler's.
    ///
    /// All paths together hold at most 32 MiB of bodies, of which 8 MiB are for small ones only, and
    /// at most 256 requests whose body is still arriving: one more displaces the oldest. If a handler
    /// panics, its caller gets 500 and other requests are not affected.
    pub fn post<F>(
        &mut self,
        path: &'static str,
        limits: PostLimits,
        on_refusal: impl Fn(Refusal) + Send + Sync + 'static,
        handler: impl Fn(Posted) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Answer> + Send + 'static,
    {
        let post = Post::new(limits, Arc::clone(&self.budget), on_refusal, handler);
        self.routes.insert(path, Route::Post(post));
    }

    pub(crate) fn router(self) -> Router {
        Router(Arc::new(self))
    }

    async fn answer<B>(
        &self,
        request: Request<B>,
        caller: &Caller,
    ) -> Result<ServedAnswer, Infallible>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        let route = self.routes.get(request.uri().path());
        if let Some(Route::Post(post)) = route
            && request.method() == Method::POST
        {
            if caller.is_bootstrap {
                return Ok(unavailable("the service has no certificate yet").map(Either::Right));
            }
            return Ok(post.answer(request, caller).await);
        }
        let Some(_getting) = caller.activity.try_get(GETS) else {
            counter!("dropped_total", "what" => TOO_MANY).increment(1);
            return Ok(too_many().map(Either::Right));
        };
        let answered = ServiceBuilder::new()
            .layer(CatchPanicLayer::new())
            .layer(TraceLayer::new_for_http().on_failure(()))
            .service_fn(async |request: Request<B>| {
                let is_get = request.method() == Method::GET;
                let rendered = route.and_then(|route| route.rendered(request.headers()));
                // Its head must not be held while it waits.
                drop(request);
                Ok::<_, Infallible>(self.answer_get(route, rendered, is_get, caller).await)
            })
            .call(request)
            .await;
        answered.map(|answer| answer.map(Either::Left))
    }

    async fn answer_get(
        &self,
        route: Option<&Route>,
        rendered: Option<&Rendered>,
        is_get: bool,
        caller: &Caller,
    ) -> Answer {
        let is_open = matches!(route, Some(Route::Probe(_)));
        if self.needs_certificate && !is_open && !caller.peer.is_verified {
            counter!("dropped_total", "what" => UNVERIFIED).increment(1);
            return text(
                StatusCode::FORBIDDEN,
                "only clients with a client certificate are answered",
            );
        }
        if is_get && let Some(rendered) = rendered {
            let _waiting = caller.activity.awaiting_answer();
            return rendered.answer().await;
        }
        match route {
            Some(Route::Probe(handler)) if is_get => handler(),
            Some(Route::Probe(_) | Route::Get(_) | Route::Metrics { .. }) => {
                not_allowed(HeaderValue::from_static("GET"))
            }
            Some(Route::Post(_)) => not_allowed(HeaderValue::from_static("POST")),
            None => {
                let paths: Vec<&str> = self.routes.keys().copied().collect();
                let line = format!("not found; the paths are {}", paths.join(", "));
                text(StatusCode::NOT_FOUND, &line)
            }
        }
    }
}

impl Route {
    /// The rendered answer to a request with these headers, if it is one.
    fn rendered(&self, headers: &HeaderMap) -> Option<&Rendered> {
        match self {
            Self::Get(rendered) => Some(rendered),
            Self::Metrics { prometheus, open_metrics } => Some(match Format::preferred(headers) {
                Format::Prometheus => prometheus,
                Format::OpenMetrics => open_metrics,
            }),
            Self::Probe(_) | Self::Post(_) => None,
        }
    }
}

impl Router {
    /// The service of a connection.
    pub(crate) fn service<B>(
        &self,
        caller: Arc<Caller>,
    ) -> impl Service<Request<B>, Response = ServedAnswer, Error = Infallible, Future: Send>
    + Clone
    + use<B>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + Send,
    {
        let Self(endpoints) = self.clone();
        service_fn(move |request: Request<B>| {
            let (endpoints, caller) = (Arc::clone(&endpoints), Arc::clone(&caller));
            async move {
                let _answering = caller.activity.answering();
                endpoints.answer(request, &caller).await
            }
        })
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.routes.keys()).finish()
    }
}

/// An answer with this status, type and body.
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

/// 503 with the reason why the requested data does not exist yet.
#[must_use]
pub fn unavailable(reason: &str) -> Answer {
    text(StatusCode::SERVICE_UNAVAILABLE, reason)
}

/// One line of text.
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

/// 503 without a body, which a caller that has closed its window takes as well: so its stream ends.
fn too_many() -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    answer
}

fn not_allowed(method: HeaderValue) -> Answer {
    let line = format!("only {} is allowed", method.to_str().unwrap_or_default());
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, &line);
    answer.headers_mut().insert(ALLOW, method);
    answer
}
