//! `POST /validate`: from a review to its answer.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use http::{HeaderValue, StatusCode};
use policy_core::admission::{
    AdmissionVerdict, FailOpenReason, NamedPolicy, Request, Review, admit, answer, answer_fail_open,
};
use policy_core::namespaces::ExcludedNamespaces;
use policy_runtime::endpoints::{Answer, JSON, Posted, TEXT, respond, with_deadline};
use tokio::time::Instant;
use tracing::error;

use crate::policies::Policies;
use crate::publish::Counters;

/// What decides on a request.
#[cfg_attr(not(feature = "testing"), expect(unreachable_pub, reason = "tests have others"))]
pub trait Judge: Send + Sync + 'static {
    /// What the policies of its namespace say of a request.
    fn judge(
        &self,
        request: &Request<'_>,
        policies: &[NamedPolicy],
    ) -> impl Future<Output = AdmissionVerdict> + Send;
}

/// Decides as the platform does, at once.
pub(crate) struct Engine;

impl Judge for Engine {
    async fn judge(&self, request: &Request<'_>, policies: &[NamedPolicy]) -> AdmissionVerdict {
        admit(request, policies)
    }
}

/// Answers reviews.
pub(crate) struct Validator<J> {
    pub(crate) judge: J,
    pub(crate) policies: Policies,
    pub(crate) counters: Counters,
    pub(crate) excluded: ExcludedNamespaces,
    /// Only those with a certificate of the configured CA are answered.
    pub(crate) needs_certificate: bool,
}

/// What came of a request.
pub(crate) enum Outcome {
    Judged(Box<AdmissionVerdict>),
    /// Allowed without a verdict, with the reason and its detail.
    FailOpen(FailOpenReason, String),
}

impl<J: Judge> Validator<J> {
    /// Answers what was posted, whatever it is.
    pub(crate) async fn answer(&self, posted: Posted) -> Answer {
        if self.needs_certificate && !posted.peer.is_verified {
            return self.turn_away(&posted);
        }
        if !is_json(posted.content_type.as_ref()) {
            self.counters.fail_open(FailOpenReason::Unreadable);
            let why = "a review is JSON: Content-Type: application/json\n";
            return respond(StatusCode::UNSUPPORTED_MEDIA_TYPE, TEXT, why);
        }
        let review = match Review::decode(&posted.body) {
            Ok(review) => review,
            Err(why) => {
                self.counters.fail_open(FailOpenReason::Unreadable);
                return respond(StatusCode::BAD_REQUEST, TEXT, format!("{why}\n"));
            }
        };
        let (operation, outcome) = match &review.request {
            Ok(request) => {
                (Some(request.operation), self.decide(&review.uid, request, posted.deadline).await)
            }
            Err(why) => (None, Outcome::FailOpen(FailOpenReason::UnreadableObject, why.clone())),
        };
        let body = match &outcome {
            Outcome::Judged(verdict) => answer(&review.uid, verdict),
            Outcome::FailOpen(reason, detail) => answer_fail_open(&review.uid, *reason, detail),
        };
        self.counters.answered(operation, &outcome, posted.arrived.elapsed());
        respond(StatusCode::OK, JSON, body)
    }

    async fn decide(&self, uid: &str, request: &Request<'_>, deadline: Instant) -> Outcome {
        let policies = self.policies.load();
        let Some(policies) = &*policies else {
            return Outcome::FailOpen(FailOpenReason::NotSynced, String::new());
        };
        if self.excluded.contains(&request.namespace) {
            return Outcome::Judged(Box::default());
        }
        let judged = self.judge.judge(request, policies.of(&request.namespace));
        match with_deadline(deadline, AssertUnwindSafe(judged).catch_unwind()).await {
            Some(Ok(verdict)) => Outcome::Judged(Box::new(verdict)),
            Some(Err(_)) => {
                // The panic has told by itself where it came from.
                error!(uid, "a request was allowed unjudged: judging it panicked");
                Outcome::FailOpen(FailOpenReason::Panic, String::new())
            }
            None => Outcome::FailOpen(FailOpenReason::Deadline, String::new()),
        }
    }

    /// Who does not show the API server's certificate learns nothing of policies.
    fn turn_away(&self, posted: &Posted) -> Answer {
        self.counters.fail_open(FailOpenReason::Unauthenticated);
        let why = match &posted.peer.name {
            Some(name) => format!("the certificate of `{name}` is not one that may ask here\n"),
            None => "only those with a client certificate are answered here\n".to_owned(),
        };
        respond(StatusCode::FORBIDDEN, TEXT, why)
    }
}

/// Whether that is the type of JSON, with whatever parameters.
fn is_json(content_type: Option<&HeaderValue>) -> bool {
    let text = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
