use super::*;
use crate::workload::ObjectKind;

/// What is read, as its text is there for as long as the test.
fn read(review: &Value) -> Result<Review<'static>, Undecodable> {
    Review::decode(review.to_string().leak().as_bytes())
}

/// Why the request of the review cannot be read.
fn why(review: &Value) -> String {
    let review = read(review).unwrap();
    assert_eq!(review.uid, "705ab4f5-6393-11e8-b7cc-42010a800002");
    review.request.unwrap_err()
}

#[test]
fn a_request_is_read_as_it_was_sent() {
    let review = create(&workload("apps/v1", "Deployment", &[container("web", "nginx")]));
    let request = read(&review).unwrap().request.unwrap();
    assert_eq!(request.operation, Operation::Create);
    assert_eq!(request.kind, Some(ObjectKind::Deployment));
    assert_eq!((&*request.namespace, &*request.user), ("production", ANN));
    assert!(request.subresource.is_empty() && request.old_spec.is_none());
    assert_eq!(request.spec.unwrap().template.unwrap().spec.containers.len(), 1);
}

#[test]
fn the_kind_is_the_one_that_was_converted_to() {
    let mut review = create(&workload("apps/v1", "Deployment", &[container("web", "nginx")]));
    review["request"]["requestKind"] =
        json!({ "group": "extensions", "version": "v1beta1", "kind": "Deployment" });
    assert!(!verdict(&review, &[strict()]).is_allowed());
    review["request"]["kind"]["group"] = json!("example.com");
    assert_eq!(read(&review).unwrap().request.unwrap().kind, None);
}

#[test]
fn a_review_without_uid_cannot_be_answered() {
    let good = create(&pod(&[]));
    let with = |pointer: &str, value: Value| {
        let mut review = good.clone();
        *review.pointer_mut(pointer).unwrap() = value;
        read(&review).unwrap_err().to_string()
    };
    let no_uid = "the AdmissionReview has no request.uid to answer to";
    assert_eq!(with("/request/uid", json!("")), no_uid);
    assert_eq!(with("/request/uid", Value::Null), no_uid);
    assert_eq!(with("/request", Value::Null), no_uid);
    assert!(
        with("/request/uid", json!(7))
            .starts_with("the body cannot be read as an AdmissionReview: ")
    );
    assert_eq!(
        with("/kind", json!("Pod\n")),
        "the body is no AdmissionReview of admission.k8s.io/v1: its kind is `Pod\u{fffd}`, its apiVersion `admission.k8s.io/v1`"
    );
    assert!(
        matches!(with("/apiVersion", json!("admission.k8s.io/v1beta1")), text if text.contains("v1beta1"))
    );
    assert!(matches!(read(&json!({})), Err(Undecodable::WrongType { .. })));
    for body in ["", "{", "[]", "null", "7", "\u{feff}{}", "<html>"] {
        let error = Review::decode(body.as_bytes()).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
    }
    assert!(Review::decode(b"\xff\xfe").is_err());
}

#[test]
fn an_object_that_cannot_be_read_leaves_the_uid() {
    let good = pod(&[container("web", "nginx")]);
    let mut bad = good.clone();
    bad["spec"]["containers"] = json!("none");
    let text = why(&create(&bad));
    assert!(text.starts_with("the object cannot be read: invalid type: string"), "{text}");
    let text = why(&update(&bad, &good));
    assert!(text.starts_with("the old object cannot be read: invalid type"), "{text}");
    let mut review = create(&good);
    review["request"]["userInfo"] = json!(7);
    assert!(why(&review).starts_with("the request cannot be read: invalid type: integer `7`"));
    review = create(&good);
    review["request"]["operation"] = json!("PATCH\n");
    assert_eq!(why(&review), "the operation `PATCH\u{fffd}` is not known");
    review = create(&good);
    review["request"]["object"] = Value::Null;
    assert_eq!(why(&review), "the request has no object");
    review = create(&good);
    review["request"]["object"]["kind"] = json!("Service");
    assert_eq!(why(&review), "the object is of another kind than the request, Pod");
}

