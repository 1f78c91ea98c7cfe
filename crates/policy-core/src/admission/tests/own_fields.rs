//! Taking back what the platform has filled in.

use super::*;
use crate::installation::OPERATOR_USER;

/// A policy that denies what is not pinned and containers without probes, and warns of resources.
fn probes() -> NamedPolicy {
    policy(
        "probes",
        json!({ "forbidLatestTag": true, "requireLivenessProbe": true,
        "requireReadinessProbe": true, "requireResources": true,
        "severityOverrides": { "latestTag": "high", "missingLiveness": "high",
            "missingReadiness": "high" } }),
    )
}

/// A container with what the operator fills in.
fn filled_in(name: &str) -> Value {
    let probe = json!({ "tcpSocket": { "port": 8080 }, "periodSeconds": 10 });
    json!({ "name": name, "image": "nginx:1", "livenessProbe": probe, "readinessProbe": probe,
        "resources": { "requests": { "cpu": "100m", "memory": "1Mi" }, "limits": { "memory": "1Gi" } } })
}

/// Such a container in `fieldsV1`, with these fields.
fn owned(names: &[&str], fields: &Value) -> Value {
    let containers: serde_json::Map<_, _> =
        names.iter().map(|name| (json!({ "name": name }).to_string(), fields.clone())).collect();
    let keyed: serde_json::Map<_, _> =
        containers.into_iter().map(|(key, fields)| (format!("k:{key}"), fields)).collect();
    json!({ "f:metadata": { "f:annotations": { "f:devops.stochastic.io/patched-by": {} } },
        "f:spec": { "f:template": { "f:spec": { "f:containers": keyed } } } })
}

fn all_fields() -> Value {
    let probe = json!({ "f:tcpSocket": { "f:port": {} }, "f:periodSeconds": {} });
    json!({ ".": {}, "f:name": {}, "f:livenessProbe": probe, "f:readinessProbe": probe,
        "f:resources": { "f:requests": { "f:cpu": {}, "f:memory": {} },
            "f:limits": { "f:memory": {} } } })
}

fn entry(manager: &str, operation: &str, fields: &Value) -> Value {
    json!({ "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": fields,
        "manager": manager, "operation": operation, "time": "2026-11-28T12:00:00Z" })
}

fn with_entries(mut workload: Value, entries: &[Value]) -> Value {
    workload["metadata"]["managedFields"] = entries.into();
    workload
}

/// The change from a Deployment of that container and these `managedFields` to a bare one.
fn release(container: Value, entries: &[Value]) -> Value {
    let old = with_entries(workload("apps/v1", "Deployment", &[container]), entries);
    let bare = json!({ "name": "web", "image": "nginx:1" });
    update(&old, &workload("apps/v1", "Deployment", &[bare]))
}

/// The verdicts on the compact and on the indented text, which are the same.
fn judged(review: &Value) -> Vec<String> {
    let compact = found(&verdict(review, &[probes()]));
    let text = format!("{review:#}");
    let review = Review::decode(text.as_bytes()).unwrap();
    let policies = NamespacePolicies { judged: vec![probes()], ..NamespacePolicies::default() };
    assert_eq!(
        found(&admit(review.request.unwrap(), &policies, Timestamp::UNIX_EPOCH, || true).unwrap()),
        compact
    );
    compact
}

#[test]
fn what_the_platform_has_filled_in_may_be_taken_back_by_anybody() {
    let ours = entry("policy-operator", "Apply", &owned(&["web"], &all_fields()));
    let theirs = entry("kubectl", "Update", &json!({ "f:spec": { "f:template": {} } }));
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        let with = |container| workload("apps/v1", kind, &[container]);
        let old = with_entries(with(filled_in("web")), &[theirs.clone(), ours.clone()]);
        let bare = with(json!({ "name": "web", "image": "nginx:1" }));
        assert!(judged(&update(&old, &bare)).is_empty(), "{kind}");
        let worse = with(json!({ "name": "web", "image": "nginx" }));
        assert_eq!(judged(&update(&old, &worse)), ["latest-tag denied"], "{kind}");
    }
}

