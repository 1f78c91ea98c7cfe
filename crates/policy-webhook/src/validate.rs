//! `POST /validate`: from an admission review to its answer.
//!
//! ```text
//! body ─┬─ small ───── decode ─ judge ──────────────┬─ answer
//!       ├─ large ───── head ─ lane: decode ─ judge ─┤
//!       └─ too large ─ head ────────────────────────┘
//! ```

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderValue, StatusCode};
use policy_core::Timestamp;
use policy_core::admission::{
    AdmissionVerdict, FailOpenReason, NamespacePolicies, Operation, Request, Review, ReviewHead,
    SelfCaused, Undecodable, admit, answer, answer_fail_open, answer_self_caused,
};
use policy_core::namespaces::ExcludedNamespaces;
use policy_runtime::endpoints::{Answer, JSON, Posted, PostedBody, respond, text, with_deadline};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tracing::{debug, error};

use crate::config::{BEGINNING, LARGEST_BODY};
use crate::lane::{Lane, LaneError};
use crate::metrics::Counters;
use crate::policies::Policies;

/// The largest body that is decoded and judged on the threads of the server. It takes them less than
/// a millisecond, and nearly all bodies are smaller.
pub(crate) const SMALL: usize = 64 << 10;

/// Decides on requests; tests replace it to cause faults.
#[cfg_attr(not(feature = "testing"), expect(unreachable_pub, reason = "tests have others"))]
pub trait Judge: Send + Sync + 'static {
    /// The verdict of a namespace's policies on a request, by those that were judged until then.
    fn judge(
        &self,
        request: Request<'_>,
        policies: &NamespacePolicies,
        until: Instant,
    ) -> impl Future<Output = Result<AdmissionVerdict, FailOpenReason>> + Send;
}

/// The judge of the product.
pub(crate) struct Engine;

impl Judge for Engine {
    async fn judge(
        &self,
        request: Request<'_>,
        policies: &NamespacePolicies,
        until: Instant,
    ) -> Result<AdmissionVerdict, FailOpenReason> {
        admit(request, policies, Timestamp::now(), || Instant::now() < until)
    }
}

/// Answers admission reviews.
pub(crate) struct Validator<J> {
    pub(crate) judge: J,
    pub(crate) policies: Policies,
    pub(crate) counters: Counters,
    pub(crate) excluded: ExcludedNamespaces,
    pub(crate) lane: Lane,
    /// Whether only clients with a verified certificate are answered.
    pub(crate) needs_certificate: bool,
}

/// The times of a request.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) arrived: Instant,
    pub(crate) deadline: Instant,
}

/// What is decided on a request.
struct Decided<'a> {
    uid: Cow<'a, str>,
    /// Empty where it cannot be read.
    namespace: Cow<'a, str>,
    /// `None` where it cannot be read.
    operation: Option<Operation>,
    verdict: Result<AdmissionVerdict, FailOpenReason>,
    /// More about the reason of a fail-open.
    detail: String,
}

impl Times {
    pub(crate) fn of(posted: &Posted) -> Self {
        Self { arrived: posted.arrived, deadline: posted.deadline }
    }

    /// When judging has to end: the last tenth is for the answer.
    fn until(self) -> Instant {
        self.deadline - (self.deadline - self.arrived) / 10
    }
}

impl<J: Judge> Validator<J> {
    /// Answers a request, whatever its body is.
    pub(crate) async fn answer(&'static self, posted: Posted) -> Answer {
        if let Some(refusal) = self.refusal(&posted) {
            return refusal;
        }
        let times = Times::of(&posted);
        match posted.body {
            PostedBody::Whole(body) if body.len() <= SMALL => {
                match self.judge(&body, times).await {
                    Ok(decided) => self.conclude(decided, times),
                    Err(undecodable) => self.unreadable(&undecodable),
                }
            }
            PostedBody::Whole(body) => self.answer_in_turn(body, times).await,
            PostedBody::TooLarge { beginning, size } => {
                self.answer_by_head(&beginning, size, times)
            }
        }
    }

    /// The answer to a request whose body is not to be read.
    pub(crate) fn refusal(&self, posted: &Posted) -> Option<Answer> {
        if self.needs_certificate && !posted.peer.is_verified {
            // An unverified client must not learn anything about policies.
            let line = match &posted.peer.name {
                Some(name) => format!("the client certificate of `{name}` is not allowed here"),
                None => "a client certificate is required here".to_owned(),
            };
            let status = StatusCode::FORBIDDEN;
            return Some(self.refuse(FailOpenReason::Unauthenticated, status, &line));
        }
        if !is_json(posted.content_type.as_ref()) {
            let line = "an AdmissionReview needs Content-Type: application/json";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Some(self.refuse(FailOpenReason::Unreadable, status, line));
        }
        None
    }

