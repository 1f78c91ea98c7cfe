//! `POST /validate`: from an admission review to its answer.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use http::{HeaderValue, StatusCode};
use policy_core::admission::{
    AdmissionVerdict, FailOpenReason, NamedPolicy, Request, Review, admit, answer, answer_fail_open,
};
use policy_core::namespaces::ExcludedNamespaces;
use policy_runtime::endpoints::{Answer, JSON, Posted, respond, text, with_deadline};
use tokio::time::Instant;
use tracing::error;

use crate::metrics::Counters;
use crate::policies::Policies;

/// Decides on requests; tests replace it to cause faults.
#[cfg_attr(not(feature = "testing"), expect(unreachable_pub, reason = "tests have others"))]
pub trait Judge: Send + Sync + 'static {
    /// The verdict of a namespace's policies on a request.
    fn judge(
        &self,
        request: &Request<'_>,
        policies: &[NamedPolicy],
    ) -> impl Future<Output = AdmissionVerdict> + Send;
}

/// The judge of the product.
pub(crate) struct Engine;

impl Judge for Engine {
    async fn judge(&self, request: &Request<'_>, policies: &[NamedPolicy]) -> AdmissionVerdict {
        admit(request, policies)
    }
}

/// Answers admission reviews.
pub(crate) struct Validator<J> {
    pub(crate) judge: J,
    pub(crate) policies: Policies,
    pub(crate) counters: Counters,
    pub(crate) excluded: ExcludedNamespaces,
    /// Whether only clients with a verified certificate are answered.
    pub(crate) needs_certificate: bool,
}

impl<J: Judge> Validator<J> {
    /// Answers a request, whatever its body is.
    pub(crate) async fn answer(&self, posted: Posted) -> Answer {
        if self.needs_certificate && !posted.peer.is_verified {
            // An unverified client must not learn anything about policies.
            let line = match &posted.peer.name {
                Some(name) => format!("the client certificate of `{name}` is not allowed here"),
                None => "a client certificate is required here".to_owned(),
            };
            return self.refuse(FailOpenReason::Unauthenticated, StatusCode::FORBIDDEN, &line);
        }
        if !is_json(posted.content_type.as_ref()) {
            let line = "an AdmissionReview needs Content-Type: application/json";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return self.refuse(FailOpenReason::Unreadable, status, line);
        }
        let review = match Review::decode(&posted.body) {
            Ok(review) => review,
            Err(error) => {
                let status = StatusCode::BAD_REQUEST;
                return self.refuse(FailOpenReason::Unreadable, status, &error.to_string());
            }
        };
        let (operation, verdict, detail) = match &review.request {
            Ok(request) => {
                let verdict = self.decide(&review.uid, request, posted.deadline).await;
                (Some(request.operation), verdict, "")
            }
            Err(reason) => (None, Err(FailOpenReason::UnreadableObject), reason.as_str()),
        };
        let body = match &verdict {
            Ok(verdict) => answer(&review.uid, verdict),
            Err(reason) => answer_fail_open(&review.uid, *reason, detail),
        };
        self.counters.answered(operation, verdict.as_ref(), posted.arrived.elapsed());
        respond(StatusCode::OK, JSON, body)
    }

    async fn decide(
        &self,
        uid: &str,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<AdmissionVerdict, FailOpenReason> {
        let policies = self.policies.load();
        let policies = policies.as_ref().ok_or(FailOpenReason::NotSynced)?;
        if self.excluded.contains(&request.namespace) {
            return Ok(AdmissionVerdict::default());
        }
        let judged = self.judge.judge(request, policies.of(&request.namespace));
        match with_deadline(deadline, AssertUnwindSafe(judged).catch_unwind()).await {
            Some(Ok(verdict)) => Ok(verdict),
            Some(Err(_)) => {
                // The panic hook has logged where.
                error!(uid, "the verdict on a request panicked: the request is allowed");
                Err(FailOpenReason::Panic)
            }
            None => Err(FailOpenReason::Deadline),
        }
    }

    /// An answer by which the API server regards the webhook as failed, and allows the request.
    fn refuse(&self, reason: FailOpenReason, status: StatusCode, line: &str) -> Answer {
        self.counters.fail_open(reason);
        text(status, line)
    }
}

/// Whether the content type is JSON, with any parameters.
fn is_json(content_type: Option<&HeaderValue>) -> bool {
    let text = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
