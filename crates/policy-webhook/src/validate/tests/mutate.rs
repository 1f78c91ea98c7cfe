//! Changes at `/mutate`, whatever the body is.

use k8s_openapi::ByteString;

use super::*;

/// The review of a new pod of the Deployment `web`, with so many bytes of an annotation.
fn pod_of_web(namespace: &str, padding: usize) -> PostedBody {
    let owner = r#"{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-abc","uid":"1","controller":true}"#;
    let metadata = format!(
        r#""labels":{{"pod-template-hash":"abc"}},"ownerReferences":[{owner}],"annotations""#
    );
    let PostedBody::Whole(review) = whole(namespace, padding) else { unreachable!() };
    let review = String::from_utf8(review.to_vec()).unwrap();
    PostedBody::Whole(review.replace(r#""annotations""#, &metadata).into())
}

fn enforcing(namespace: &str) -> PolicyView {
    let workload = json!({ "workload": "Deployment/web", "state": "Injecting",
        "since": "2026-01-01T00:00:00Z", "fields": ["web: requests.cpu=100m"] });
    let policy = json!({
        "metadata": { "namespace": namespace, "name": "fill" },
        "spec": { "enforcementMode": "enforce" },
        "status": { "remediation": { "workloads": [workload] } },
    });
    serde_json::from_value(policy).unwrap()
}

fn tested() -> Tested<Engine> {
    let mut tested = Tested::synced(Engine);
    for namespace in ["shop", "sandbox"] {
        tested.sink.applied(enforcing(namespace));
    }
    tested
}

impl<J: Judge> Tested<J> {
    async fn mutate(&self, body: PostedBody) -> (u16, Value) {
        let answer = self.validator.mutate(posted(body, DEADLINE)).await;
        let (status, body) = read(answer).await;
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        (status, body["response"].clone())
    }
}

fn paths(answer: &Value) -> Vec<String> {
    if answer["patch"].is_null() {
        return Vec::new();
    }
    let ByteString(patch) = serde_json::from_value(answer["patch"].clone()).unwrap();
    let patch: Vec<Value> = serde_json::from_slice(&patch).unwrap();
    patch.iter().map(|operation| operation["path"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn pods_of_a_listed_workload_are_filled_in_whatever_their_size() {
    let tested = tested();
    for (body, is_changed) in [
        (pod_of_web("shop", 0), true),
        (pod_of_web("shop", LARGE), true),
        (pod_of_web("free", 0), false),
        (pod_of_web("sandbox", 0), false),
        (whole("shop", 0), false),
    ] {
        let (status, answer) = tested.mutate(body).await;
        assert_eq!((status, &answer["allowed"]), (200, &json!(true)));
        assert!(answer["auditAnnotations"].is_null(), "{answer}");
        assert_eq!(!paths(&answer).is_empty(), is_changed, "{answer}");
        if is_changed {
            assert_eq!(paths(&answer)[0], "/spec/containers/0/resources");
        }
    }
    let counted = |decision: &str| {
        tested.counted(&format!(
            r#"webhook_requests_total{{operation="create",decision="{decision}"}}"#
        ))
    };
    assert_eq!((counted("mutated"), counted("unchanged")), (2, 3));
}

#[tokio::test]
async fn what_cannot_be_decided_leaves_the_object_and_is_counted() {
    let tested = tested();
    let PostedBody::Whole(huge) = pod_of_web("shop", 600 << 10) else { unreachable!() };
    let beginning = huge.slice(..700);
    for body in [PostedBody::Whole(huge), PostedBody::TooLarge { beginning, size: 25 << 20 }] {
        let (status, answer) = tested.mutate(body).await;
        assert_eq!((status, &answer["allowed"]), (200, &json!(true)));
        let why = answer["auditAnnotations"]["fail-open"].as_str().unwrap();
        assert!(why.starts_with("too_large: "), "{why}");
        assert!(answer["patch"].is_null() && answer["warnings"].is_null(), "{answer}");
    }
    assert_eq!(tested.counted(r#"webhook_failopen_total{reason="too_large"}"#), 2);
    let (status, _) = tested.mutate(PostedBody::Whole("{}".into())).await;
    assert_eq!(status, 400);
    let unsynced = Tested::new(Engine);
    let (_, answer) = unsynced.mutate(pod_of_web("shop", 0)).await;
    assert!(answer["patch"].is_null(), "{answer}");
    assert_eq!(unsynced.counted(r#"webhook_failopen_total{reason="not_synced"}"#), 1);
}