    /// Decodes and judges.
    async fn judge<'a>(&self, body: &'a [u8], times: Times) -> Result<Decided<'a>, Undecodable> {
        let Review { uid, request } = Review::decode(body)?;
        Ok(match request {
            Ok(request) => {
                let (namespace, operation) = (request.namespace.clone(), Some(request.operation));
                let verdict = self.decide(&uid, request, times).await;
                Decided { uid, namespace, operation, verdict, detail: String::new() }
            }
            Err(detail) => {
                let verdict = Err(FailOpenReason::UnreadableObject);
                Decided { uid, namespace: Cow::Borrowed(""), operation: None, verdict, detail }
            }
        })
    }

    async fn decide(
        &self,
        uid: &str,
        request: Request<'_>,
        times: Times,
    ) -> Result<AdmissionVerdict, FailOpenReason> {
        let policies = self.policies.load();
        let policies = policies.as_ref().ok_or(FailOpenReason::NotSynced)?;
        if self.excluded.contains(&request.namespace) {
            return Ok(AdmissionVerdict::default());
        }
        let policies = policies.of(&request.namespace);
        let judged = self.judge.judge(request, &policies, times.until());
        match with_deadline(times.deadline, AssertUnwindSafe(judged).catch_unwind()).await {
            Some(Ok(verdict)) => verdict,
            Some(Err(_)) => {
                // The panic hook has logged where.
                error!(uid, "the verdict on a request panicked: the request is allowed");
                Err(FailOpenReason::Panic)
            }
            None => Err(FailOpenReason::Deadline),
        }
    }

    /// Answers a large request when it is the turn of its namespace.
    async fn answer_in_turn(&'static self, body: Bytes, times: Times) -> Answer {
        let head = ReviewHead::read(body.get(..BEGINNING).unwrap_or(&body));
        if let Some(head) = &head
            && let Some(verdict) = self.verdict_by_head(head)
        {
            return self.conclude(Decided::of(head, verdict), times);
        }
        let namespace = head.as_ref().map(|head| &*head.namespace).unwrap_or_default();
        let work = {
            let body = body.clone();
            // The judge of a test may wait.
            let judge = async move || self.judge(&body, times).await.map(Decided::into_owned);
            move || Handle::current().block_on(judge())
        };
        let worked = self.lane.run(namespace, work);
        let reason = match with_deadline(times.deadline, worked).await {
            Some(Ok(Ok(decided))) => return self.conclude(decided, times),
            Some(Ok(Err(undecodable))) => return self.unreadable(&undecodable),
            Some(Err(LaneError::NamespaceFull { limit })) => {
                let why = SelfCaused::TooMany { limit };
                if let Some(denial) = head.as_ref().and_then(|head| self.deny(head, why, times)) {
                    return denial;
                }
                FailOpenReason::Overload
            }
            Some(Err(LaneError::Full)) => FailOpenReason::Overload,
            Some(Err(LaneError::Panicked)) => FailOpenReason::Panic,
            None => FailOpenReason::Deadline,
        };
        match &head {
            Some(head) => self.conclude(Decided::of(head, Err(reason)), times),
            None => self.refuse(reason, StatusCode::SERVICE_UNAVAILABLE, &reason.to_string()),
        }
    }

    /// Answers a request of which only the beginning was read. Whoever made it so large would
    /// otherwise decide that it is not judged.
    fn answer_by_head(&self, beginning: &[u8], size: u64, times: Times) -> Answer {
        let Some(head) = ReviewHead::read(beginning) else {
            let line = "the body is too large";
            return self.refuse(FailOpenReason::TooLarge, StatusCode::PAYLOAD_TOO_LARGE, line);
        };
        if let Some(verdict) = self.verdict_by_head(&head) {
            return self.conclude(Decided::of(&head, verdict), times);
        }
        let why = SelfCaused::TooLarge { size, limit: LARGEST_BODY as u64 };
        self.deny(&head, why, times).unwrap_or_else(|| {
            let detail = format!("its review has {size} bytes");
            let verdict = Err(FailOpenReason::TooLarge);
            self.conclude(Decided { detail, ..Decided::of(&head, verdict) }, times)
        })
    }

    /// Denies a request whose object was not judged, where a policy would deny such a request.
    fn deny(&self, head: &ReviewHead<'_>, why: SelfCaused, times: Times) -> Option<Answer> {
        let policies = self.policies.load();
        let policies = policies.as_ref()?.of(&head.namespace);
        let policy = &head.deniable_by(&policies.judged)?.name;
        self.counters.denied_unread(head.operation, times.arrived.elapsed());
        debug!(
            uid = &*head.uid,
            namespace = &*head.namespace,
            operation = head.operation.as_str(),
            decision = "denied",
            policies = policy.to_string(),
            "the object was not read"
        );
        let denied_by = &policy.qualified(&head.namespace);
        Some(respond(StatusCode::OK, JSON, answer_self_caused(&head.uid, denied_by, why)))
    }

    /// The verdict on a request that does not depend on its object.
    fn verdict_by_head(
        &self,
        head: &ReviewHead<'_>,
    ) -> Option<Result<AdmissionVerdict, FailOpenReason>> {
        let policies = self.policies.load();
        let Some(policies) = policies.as_ref() else {
            return Some(Err(FailOpenReason::NotSynced));
        };
        let is_judged = head.judged_kind().is_some()
            && !self.excluded.contains(&head.namespace)
            && !policies.of(&head.namespace).judged.is_empty();
        (!is_judged).then(|| Ok(AdmissionVerdict::default()))
    }

    /// The answer to a request that has a uid. One that is late is not counted as judged: the API
    /// server may have given up.
    fn conclude(&self, decided: Decided<'_>, times: Times) -> Answer {
        let Decided { uid, namespace, operation, verdict, detail } = decided;
        let now = Instant::now();
        let is_late = now > times.deadline;
        let verdict = if is_late { verdict.and(Err(FailOpenReason::Deadline)) } else { verdict };
        self.counters.answered(operation, verdict.as_ref(), now - times.arrived);
        debug!(
            uid = &*uid,
            namespace = &*namespace,
            operation = operation.map(Operation::as_str),
            decision = decision(&verdict),
            policies = policies(&verdict),
            "{}",
            reason(&verdict)
        );
        let body = match &verdict {
            Ok(verdict) => answer(&uid, verdict),
            Err(reason) => answer_fail_open(&uid, *reason, &detail),
        };
        respond(StatusCode::OK, JSON, body)
    }

    pub(crate) fn unreadable(&self, undecodable: &Undecodable) -> Answer {
        let status = StatusCode::BAD_REQUEST;
        self.refuse(FailOpenReason::Unreadable, status, &undecodable.to_string())
    }

    /// An answer by which the API server regards the webhook as failed, and allows the request.
    pub(crate) fn refuse(&self, reason: FailOpenReason, status: StatusCode, line: &str) -> Answer {
        self.counters.fail_open(reason);
        text(status, line)
    }
}

