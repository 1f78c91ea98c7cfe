//! An API server that has one Lease, and the faults that a test asks for.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Instant;

/// What the server does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fault {
    #[default]
    None,
    /// Nothing is ever answered.
    Hangs,
    /// Writes are done and not answered.
    LosesReplies,
    /// Each request gets this status.
    Answers(u16),
    /// Writes get status 403.
    ForbidsWrites,
    /// Nothing listens.
    Refuses,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) lease: Option<Value>,
    pub(super) fault: Fault,
    /// How long a request takes to come, and its answer again.
    pub(super) delay: Duration,
    pub(super) requests: Vec<(Instant, Method)>,
    version: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Server(Arc<Mutex<State>>);

impl Server {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request| server.clone().answer(request));
        Client::new(service, "default")
    }

    /// Stores a Lease as if somebody else had written it.
    pub(super) fn put(&self, spec: &Value) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version.to_string();
        state.lease = Some(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": "lease", "namespace": "ns", "resourceVersion": version,
                "labels": {"app": "x"}, "managedFields": [{"manager": "somebody"}],
            },
            "spec": spec,
        }));
    }

    pub(super) fn set(&self, fault: Fault) {
        self.state().fault = fault;
    }

    pub(super) fn spec(&self, field: &str) -> Value {
        self.state().lease.as_ref().map_or(Value::Null, |lease| lease["spec"][field].clone())
    }

    pub(super) fn count(&self, method: &Method) -> usize {
        self.state().requests.iter().filter(|(_, wanted)| wanted == method).count()
    }

    async fn answer(
        self,
        request: Request<Body>,
    ) -> Result<Response<Full<bytes::Bytes>>, std::io::Error> {
        let delay = {
            let mut state = self.state();
            state.requests.push((Instant::now(), request.method().clone()));
            assert!(state.requests.len() < 10_000, "time stands still for a candidate that spins");
            state.delay
        };
        let leases = "/apis/coordination.k8s.io/v1/namespaces/ns/leases";
        let path = request.uri().path().to_owned();
        match *request.method() {
            Method::POST => assert_eq!(path, leases),
            _ => assert_eq!(path, format!("{leases}/lease")),
        }
        let method = request.method().clone();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        tokio::time::sleep(delay).await;
        let fault = self.state().fault;
        let (status, answer) = match fault {
            Fault::Hangs => std::future::pending().await,
            Fault::Answers(status) => refusal(status, "for a test"),
            Fault::ForbidsWrites if method != Method::GET => refusal(403, "for a test"),
            Fault::Refuses => return Err(std::io::Error::other("nobody listens")),
            _ => self.serve(&method, &body),
        };
        if fault == Fault::LosesReplies && method != Method::GET {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(delay).await;
        let body = serde_json::to_vec(&answer).unwrap();
        Ok(Response::builder().status(status).body(Full::from(body)).unwrap())
    }

    fn serve(&self, method: &Method, body: &[u8]) -> (u16, Value) {
        let mut state = self.state();
        let current =
            state.lease.as_ref().map(|lease| lease["metadata"]["resourceVersion"].clone());
        if *method == Method::GET {
            return match &state.lease {
                Some(lease) => (200, lease.clone()),
                None => refusal(404, "not found"),
            };
        }
        let mut lease: Value = serde_json::from_slice(body).unwrap();
        let based_on = lease["metadata"]["resourceVersion"].clone();
        match (method, current) {
            (&Method::POST, Some(_)) => return refusal(409, "already exists"),
            (&Method::POST, None) => assert_eq!(based_on, Value::Null),
            (&Method::PUT, None) => return refusal(404, "not found"),
            (&Method::PUT, _) if based_on.is_null() => return refusal(422, "no version"),
            (&Method::PUT, Some(current)) if current != based_on => {
                return refusal(409, "the object has been modified");
            }
            (&Method::PUT, _) => {}
            _ => panic!("{method} is not among the rights"),
        }
        state.version += 1;
        lease["metadata"]["resourceVersion"] = state.version.to_string().into();
        state.lease = Some(lease.clone());
        (200, lease)
    }
}

fn refusal(code: u16, message: &str) -> (u16, Value) {
    let answer = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "Test",
        "code": code, "message": message,
    });
    (code, answer)
}
