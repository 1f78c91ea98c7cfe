//! Changing a request: which objects, and by what.

use k8s_openapi::ByteString;

use super::*;
use crate::remediation::Fields;

fn injection() -> Injection {
    let fields = Fields::parse(["web: requests.cpu=100m"]);
    Injection { policy: "production/fill".to_owned(), fields }
}

/// A pod with that controller, and the label of its template.
fn owned(api_version: &str, kind: &str, name: &str) -> Value {
    let mut pod = pod(&[json!({ "name": "web", "image": "nginx:1", "resources": {} })]);
    pod["metadata"]["labels"] = json!({ "pod-template-hash": "abc" });
    pod["metadata"]["ownerReferences"] = json!([
        { "apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "2" },
        { "apiVersion": api_version, "kind": kind, "name": name, "uid": "1", "controller": true },
    ]);
    pod
}

/// The operations, by the compact and the indented text, which are the same; and the workload that
/// was asked for.
fn patch(review: &Value) -> (Result<Vec<Value>, String>, Option<String>) {
    let of = |text: &str| {
        let review = MutationReview::decode(text.as_bytes()).unwrap();
        assert_eq!(review.uid, "705ab4f5-6393-11e8-b7cc-42010a800002");
        let (injection, mut asked) = (injection(), None);
        let patch = review.request.and_then(|request| {
            request.patch(|workload| {
                asked = Some(workload.to_owned());
                (workload == "Deployment/web").then_some(&injection)
            })
        });
        (patch, asked)
    };
    let compact = of(&review.to_string());
    assert_eq!(of(&format!("{review:#}")), compact);
    compact
}

#[test]
fn new_pods_of_a_workload_get_its_fields() {
    let (operations, _) = patch(&create(&owned("apps/v1", "ReplicaSet", "web-abc")));
    let annotations = json!({ "devops.stochastic.io/injected-by": "production/fill",
        "devops.stochastic.io/injected-fields": "web: requests.cpu=100m" });
    assert_eq!(
        operations.unwrap(),
        [
            json!({ "op": "add", "path": "/spec/containers/0/resources",
                "value": { "requests": { "cpu": "100m" } } }),
            json!({ "op": "add", "path": "/metadata/annotations", "value": annotations }),
        ]
    );
    let mut annotated = owned("apps/v1", "ReplicaSet", "web-abc");
    annotated["metadata"]["annotations"] = json!({ "a": "b" });
    let operations = patch(&create(&annotated)).0.unwrap();
    assert_eq!(operations[1]["path"], "/metadata/annotations/devops.stochastic.io~1injected-by");
}

#[test]
fn only_new_pods_of_workloads_that_can_be_remediated_are_asked_for() {
    for (api_version, kind, name, expected) in [
        ("apps/v1", "ReplicaSet", "web-abc", Some("Deployment/web")),
        ("apps/v1", "ReplicaSet", "web", None),
        ("apps/v1", "StatefulSet", "web", Some("StatefulSet/web")),
        ("apps/v1", "DaemonSet", "web", Some("DaemonSet/web")),
        ("apps.kruise.io/v1", "StatefulSet", "web", None),
        ("batch/v1", "Job", "web", None),
        ("v1", "Node", "node-0", None),
        ("v1", "ReplicationController", "web", None),
    ] {
        let review = create(&owned(api_version, kind, name));
        let (operations, asked) = patch(&review);
        assert_eq!(asked.as_deref(), expected, "{api_version} {kind}");
        assert_eq!(operations.unwrap().is_empty(), expected != Some("Deployment/web"));
    }
    let of_workload = create(&owned("apps/v1", "ReplicaSet", "web-abc"));
    for (field, value) in [
        ("operation", json!("UPDATE")),
        ("operation", json!("DELETE")),
        ("subResource", json!("binding")),
        ("kind", json!({ "group": "", "version": "v1", "kind": "Service" })),
    ] {
        let mut review = of_workload.clone();
        review["request"][field] = value;
        assert_eq!(patch(&review), (Ok(Vec::new()), None), "{field}");
    }
    assert_eq!(patch(&create(&pod(&[]))), (Ok(Vec::new()), None), "a bare pod");
}

#[test]
fn a_patched_workload_gives_way() {
    let probe = json!({ "tcpSocket": { "port": 8080 } });
    let web = json!({ "name": "web", "image": "nginx:1", "readinessProbe": probe });
    let mut old = workload("apps/v1", "Deployment", std::slice::from_ref(&web));
    let fields = json!({ "f:spec": { "f:template": { "f:spec": { "f:containers": {
        "k:{\"name\":\"web\"}": { "f:readinessProbe": { "f:tcpSocket": { "f:port": {} } } } } } } } });
    old["metadata"]["managedFields"] =
        json!([{ "manager": "policy-operator", "operation": "Apply", "fieldsV1": fields }]);
    let mut new = old.clone();
    new["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["httpGet"] =
        json!({ "port": 8080 });
    let path = "/spec/template/spec/containers/0/readinessProbe/tcpSocket";
    let expected = vec![json!({ "op": "remove", "path": path })];
    assert_eq!(patch(&update(&old, &new)), (Ok(expected), None));
    assert_eq!(patch(&update(&old, &old)), (Ok(Vec::new()), None));
    assert_eq!(patch(&create(&new)), (Ok(Vec::new()), None), "there is no old object");
}

#[test]
fn what_cannot_be_read_is_not_changed_and_says_why() {
    let mut review = create(&owned("apps/v1", "ReplicaSet", "web-abc"));
    review["request"]["object"]["spec"]["containers"] = json!({});
    let why = patch(&review).0.unwrap_err();
    assert!(why.starts_with("the pod cannot be read: invalid type: map"), "{why}");
    review["request"]["object"] = Value::Null;
    assert_eq!(patch(&review).0.unwrap_err(), "the request has no pod");
    let with = workload("apps/v1", "Deployment", &[]);
    let mut review = update(&with, &with);
    review["request"]["oldObject"] = Value::Null;
    assert_eq!(patch(&review).0.unwrap_err(), "the request has no old object");
    review["request"]["operation"] = json!("PATCH");
    assert_eq!(patch(&review).0.unwrap_err(), "the operation `PATCH` is not known");
    assert!(MutationReview::decode(b"{}").is_err());
}

#[test]
fn an_answer_has_the_patch_in_base64() {
    let response = |answer: &[u8]| -> Value {
        serde_json::from_slice::<Value>(answer).unwrap()["response"].take()
    };
    let operations = [json!({ "op": "remove", "path": "/a" })];
    let answer = response(&answer_mutation("u", &operations));
    assert_eq!((&answer["allowed"], &answer["patchType"]), (&json!(true), &json!("JSONPatch")));
    let ByteString(patch) = serde_json::from_value(answer["patch"].clone()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&patch).unwrap(), json!(operations));
    let unchanged = response(&answer_mutation("u", &[]));
    assert_eq!(unchanged, json!({ "uid": "u", "allowed": true }));
    let failed = response(&answer_unchanged("u", FailOpenReason::Overload, "why"));
    let annotation = "overload: there are too many concurrent requests: why";
    assert_eq!(
        failed,
        json!({ "uid": "u", "allowed": true, "auditAnnotations": { "fail-open": annotation } })
    );
}