impl<'a> Decided<'a> {
    fn of(head: &ReviewHead<'a>, verdict: Result<AdmissionVerdict, FailOpenReason>) -> Self {
        let (uid, namespace) = (head.uid.clone(), head.namespace.clone());
        Self { uid, namespace, operation: Some(head.operation), verdict, detail: String::new() }
    }

    fn into_owned(self) -> Decided<'static> {
        let Self { uid, namespace, operation, verdict, detail } = self;
        let [uid, namespace] = [uid, namespace].map(|text| Cow::Owned(text.into_owned()));
        Decided { uid, namespace, operation, verdict, detail }
    }
}

/// A verdict for the log, in one word.
fn decision(verdict: &Result<AdmissionVerdict, FailOpenReason>) -> &'static str {
    match verdict {
        Ok(verdict) if verdict.is_allowed() => "allowed",
        Ok(_) => "denied",
        Err(_) => "allowed without a verdict",
    }
}

/// The names of the policies that decided, separated by commas.
fn policies(verdict: &Result<AdmissionVerdict, FailOpenReason>) -> Option<String> {
    let verdict = verdict.as_ref().ok()?;
    let names: Vec<String> =
        verdict.deciding_policies().into_iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| names.join(","))
}

/// What the caller is told.
fn reason(verdict: &Result<AdmissionVerdict, FailOpenReason>) -> String {
    match verdict {
        Ok(verdict) => verdict.message().unwrap_or_else(|| verdict.warnings().join("; ")),
        Err(reason) => reason.to_string(),
    }
}

/// Whether the content type is JSON, with any parameters.
fn is_json(content_type: Option<&HeaderValue>) -> bool {
    let text = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests;
