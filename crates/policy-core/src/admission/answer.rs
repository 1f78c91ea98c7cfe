//! The answer as the API server reads it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

use super::line::Line;
use super::verdict::{ANNOTATION, WARNING};
use super::{Doubt, IN_DOUBT, Verdict};

/// An answer that allows takes less, in bytes.
const USUAL: usize = 256;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
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
}

#[derive(Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

impl Response<'_> {
    fn written(self) -> Vec<u8> {
        let answer =
            Answer { api_version: "admission.k8s.io/v1", kind: "AdmissionReview", response: self };
        let mut written = Vec::with_capacity(USUAL);
        // Texts and numbers can always be written; an empty body would be let in as well.
        match serde_json::to_writer(&mut written, &answer) {
            Ok(()) => written,
            Err(_) => Vec::new(),
        }
    }
}

/// The answer to a request that was judged, as JSON. A denial has status 403, Forbidden.
#[must_use]
pub fn answer(uid: &str, verdict: &Verdict) -> Vec<u8> {
    let status =
        verdict.message().map(|message| Status { code: 403, reason: "Forbidden", message });
    let (warnings, audit_annotations) = (verdict.warnings(), verdict.annotations());
    let allowed = verdict.is_allowed();
    Response { uid, allowed, status, warnings, audit_annotations }.written()
}

/// The answer to a request that could not be judged, as JSON: allowed, with a warning for the
/// user, and for the audit log an annotation that has the detail as well.
#[must_use]
pub fn answer_in_doubt(uid: &str, doubt: Doubt, detail: &str) -> Vec<u8> {
    let warning = format!("let in by the policy webhook without a verdict: {doubt}");
    let separator = if detail.is_empty() { "" } else { ": " };
    let annotation = in_doubt(doubt, &format!("{doubt}{separator}{}", super::line::part(detail)));
    Response {
        uid,
        allowed: true,
        status: None,
        warnings: vec![WARNING.cut(warning.into())],
        audit_annotations: BTreeMap::from([(IN_DOUBT, annotation)]),
    }
    .written()
}

/// The value of the annotation: the metric's reason, then words.
pub(super) fn in_doubt(doubt: Doubt, words: &str) -> String {
    let line = Line { characters: ANNOTATION.bytes, bytes: ANNOTATION.bytes };
    line.cut(Cow::Owned(format!("{}: {words}", doubt.as_str())))
}
