//! A review from bytes to answer, for fuzzing.

use std::sync::{Arc, LazyLock};

use super::{
    FailOpenReason, Injection, MutationReview, NamedPolicy, NamespacePolicies, Review, ReviewHead,
    admit, answer, answer_fail_open, answer_mutation, answer_unchanged,
};
use crate::Timestamp;
use crate::policy::{CompiledPolicy, default_profile_spec};
use crate::remediation::Fields;

/// A policy that denies what it can, one that warns, and one that is invalid.
static POLICIES: LazyLock<NamespacePolicies> = LazyLock::new(|| {
    let strict = || {
        let mut spec = default_profile_spec();
        spec.admission.get_or_insert_default().deny_severity = crate::severity::Severity::Low;
        CompiledPolicy::compile(&spec).map(Arc::new).map_err(|_| "not reached".to_owned())
    };
    let named = |name: &str, rules| NamedPolicy { name: name.into(), rules };
    let judged = vec![
        named("strict", strict()),
        named("profile", Ok(Arc::new(CompiledPolicy::default_profile()))),
        named("bad", Err("spec.x: \u{1b}odd\n".repeat(99))),
    ];
    NamespacePolicies { judged, excess: 9, ..NamespacePolicies::default() }
});

/// What is filled in for every workload.
static INJECTION: LazyLock<Injection> = LazyLock::new(|| Injection {
    policy: "shop/fill".to_owned(),
    fields: Fields::parse([
        "web: readinessProbe=tcp:80,delay=5,period=10,failures=3 requests.cpu=1 limits.memory=1Gi",
    ]),
});

/// Decodes the bytes, decides and answers. Asserts that every answer is JSON, within its limits, and
/// of printable lines, that an update to itself is allowed, and that the head of a review says
/// nothing else than the review. The same for a change of the object.
///
/// # Panics
/// When any of that does not hold.
pub fn fuzz(body: &[u8]) {
    let head = ReviewHead::read(body);
    if let Ok(MutationReview { uid, request }) = MutationReview::decode(body) {
        let patch = request.and_then(|request| request.patch(|_| Some(&*INJECTION)));
        match patch {
            Ok(patch) => check(&answer_mutation(&uid, &patch), &uid),
            Err(why) => {
                check(&answer_unchanged(&uid, FailOpenReason::UnreadableObject, &why), &uid);
            }
        }
    }
    let Ok(Review { uid, request }) = Review::decode(body) else { return };
    let request = match request {
        Ok(request) => request,
        Err(why) => {
            return check(&answer_fail_open(&uid, FailOpenReason::UnreadableObject, &why), &uid);
        }
    };
    if let Some(head) = head {
        assert_eq!(head.uid, uid);
        // What comes after the object is missing in the head.
        let is_said = |head: &str, review: &str| head.is_empty() || head == review;
        assert!(is_said(&head.namespace, &request.namespace), "{}", head.namespace);
        assert!(is_said(&head.user, &request.user), "{}", head.user);
    }
    let judge =
        |request| admit(request, &POLICIES, Timestamp::UNIX_EPOCH, || true).unwrap_or_default();
    let verdict = judge(request.clone());
    check(&answer(&uid, &verdict), &uid);
    let message = verdict.message().unwrap_or_default();
    assert_eq!(message.is_empty(), verdict.is_allowed());
    assert!(message.len() <= 2048 && message.lines().count() <= 11, "{message}");
    let mut again = request;
    again.operation = super::Operation::Update;
    again.old_spec.clone_from(&again.spec);
    assert_eq!(judge(again).counts().count(), 0, "an update to itself");
}

fn check(answer: &[u8], uid: &str) {
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let response = &answer["response"];
    assert_eq!(response["uid"], uid);
    let texts = |part: &str| {
        let texts = response[part].as_array().into_iter().flatten();
        let named = response[part].as_object().into_iter().flat_map(|map| map.values());
        texts.chain(named).map(|text| text.as_str().unwrap_or_default().to_owned())
    };
    assert!(texts("warnings").all(|text| text.chars().count() <= 120 && text.len() <= 256));
    assert!(texts("warnings").map(|text| text.len()).sum::<usize>() <= 4096);
    assert!(texts("auditAnnotations").all(|text| text.len() <= 1024));
    let message = response["status"]["message"].as_str().unwrap_or_default().to_owned();
    let lines = message.lines().map(str::to_owned);
    let is_plain = |text: String| !text.contains(char::is_control);
    assert!(texts("warnings").chain(texts("auditAnnotations")).chain(lines).all(is_plain));
}
