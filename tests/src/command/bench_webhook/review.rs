//! A pod, and the review of its creation as the API server sends it.

use policy_core::admission::{AdmissionVerdict, answer};
use serde_json::{Value, json};

const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";
const NAME: &str = "build-payment-service-7d4b9c6f58-x2k9p";
const PINNED: &str = "v1.24.3";
/// An image that every policy of this measurement denies.
const NOT_PINNED: &str = "latest";
/// A pod without violations, as it is sent to the API server.
pub(in crate::command) fn pod() -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata(), "spec": spec(PINNED) })
}

/// Requests for such pods in this many namespaces in turn. There are always as many different texts,
/// so that the client has the same work for few namespaces as for many.
pub(super) fn requests(namespaces: usize) -> Vec<Vec<u8>> {
    const TEXTS: usize = 1000;
    let review = |number| allowed(&format!("team-{}", number % namespaces));
    (0..TEXTS).map(|number| request(&review(number))).collect()
}

/// A review that is allowed, without a warning.
pub(super) fn allowed(namespace: &str) -> String {
    review(namespace, PINNED)
}

/// A review with one violation of `forbidLatestTag`.
pub(super) fn denied(namespace: &str) -> String {
    review(namespace, NOT_PINNED)
}

/// The expected response to [`allowed`].
pub(super) fn allowing_answer() -> Vec<u8> {
    answer(UID, &AdmissionVerdict::default())
}

/// The HTTP request with a review.
pub(super) fn request(review: &str) -> Vec<u8> {
    request_to("/validate", review)
}

/// The HTTP request with a review to that path.
pub(in crate::command) fn request_to(path: &str, review: &str) -> Vec<u8> {
    let head = format!(
        "POST {path}?timeout=5s HTTP/1.1\r\nHost: policy-webhook.kube-devops.svc:443\r\n\
         User-Agent: kube-apiserver-admission\r\nContent-Length: {}\r\n\
         Accept: application/json, */*\r\nContent-Type: application/json\r\n\
         Accept-Encoding: gzip\r\n\r\n",
        review.len()
    );
    [head.as_bytes(), review.as_bytes()].concat()
}

/// The sizes of the pod as the API server sends it and of its review, in bytes.
pub(super) fn sizes() -> (usize, usize) {
    (object("team-0", PINNED).to_string().len(), allowed("team-0").len())
}

/// The review of the pod, with that tag of its first image.
fn review(namespace: &str, tag: &str) -> String {
    of_object(namespace, &object(namespace, tag))
}

/// The review of the creation of a pod.
pub(in crate::command) fn of_pod(namespace: &str, pod: &Value) -> String {
    of_object(namespace, &admitted(namespace, pod))
}

/// The review, with its fields in the API server's order.
fn of_object(namespace: &str, object: &Value) -> String {
    let kind = json!({ "group": "", "version": "v1", "kind": "Pod" });
    let resource = json!({ "group": "", "version": "v1", "resource": "pods" });
    let name = &object["metadata"]["name"];
    let user = json!({
        "username": "system:serviceaccount:ci:runner-controller",
        "uid": "0e6f7a8b-1c2d-4e5f-9a0b-1c2d3e4f5a6b",
        "groups": ["system:serviceaccounts", "system:serviceaccounts:ci", "system:authenticated"],
        "extra": { "authentication.kubernetes.io/credential-id": ["JTI=5f0c9a3e-9d0b-4c55-8e0a-1c2d3e4f5a6b"] },
    });
    format!(
        "{{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/v1\",\"request\":{{\
         \"uid\":\"{UID}\",\"kind\":{kind},\"resource\":{resource},\"requestKind\":{kind},\
         \"requestResource\":{resource},\"name\":{name},\"namespace\":\"{namespace}\",\
         \"operation\":\"CREATE\",\"userInfo\":{user},\"object\":{object},\"oldObject\":null,\
         \"dryRun\":false,\"options\":{{\"kind\":\"CreateOptions\",\
         \"apiVersion\":\"meta.k8s.io/v1\"}}}}}}"
    )
}

fn object(namespace: &str, tag: &str) -> Value {
    let pod =
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata(), "spec": spec(tag) });
    admitted(namespace, &pod)
}

/// The pod as the API server has admitted it. Nearly half of it is managedFields.
fn admitted(namespace: &str, pod: &Value) -> Value {
    let mut object = pod.clone();
    object["status"] = json!({ "phase": "Pending", "qosClass": "Burstable" });
    let metadata = &mut object["metadata"];
    metadata["namespace"] = json!(namespace);
    metadata["uid"] = json!("5f0c9a3e-9d0b-4c55-8e0a-1c2d3e4f5a6b");
    metadata["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    metadata["managedFields"] = json!([{
        "manager": "runner-controller", "operation": "Update", "apiVersion": "v1",
        "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1",
        "fieldsV1": { "f:metadata": managed(&pod["metadata"]), "f:spec": managed(&pod["spec"]) },
    }]);
    object
}

fn metadata() -> Value {
    json!({
        "name": NAME,
        "labels": { "app.kubernetes.io/name": "payment-service", "app.kubernetes.io/part-of": "shop" },
        "annotations": { "checksum/config": "0123456789abcdef".repeat(4) },
        "ownerReferences": [{ "apiVersion": "ci.example.com/v1", "kind": "Runner",
            "name": "build-payment-service", "uid": "0e6f7a8b-1c2d-4e5f-9a0b-1c2d3e4f5a6b",
            "controller": true }],
    })
}

fn spec(tag: &str) -> Value {
    let tolerations = ["not-ready", "unreachable"].map(|taint| {
        json!({ "key": format!("node.kubernetes.io/{taint}"), "operator": "Exists",
            "effect": "NoExecute", "tolerationSeconds": 300 })
    });
    json!({
        "volumes": [{ "name": "config", "configMap": { "name": "payment-config", "defaultMode": 420 } }],
        "containers": [container("payment-service", tag), container("envoy-proxy", PINNED)],
        "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "payment", "serviceAccount": "payment",
        "schedulerName": "default-scheduler", "enableServiceLinks": true,
        "securityContext": { "runAsNonRoot": true, "runAsUser": 1000 },
        "tolerations": tolerations,
    })
}

fn container(name: &str, tag: &str) -> Value {
    let probe = |path: &str| {
        json!({ "httpGet": { "path": path, "port": 8080, "scheme": "HTTP" }, "timeoutSeconds": 1,
            "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3 })
    };
    json!({
        "name": name, "image": format!("registry.example.com/shop/{name}:{tag}"),
        "ports": [{ "name": "http", "containerPort": 8080, "protocol": "TCP" }],
        "env": [{ "name": "BACKEND", "value": "http://backend.shop.svc.cluster.local:8080" }],
        "resources": { "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } },
        "volumeMounts": [{ "name": "config", "mountPath": "/etc/shop" }],
        "livenessProbe": probe("/healthz"), "readinessProbe": probe("/readyz"),
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
        "securityContext": { "capabilities": { "drop": ["ALL"] }, "readOnlyRootFilesystem": true },
    })
}

/// An entry of managedFields.
fn managed(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (format!("f:{name}"), managed(value))).collect()
        }
        Value::Array(items) => {
            let named = items.iter().filter_map(|item| Some((item["name"].as_str()?, item)));
            let keyed = named.map(|(name, item)| {
                let mut fields = managed(item);
                fields["."] = json!({});
                (format!("k:{}", json!({ "name": name })), fields)
            });
            keyed.collect()
        }
        _ => json!({}),
    }
}