#[test]
fn what_is_not_judged_need_not_be_readable() {
    let mut review =
        create(&json!({ "apiVersion": "v1", "kind": "Service", "spec": 7, "metadata": [] }));
    assert!(read(&review).unwrap().request.unwrap().spec.is_none());
    review = create(&pod(&[]));
    review["request"]["object"]["metadata"] = json!(7);
    review["request"]["object"]["status"] = json!("odd");
    assert!(read(&review).unwrap().request.is_ok(), "metadata and status");
    review["request"]["object"]["spec"] = json!(7);
    review["request"]["operation"] = json!("DELETE");
    assert!(read(&review).unwrap().request.is_ok(), "deleted");
    review["request"]["operation"] = json!("UPDATE");
    review["request"]["subResource"] = json!("status");
    assert!(read(&review).unwrap().request.is_ok(), "its status");
}

#[test]
fn null_is_as_good_as_missing() {
    let mut review = create(&pod(&[container("web", "nginx")]));
    for field in ["subResource", "namespace", "name", "userInfo", "dryRun", "oldObject", "options"]
    {
        review["request"][field] = Value::Null;
    }
    review["request"]["object"]["status"] = Value::Null;
    review["request"]["object"]["spec"]["initContainers"] = Value::Null;
    assert!(!verdict(&review, &[strict()]).is_allowed());
    for field in ["subResource", "namespace", "name", "userInfo", "dryRun", "oldObject", "options"]
    {
        review["request"].as_object_mut().unwrap().remove(field);
    }
    assert!(!verdict(&review, &[strict()]).is_allowed());
    review["request"]["kind"] = Value::Null;
    assert!(verdict(&review, &[strict()]).is_allowed(), "of no kind");
    review = create(&pod(&[]));
    review["request"]["object"]["spec"] = Value::Null;
    assert!(verdict(&review, &[strict()]).is_allowed(), "nothing to judge");
}

/// Also in a service's thread, whose stack is small.
#[test]
fn deep_json_is_an_unreadable_object() {
    let deep =
        |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let nested = deep(r#"{"template":{"spec":"#, "}}").replace("\"spec\":}", "\"spec\":{}}");
    let review = create(&pod(&[])).to_string();
    let with = |spec: &str| review.replace(r#"{"containers":[]}"#, spec);
    let arrays = deep("[", "]");
    let bodies = [
        with(&nested),
        with(&format!(r#"{{"x":{arrays}}}"#)),
        with(&format!(r#"{{"containers":[{{"resources":{arrays}}}]}}"#)),
    ];
    let run = move || bodies.map(|body| Review::decode(body.as_bytes()).unwrap().request.is_ok());
    let thread = std::thread::Builder::new().stack_size(512 << 10);
    let found = thread.spawn(run).unwrap().join().unwrap();
    assert_eq!(found, [true, true, false], "what is not looked at is passed over, however deep");
}

/// In memory, a container takes up to fifty times the bytes of its shortest text.
#[test]
fn containers_beyond_what_a_node_runs_are_judged_as_one() {
    let mut many = pod(&[]);
    many["spec"]["containers"] = json!(vec![container("web", "nginx:1"); 20_000]);
    let request = read(&create(&many)).unwrap().request.unwrap();
    assert_eq!(request.spec.unwrap().containers.len(), 16_385);
    assert!(verdict(&create(&many), &[strict()]).is_allowed());
    for bad in [0, 16_384, 19_999] {
        let mut one_bad = many.clone();
        one_bad["spec"]["containers"][bad] = container("bad", "nginx");
        assert!(!verdict(&create(&one_bad), &[strict()]).is_allowed(), "container {bad}");
    }
    let mut list = pod(&[container("web", "nginx")]);
    list["items"] = json!(vec![json!({}); 500_001]);
    assert!(!verdict(&create(&list), &[strict()]).is_allowed(), "members are not decoded at all");
}

#[test]
fn an_image_volume_is_denied_by_its_name() {
    let mut pod = pod(&[container("web", "nginx:1")]);
    let mut denied = |reference: &str| {
        pod["spec"]["volumes"] = json!([
            { "name": "config", "configMap": { "name": "c" } },
            { "name": "models", "image": { "reference": reference, "pullPolicy": "Always" } },
        ]);
        verdict(&create(&pod), &[strict()]).message()
    };
    assert_eq!(denied("models:v1"), None);
    let message = denied("models:latest").unwrap();
    let expected = "denied by policy production/strict: volume models: image models:latest is not pinned (check latest-tag, critical)";
    assert!(message.starts_with(expected), "{message}");
}
