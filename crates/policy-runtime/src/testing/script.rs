//! A scripted API server, for what a real one cannot be made to do.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use futures::{Stream, StreamExt as _};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;

/// An answer of the server.
pub type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Answers one call.
type Answer = Box<dyn FnOnce(&str) -> Reply + Send>;

/// Answers calls in the order that a test has scripted.
#[derive(Clone, Default)]
pub struct Script(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    answers: VecDeque<Answer>,
    calls: Vec<String>,
}

impl Script {
    /// Answers the next call with that status and JSON.
    #[must_use]
    pub fn answer(self, status: u16, json: impl Into<String>) -> Self {
        let json = json.into();
        self.answer_with(move |_| respond(status, json))
    }

    /// Answers the next call with a stream of pieces, which stays open after the last one.
    #[must_use]
    pub fn stream(self, pieces: impl IntoIterator<Item = String>) -> Self {
        let pieces: Vec<String> = pieces.into_iter().collect();
        self.answer_with(move |_| {
            reply(200, streamed(stream::iter(pieces).chain(stream::pending())))
        })
    }

    /// The same, but the stream ends.
    #[must_use]
    pub fn stream_that_ends(self, pieces: impl IntoIterator<Item = String>) -> Self {
        let pieces: Vec<String> = pieces.into_iter().collect();
        self.answer_with(move |_| reply(200, streamed(stream::iter(pieces))))
    }

    /// Answers the next call by a function of its path and query.
    #[must_use]
    pub fn answer_with(self, answer: impl FnOnce(&str) -> Reply + Send + 'static) -> Self {
        self.update(|state| state.answers.push_back(Box::new(answer)));
        self
    }

    /// The paths and queries of all calls so far.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.update(|state| state.calls.clone())
    }

    /// How many answers are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.update(|state| state.answers.len())
    }

    /// A client of this server. Calls beyond the script get 500.
    #[must_use]
    pub fn client(&self) -> Client {
        let script = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let call = request.uri().to_string();
            let answer = script.update(|state| {
                state.calls.push(call.clone());
                state.answers.pop_front()
            });
            let answer = answer.map_or_else(unscripted, |answer| answer(&call));
            async { Ok::<_, Infallible>(answer) }
        });
        Client::new(service, "default")
    }

    fn update<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock())
    }
}

fn streamed(
    pieces: impl Stream<Item = String> + Send + 'static,
) -> UnsyncBoxBody<Bytes, Infallible> {
    let frames = pieces.map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece))));
    StreamBody::new(frames).boxed_unsync()
}

/// An answer of that status.
#[must_use]
pub fn respond(status: u16, json: impl Into<Bytes>) -> Reply {
    reply(status, Full::new(json.into()).boxed_unsync())
}

fn reply(status: u16, body: UnsyncBoxBody<Bytes, Infallible>) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply
}

/// A failure as API servers describe it.
#[must_use]
pub fn status_json(code: u16, reason: &str, message: &str) -> String {
    serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
    .to_string()
}

fn unscripted() -> Reply {
    respond(500, status_json(500, "InternalError", "not in the script"))
}