#[test]
fn what_others_have_set_may_not() {
    let all = owned(&["web"], &all_fields());
    let denied =
        ["missing-liveness denied", "missing-readiness denied", "missing-resources warned"];
    let status = json!({ "subresource": "status" });
    let mut of_status = entry("policy-operator", "Apply", &all);
    of_status.as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
    for entries in [
        vec![],
        vec![entry("kubectl", "Apply", &all)],
        vec![entry("policy-operator", "Update", &all)],
        vec![entry("policy-operator-2", "Apply", &all)],
        vec![of_status],
        vec![entry("policy-operator", "Apply", &owned(&["other"], &all_fields()))],
        vec![entry("policy-operator", "Apply", &json!({ "f:spec": 7 }))],
        vec![json!("policy-operator")],
    ] {
        assert_eq!(judged(&release(filled_in("web"), &entries)), denied, "{entries:?}");
    }
    // The owner has replaced the handler, and only the period is left of ours.
    let period = json!({ "f:livenessProbe": { "f:periodSeconds": {} },
        "f:readinessProbe": { "f:tcpSocket": { "f:port": {} } } });
    let entries = [entry("policy-operator", "Apply", &owned(&["web"], &period))];
    let denied = ["missing-liveness denied", "missing-resources warned"];
    assert_eq!(judged(&release(filled_in("web"), &entries)), denied);
}

#[test]
fn containers_are_told_apart() {
    let ours = [entry("policy-operator", "Apply", &owned(&["web"], &all_fields()))];
    let both = [filled_in("web"), filled_in("proxy")];
    let old = with_entries(workload("apps/v1", "Deployment", &both), &ours);
    let bare = ["web", "proxy"].map(|name| json!({ "name": name, "image": "nginx:1" }));
    let review = update(&old, &workload("apps/v1", "Deployment", &bare));
    let verdict = verdict(&review, &[probes()]);
    let message = verdict.message().unwrap();
    assert!(message.lines().all(|line| line.contains("container proxy")), "{message}");
    assert_eq!(message.lines().count(), 2, "{message}");
    // A new container is no old one.
    let added = [filled_in("web"), json!({ "name": "more", "image": "nginx:1" })];
    let old = with_entries(workload("apps/v1", "Deployment", &[filled_in("web")]), &ours);
    let review = update(&old, &workload("apps/v1", "Deployment", &added));
    assert!(!judged(&review).is_empty());
}

#[test]
fn the_operator_is_let_through_and_recorded() {
    let review = by(OPERATOR_USER, release(filled_in("web"), &[]));
    let recorded =
        ["missing-liveness recorded", "missing-readiness recorded", "missing-resources recorded"];
    assert_eq!(judged(&review), recorded);
    let mut created = by(OPERATOR_USER, create(&workload("apps/v1", "Deployment", &[])));
    created["request"]["object"]["spec"]["template"]["spec"]["containers"] =
        json!([{ "name": "web", "image": "nginx" }]);
    assert!(!verdict(&created, &[probes()]).is_allowed());
    // Also where the body is so large that only its beginning is read.
    let head = format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"u","kind":{{"group":"apps","kind":"Deployment"}},"operation":"UPDATE","userInfo":{{"username":"{OPERATOR_USER}"}},"object":{{"#
    );
    let deniable =
        |text: &str| ReviewHead::read(text.as_bytes()).unwrap().deniable_by(&[probes()]).is_some();
    assert!(!deniable(&head) && deniable(&head.replace("policy-operator", "other")));
}

#[test]
fn other_kinds_have_no_fields_of_the_platform() {
    let ours = [entry("policy-operator", "Apply", &owned(&["web"], &all_fields()))];
    let with = |container| workload("apps/v1", "ReplicaSet", &[container]);
    let bare = with(json!({ "name": "web", "image": "nginx:1" }));
    let review = update(&with_entries(with(filled_in("web")), &ours), &bare);
    assert!(!verdict(&review, &[probes()]).is_allowed());
}
