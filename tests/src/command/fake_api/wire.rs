//! Requests and responses of the fake API server.

use std::convert::Infallible;

use anyhow::{Context as _, Result};
use futures::stream;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;

/// A request, taken apart as Kubernetes builds its paths.
pub(super) struct Call {
    pub(super) method: Method,
    /// In the plural, such as `pods`.
    pub(super) resource: String,
    /// Empty for the whole cluster.
    pub(super) namespace: String,
    /// Empty for a watch and for a creation.
    pub(super) name: String,
    /// Such as `status`.
    pub(super) subresource: String,
    query: String,
    body: Bytes,
}

impl Call {
    /// Reads a request with its body.
    pub(super) async fn read(request: Request<Incoming>) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().trim_start_matches('/').split('/').map(str::to_owned);
        let mut path = path.peekable();
        // `api` and the version, or `apis`, the group and the version.
        let skipped = if path.peek().is_some_and(|first| first == "api") { 2 } else { 3 };
        let path: Vec<_> = path.skip(skipped).collect();
        // `namespaces/NAME` is a namespace itself.
        let (namespace, path) = match &*path {
            [first, namespace, rest @ ..] if first == "namespaces" && !rest.is_empty() => {
                (namespace.clone(), rest)
            }
            path => (String::new(), path),
        };
        let mut path = path.iter().cloned();
        let mut next = || path.next().unwrap_or_default();
        Ok(Self {
            method: parts.method,
            resource: next(),
            namespace,
            name: next(),
            subresource: next(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            body: body.collect().await?.to_bytes(),
        })
    }

    /// A parameter of the query.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let mut pairs = self.query.split('&');
        pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    pub(super) fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).context("a body that is no JSON")
    }
}

/// A response without its head.
pub(super) type Answer = (StatusCode, Value);

/// A failure in the form of an API server's answer.
pub(super) fn refused(code: StatusCode, reason: &str) -> Answer {
    let status = json!({ "kind": "Status", "code": code.as_u16(), "reason": reason,
        "message": reason, "status": "Failure" });
    (code, status)
}

pub(super) type Body = BoxBody<Bytes, Infallible>;

pub(super) fn response((code, body): &Answer) -> Response<Body> {
    let mut response = with_type(Full::from(body.to_string()).boxed());
    *response.status_mut() = *code;
    response
}

/// The response with a body that is written already.
pub(super) fn whole(body: Bytes) -> Response<Body> {
    with_type(Full::from(body).boxed())
}

/// The response to a watch: everything that is sent to the channel.
pub(super) fn stream(events: Receiver<Bytes>) -> Response<Body> {
    let frames = stream::unfold(events, |mut events| async {
        events.recv().await.map(|event| (Ok(Frame::data(event)), events))
    });
    with_type(BoxBody::new(StreamBody::new(Box::pin(frames))))
}

fn with_type(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A line of a watch. Not by `json!`, because the type has to come first.
pub(super) fn event(kind: &str, object: &Value) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

/// A bookmark; the one that ends a streamed list has an annotation
/// (<https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/3157-watch-list>).
pub(super) fn bookmark(version: u64, ends_list: bool) -> String {
    let mut metadata = json!({ "resourceVersion": version.to_string() });
    if ends_list {
        metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
    }
    event("BOOKMARK", &json!({ "metadata": metadata }))
}
