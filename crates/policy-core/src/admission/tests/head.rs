use super::*;
use crate::workload::ObjectKind;

/// The creation of a pod, as the API server of Kubernetes 1.36 sent it.
const FROM_API_SERVER: &[u8] = include_bytes!("../compact/review.json");

#[test]
fn the_head_is_read_from_what_the_api_server_sends() {
    let head = ReviewHead::read(FROM_API_SERVER).unwrap();
    let Review { uid, request } = Review::decode(FROM_API_SERVER).unwrap();
    let request = request.unwrap();
    assert_eq!(head.uid, uid);
    assert_eq!((head.kind, head.operation), (Some(ObjectKind::Pod), Operation::Create));
    assert_eq!((&head.namespace, &head.user), (&request.namespace, &request.user));
    assert!(!head.namespace.is_empty() && !head.user.is_empty());
}

#[test]
fn a_head_that_is_cut_anywhere_says_all_or_nothing() {
    let whole = ReviewHead::read(FROM_API_SERVER).unwrap();
    let object = memchr::memmem::find(FROM_API_SERVER, b",\"object\":").unwrap();
    let operation = memchr::memmem::find(FROM_API_SERVER, b",\"userInfo\":").unwrap();
    for cut in 0..FROM_API_SERVER.len() {
        let head = ReviewHead::read(&FROM_API_SERVER[..cut]);
        if cut < operation {
            // A text that ends with its quotes is whole.
            assert!(head.is_none_or(|head| head.operation == whole.operation), "{cut}");
        } else if cut < object {
            let expected = ReviewHead { user: "".into(), ..whole.clone() };
            assert_eq!(head, Some(expected), "{cut}");
        } else {
            assert_eq!(head.as_ref(), Some(&whole), "{cut}");
        }
    }
}

#[test]
fn a_user_cannot_disguise_the_object() {
    let text = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u",
        "kind":{"group":"apps","version":"v1","kind":"Deployment"},"subResource":"","namespace":"shop",
        "operation":"UPDATE","userInfo":{"username":"ann","groups":["a"],
        "extra":{"a":["x"],"object":["{"],"uid":["v"],"namespace":["free"]}},"object":{"uid":7,"#;
    let head = ReviewHead::read(text.as_bytes()).unwrap();
    assert_eq!((&*head.uid, &*head.namespace, &*head.user), ("u", "shop", "ann"));
    assert_eq!(head.judged_kind(), Some(ObjectKind::Deployment));
}

#[test]
fn without_uid_operation_and_type_there_is_no_head() {
    let head = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u","operation":"CREATE","object":"#;
    assert!(ReviewHead::read(head.as_bytes()).is_some());
    for (part, other) in [
        ("AdmissionReview", "Review"),
        ("k8s.io/v1", "k8s.io/v1beta1"),
        (r#""u""#, r#""""#),
        (r#""u""#, "null"),
        (r#""u""#, "7"),
        ("CREATE", "PATCH"),
        (r#""operation""#, r#""object":{},"operation""#),
    ] {
        let changed = head.replacen(part, other, 1);
        assert_eq!(ReviewHead::read(changed.as_bytes()), None, "{changed}");
    }
    assert_eq!(ReviewHead::read(b""), None);
    assert_eq!(ReviewHead::read(b"[[[["), None);
}

#[test]
fn only_a_policy_that_denies_such_requests_denies_one_by_its_head() {
    let named = |name: &str, spec: Value| policy(name, spec);
    let severe = json!({ "latestTag": "critical", "missingResources": "critical" });
    let warns = named(
        "warns",
        json!({ "forbidLatestTag": true, "severityOverrides": severe, "admission": { "mode": "warn" } }),
    );
    let disabled = named(
        "disabled",
        json!({ "forbidLatestTag": true, "severityOverrides": severe, "admission": { "mode": "disabled" } }),
    );
    let lenient = named("lenient", json!({ "forbidLatestTag": true }));
    let running = named(
        "running",
        json!({ "maxRestartCount": 1, "severityOverrides": { "highRestarts": "critical" } }),
    );
    let resources =
        named("resources", json!({ "requireResources": true, "severityOverrides": severe }));
    let invalid = NamedPolicy { name: "invalid".into(), rules: Err("odd".into()) };
    let others = [invalid, warns, disabled, lenient, running];
    let denies = |kind: ObjectKind, user: &str, policies: &[NamedPolicy]| {
        let head = ReviewHead {
            uid: "u".into(),
            operation: Operation::Create,
            kind: Some(kind),
            subresource: "".into(),
            namespace: "shop".into(),
            user: user.into(),
        };
        head.deniable_by(policies).map(|policy| policy.name.to_string())
    };
    assert_eq!(denies(ObjectKind::Pod, ANN, &others), None);
    let with = |policy: NamedPolicy| [others.as_slice(), &[policy]].concat();
    assert_eq!(denies(ObjectKind::Pod, ANN, &with(strict())).as_deref(), Some("strict"));
    assert_eq!(denies(ObjectKind::Deployment, ANN, &with(strict())).as_deref(), Some("strict"));
    assert_eq!(denies(ObjectKind::Pod, REPLICA_SETS, &with(strict())), None, "a controller");
    assert_eq!(
        denies(ObjectKind::Pod, ANN, &with(resources.clone())).as_deref(),
        Some("resources")
    );
    assert_eq!(denies(ObjectKind::Deployment, ANN, &with(resources)), None, "a LimitRange may");
    assert_eq!(denies(ObjectKind::Pod, "system:node:a", &with(strict())), None, "a kubelet");
    let status =
        ReviewHead { subresource: "status".into(), ..ReviewHead::read(FROM_API_SERVER).unwrap() };
    assert!(status.deniable_by(&[strict()]).is_none());
}

#[test]
fn the_denial_of_a_large_object_says_why_and_what_to_do() {
    let text = answer_self_caused(
        "u",
        "shop/strict",
        SelfCaused::TooLarge { size: 25 << 20, limit: 19 << 20 },
    );
    let answer: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(
        answer["response"],
        json!({ "uid": "u", "allowed": false, "status": { "code": 403, "reason": "Forbidden",
            "message": "denied by policy shop/strict: the object is too large to be judged: its \
                admission review has 25 MiB, and the policy webhook reads 19 MiB; make the object \
                smaller, such as its annotations and environment variables" } })
    );
}
