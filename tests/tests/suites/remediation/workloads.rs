//! Workloads, and what becomes of them.

use std::time::Duration;

use e2e::{Owner, Run, Testbed};
use serde_json::{Value, json};

/// A workload of one container, `web`, that lacks probes and resources; of two pods unless it is a
/// `DaemonSet`.
pub(crate) fn workload(kind: &str, namespace: &str, name: &str) -> Value {
    let labels = json!({ "app": name });
    let container = json!({
        "name": "web", "image": "registry.example.com/web:v1", "ports": [{ "containerPort": 8080 }],
    });
    let mut workload = json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": { "namespace": namespace, "name": name },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                // A remediation is observed that much longer.
                "spec": { "terminationGracePeriodSeconds": 1, "containers": [container] },
            },
        },
    });
    if kind != "DaemonSet" {
        workload["spec"]["replicas"] = json!(2);
    }
    if kind == "StatefulSet" {
        workload["spec"]["serviceName"] = json!(name);
    }
    workload
}

/// A workload, named after its fate, whose pods break that way as soon as they have a probe or a
/// memory limit: `unready`, `killed` or `oomkilled`.
pub(crate) fn breakable(kind: &str, namespace: &str, fate: &str) -> Value {
    let mut web = workload(kind, namespace, fate);
    web["spec"]["template"]["metadata"]["annotations"] =
        json!({ "testbed/bounded": fate, "testbed/bounded-after": "5s" });
    web
}

/// The first container of a workload's template.
pub(crate) fn container(workload: &mut Value) -> &mut Value {
    &mut workload["spec"]["template"]["spec"]["containers"][0]
}

/// The object in the cluster, with its managed fields.
pub(crate) fn read(testbed: &Testbed, object: &Value) -> Value {
    let get = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (kind, name) = (get("/kind"), get("/metadata/name"));
    let namespace = get("/metadata/namespace");
    let read = ["get", kind, name, "-n", namespace, "-o", "json", "--show-managed-fields"];
    serde_json::from_str(&testbed.kubectl(&read).unwrap().succeeded().unwrap()).unwrap()
}

/// The managers of an object's fields, without its status, with their operation.
pub(crate) fn managers(object: &Value) -> Vec<(String, String)> {
    let entries = object["metadata"]["managedFields"].as_array().unwrap().iter();
    let of_spec = entries.filter(|entry| entry["subresource"].is_null());
    of_spec.map(|entry| (text(&entry["manager"]), text(&entry["operation"]))).collect()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(crate) fn assert_succeeded(what: &str, run: &Run) {
    assert_eq!(run.code, Some(0), "{what}: {}{}", run.stdout, run.stderr);
}

/// The pods of a namespace.
pub(crate) fn pods(testbed: &Testbed, namespace: &str) -> Vec<Value> {
    list(testbed, namespace, "pods")
}

/// The objects of a kind in a namespace.
pub(crate) fn list(testbed: &Testbed, namespace: &str, kind: &str) -> Vec<Value> {
    let get = ["get", kind, "-n", namespace, "-o", "json", "--show-managed-fields"];
    let text = testbed.kubectl(&get).unwrap().succeeded().unwrap();
    let list: Value = serde_json::from_str(&text).unwrap();
    list["items"].as_array().cloned().unwrap_or_default()
}

/// The annotation of pods that are injected into, by its path.
pub(crate) const INJECTED_BY: &str = "/metadata/annotations/devops.stochastic.io~1injected-by";

/// The pods of one workload.
pub(crate) fn pods_of(testbed: &Testbed, object: &Value) -> Vec<Value> {
    let mut pods = pods(testbed, &text(&object["metadata"]["namespace"]));
    pods.retain(|pod| pod["metadata"]["labels"]["app"] == object["metadata"]["name"]);
    pods
}

/// Deletes the pods of a workload, and waits for as many new ones that are ready. Its own status
/// counts the old ones for a while, so `kubectl rollout status` does not wait.
pub(crate) fn replace_pods(testbed: &Testbed, object: &Value) -> Vec<Value> {
    let uid = |pod: &Value| text(&pod["metadata"]["uid"]);
    let old: Vec<String> = pods_of(testbed, object).iter().map(uid).collect();
    let namespace = text(&object["metadata"]["namespace"]);
    let label = format!("app={}", text(&object["metadata"]["name"]));
    let delete = ["delete", "pod", "-n", &namespace, "-l", &label];
    testbed.kubectl(&delete).unwrap().succeeded().unwrap();
    let is_ready = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    let mut new = Vec::new();
    let waited = testbed.wait_for("other pods", Duration::from_secs(90), || {
        new = pods_of(testbed, object);
        new.retain(|pod| !old.contains(&uid(pod)) && is_ready(pod));
        Ok(json!(new.len()) == object["spec"]["replicas"])
    });
    assert!(waited.is_ok(), "{waited:?} {new:#?}");
    new
}

/// Waits until the last version of a workload is rolled out.
pub(crate) fn wait_until_rolled_out(testbed: &Testbed, object: &Value) {
    let name = format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]));
    let namespace = text(&object["metadata"]["namespace"]);
    let status = ["rollout", "status", &name, "-n", &namespace, "--timeout=90s"];
    testbed.kubectl(&status).unwrap().succeeded().unwrap();
}

/// Applies a workload as its owner does, and waits until it is rolled out.
pub(crate) fn install(testbed: &Testbed, owner: Owner, object: &Value) {
    assert_succeeded(&text(&object["metadata"]["name"]), &owner.apply(testbed, object).unwrap());
    wait_until_rolled_out(testbed, object);
}

/// Fails unless everything in `wanted` is in `live` with the same value. Objects of a list are found
/// by their name.
pub(crate) fn assert_has(live: &Value, wanted: &Value, place: &str) {
    match wanted {
        Value::Object(fields) => {
            for (key, value) in fields {
                assert_has(&live[key], value, &format!("{place}/{key}"));
            }
        }
        Value::Array(items) if items.iter().any(|item| item["name"].is_string()) => {
            let empty = Vec::new();
            let found = live.as_array().unwrap_or(&empty);
            for item in items {
                let same = found.iter().find(|one| one["name"] == item["name"]);
                let place = format!("{place}/{}", item["name"]);
                assert_has(same.unwrap_or(&Value::Null), item, &place);
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                assert_has(&live[number], item, &format!("{place}/{number}"));
            }
        }
        _ => assert_eq!(live, wanted, "{place}"),
    }
}
