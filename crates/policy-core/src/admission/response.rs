//! The answer to a review, as JSON.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde::Serialize;
use serde_json::Value;

use super::FAIL_OPEN;
use super::fail_open::FailOpenReason;
use super::verdict::{AdmissionVerdict, WARNING};
use crate::text::excerpt;

/// The capacity for an answer, in bytes. One that allows without warnings is shorter.
const CAPACITY: usize = 256;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AdmissionReview<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    /// The operations as JSON, in Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<ByteString>,
}

#[derive(Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

fn forbidden(message: String) -> Status {
    Status { code: 403, reason: "Forbidden", message }
}

impl<'a> Response<'a> {
    /// That the request is allowed, and nothing else.
    fn allowed(uid: &'a str) -> Self {
        Self {
            uid,
            allowed: true,
            status: None,
            warnings: Vec::new(),
            audit_annotations: BTreeMap::new(),
            patch_type: None,
            patch: None,
        }
    }

    fn into_json(self) -> Vec<u8> {
        let review =
            AdmissionReview { api_version: super::API_VERSION, kind: super::KIND, response: self };
        let mut json = Vec::with_capacity(CAPACITY);
        // Strings and numbers always serialize. An empty body would be allowed by failurePolicy.
        match serde_json::to_writer(&mut json, &review) {
            Ok(()) => json,
            Err(_) => Vec::new(),
        }
    }
}

/// The answer to a request that was judged. A denial has status 403, Forbidden.
#[must_use]
pub fn answer(uid: &str, verdict: &AdmissionVerdict) -> Vec<u8> {
    let status = verdict.message().map(forbidden);
    let (warnings, audit_annotations) = (verdict.warnings(), verdict.annotations());
    let allowed = verdict.is_allowed();
    Response { allowed, status, warnings, audit_annotations, ..Response::allowed(uid) }.into_json()
}

/// Why the object of a request was not judged, where whoever makes requests of the namespace has
/// caused that. To let it in would leave to them whether policies apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelfCaused {
    /// The body is over the limit, both in bytes.
    TooLarge {
        /// The size of the body.
        size: u64,
        /// The largest body that is read.
        limit: u64,
    },
    /// So many large requests of the namespace wait already.
    TooMany {
        /// How many may wait.
        limit: usize,
    },
}

/// The denial of a request whose object was not judged, by a policy that denies such requests, such
/// as `shop/strict`. One that may succeed later has status 429, which clients try again.
#[must_use]
pub fn answer_self_caused(uid: &str, policy: &str, why: SelfCaused) -> Vec<u8> {
    let status = match why {
        SelfCaused::TooLarge { size, limit } => {
            let [size, limit] = [size, limit].map(|bytes| bytes.div_ceil(1 << 20));
            forbidden(format!(
                "denied by policy {policy}: the object is too large to be judged: its \
                 admission review has {size} MiB, and the policy webhook reads {limit} MiB; make \
                 the object smaller, such as its annotations and environment variables"
            ))
        }
        SelfCaused::TooMany { limit } => Status {
            code: 429,
            reason: "TooManyRequests",
            message: format!(
                "denied by policy {policy}: the object cannot be judged now: {limit} \
                 other large requests of the namespace wait; try again later"
            ),
        },
    };
    Response { allowed: false, status: Some(status), ..Response::allowed(uid) }.into_json()
}

/// The answer to a request that could not be judged: allowed, with a warning for the user, and an
/// audit annotation that also has the detail.
#[must_use]
pub fn answer_fail_open(uid: &str, reason: FailOpenReason, detail: &str) -> Vec<u8> {
    let warning = format!("allowed by the policy webhook without a verdict: {reason}");
    let separator = if detail.is_empty() { "" } else { ": " };
    let annotation = reason.annotation(&format!("{reason}{separator}{}", excerpt(detail)));
    Response {
        warnings: vec![WARNING.cut(warning)],
        audit_annotations: BTreeMap::from([(FAIL_OPEN, annotation)]),
        ..Response::allowed(uid)
    }
    .into_json()
}

/// The answer to a request whose object is changed by these operations of a JSON patch.
#[must_use]
pub fn answer_mutation(uid: &str, operations: &[Value]) -> Vec<u8> {
    // Values always serialize. Without operations the object stays as it is.
    let patch = serde_json::to_vec(operations).ok().filter(|_| !operations.is_empty());
    let patch_type = patch.as_ref().map(|_| "JSONPatch");
    Response { patch_type, patch: patch.map(ByteString), ..Response::allowed(uid) }.into_json()
}

/// The answer to a request whose object is not changed, because that could not be decided. Only the
/// audit log says so: nothing is missing that the user has asked for.
#[must_use]
pub fn answer_unchanged(uid: &str, reason: FailOpenReason, detail: &str) -> Vec<u8> {
    let separator = if detail.is_empty() { "" } else { ": " };
    let annotation = reason.annotation(&format!("{reason}{separator}{}", excerpt(detail)));
    let audit_annotations = BTreeMap::from([(FAIL_OPEN, annotation)]);
    Response { audit_annotations, ..Response::allowed(uid) }.into_json()
}
