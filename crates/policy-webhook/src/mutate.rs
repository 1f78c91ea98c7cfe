//! `POST /mutate`: from an admission review to a change of its object.
//!
//! It fails open as `/validate` does: whatever goes wrong, the object stays as it is.

use bytes::Bytes;
use http::StatusCode;
use policy_core::admission::{
    FailOpenReason, MutationReview, Operation, ReviewHead, Undecodable, answer_mutation,
    answer_unchanged,
};
use policy_runtime::endpoints::{Answer, JSON, Posted, PostedBody, respond, with_deadline};
use serde_json::Value;
use tokio::time::Instant;

use crate::config::BEGINNING;
use crate::lane::LaneError;
use crate::validate::{Judge, SMALL, Times, Validator};

/// The largest body whose object is changed. Objects are decoded whole here, which takes a multiple
/// of their size, and nearly all reviews have a few kilobytes.
const LARGEST: usize = 512 << 10;

/// What is changed by a request.
struct Mutated {
    uid: String,
    /// `None` where it cannot be read.
    operation: Option<Operation>,
    /// The operations of the JSON patch, or why there are none.
    patch: Result<Vec<Value>, FailOpenReason>,
    /// More about that reason.
    detail: String,
}

impl Mutated {
    fn failed(head: &ReviewHead<'_>, reason: FailOpenReason, detail: String) -> Self {
        let (uid, operation) = (head.uid.clone().into_owned(), Some(head.operation));
        Self { uid, operation, patch: Err(reason), detail }
    }
}

impl<J: Judge> Validator<J> {
    /// Answers a request, whatever its body is.
    pub(crate) async fn mutate(&'static self, posted: Posted) -> Answer {
        if let Some(refusal) = self.refusal(&posted) {
            return refusal;
        }
        let times = Times::of(&posted);
        match posted.body {
            PostedBody::Whole(body) if body.len() <= SMALL => match self.mutated(&body) {
                Ok(mutated) => self.conclude_mutation(mutated, times),
                Err(undecodable) => self.unreadable(&undecodable),
            },
            PostedBody::Whole(body) if body.len() <= LARGEST => {
                self.mutate_in_turn(body, times).await
            }
            PostedBody::Whole(body) => {
                let size = body.len() as u64;
                self.leave_large(body.get(..BEGINNING).unwrap_or(&body), size, times)
            }
            PostedBody::TooLarge { beginning, size } => self.leave_large(&beginning, size, times),
        }
    }

    /// Decodes and decides.
    fn mutated(&self, body: &[u8]) -> Result<Mutated, Undecodable> {
        let MutationReview { uid, request } = MutationReview::decode(body)?;
        let uid = uid.into_owned();
        let unreadable = FailOpenReason::UnreadableObject;
        let request = match request {
            Ok(request) => request,
            Err(detail) => {
                return Ok(Mutated { uid, operation: None, patch: Err(unreadable), detail });
            }
        };
        let operation = Some(request.operation);
        let policies = self.policies.load();
        let Some(policies) = policies.as_ref() else {
            let patch = Err(FailOpenReason::NotSynced);
            return Ok(Mutated { uid, operation, patch, detail: String::new() });
        };
        let patch = if self.excluded.contains(&request.namespace) {
            Ok(Vec::new())
        } else {
            request.patch(|workload| policies.injection(&request.namespace, workload))
        };
        Ok(match patch {
            Ok(patch) => Mutated { uid, operation, patch: Ok(patch), detail: String::new() },
            Err(detail) => Mutated { uid, operation, patch: Err(unreadable), detail },
        })
    }

    /// Changes a large object when it is the turn of its namespace.
    async fn mutate_in_turn(&'static self, body: Bytes, times: Times) -> Answer {
        let head = ReviewHead::read(body.get(..BEGINNING).unwrap_or(&body));
        let namespace = head.as_ref().map(|head| &*head.namespace).unwrap_or_default();
        let work = {
            let body = body.clone();
            move || self.mutated(&body)
        };
        let worked = self.lane.run(namespace, work);
        let reason = match with_deadline(times.deadline, worked).await {
            Some(Ok(Ok(mutated))) => return self.conclude_mutation(mutated, times),
            Some(Ok(Err(undecodable))) => return self.unreadable(&undecodable),
            Some(Err(LaneError::NamespaceFull { .. } | LaneError::Full)) => {
                FailOpenReason::Overload
            }
            Some(Err(LaneError::Panicked)) => FailOpenReason::Panic,
            None => FailOpenReason::Deadline,
        };
        match &head {
            Some(head) => {
                self.conclude_mutation(Mutated::failed(head, reason, String::new()), times)
            }
            None => self.refuse(reason, StatusCode::SERVICE_UNAVAILABLE, &reason.to_string()),
        }
    }

    /// Answers a request whose object is too large to be changed.
    fn leave_large(&self, beginning: &[u8], size: u64, times: Times) -> Answer {
        let reason = FailOpenReason::TooLarge;
        match ReviewHead::read(beginning) {
            Some(head) => {
                let detail = format!("its review has {size} bytes");
                self.conclude_mutation(Mutated::failed(&head, reason, detail), times)
            }
            None => self.refuse(reason, StatusCode::PAYLOAD_TOO_LARGE, &reason.to_string()),
        }
    }

    fn conclude_mutation(&self, mutated: Mutated, times: Times) -> Answer {
        let Mutated { uid, operation, patch, detail } = mutated;
        let now = Instant::now();
        let is_late = now > times.deadline;
        let patch = if is_late { patch.and(Err(FailOpenReason::Deadline)) } else { patch };
        let is_changed = patch.as_ref().map(|patch| !patch.is_empty()).map_err(|reason| *reason);
        self.counters.mutated(operation, is_changed, now - times.arrived);
        let body = match &patch {
            Ok(patch) => answer_mutation(&uid, patch),
            Err(reason) => answer_unchanged(&uid, *reason, &detail),
        };
        respond(StatusCode::OK, JSON, body)
    }
}
