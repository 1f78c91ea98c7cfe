//! What enforce mode rests on, in the API server. Where one of these fails, a release of Kubernetes
//! has broken a promise of ours.

use e2e::{Run, Testbed, shared};
use serde_json::{Value, json};

use super::workloads::{assert_succeeded, list, managers, read, wait_until_rolled_out, workload};

/// Applies as the operator does.
fn apply(testbed: &Testbed, object: &Value) -> Run {
    let arguments = ["apply", "--server-side", "--field-manager=policy-operator", "-f", "-"];
    testbed.kubectl_stdin(&arguments, &object.to_string()).unwrap()
}

/// What the operator sends: names of containers in their order, the missing fields, and the uid.
fn patch(live: &Value, containers: &Value) -> Value {
    let metadata = &live["metadata"];
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"],
        },
        "spec": { "template": { "spec": { "containers": containers } } },
    })
}

fn create(testbed: &Testbed, namespace: &str) -> Value {
    let mut web = workload("Deployment", namespace, "web");
    let mut second = web["spec"]["template"]["spec"]["containers"][0].clone();
    second["name"] = json!("alpha");
    web["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(second);
    // Not by kubectl apply, whose fields a later `kubectl apply --server-side` takes over whole
    // (<https://github.com/kubernetes/kubernetes/pull/112905>); the operator sends no such request.
    let run = testbed.kubectl_stdin(&["create", "-f", "-"], &web.to_string()).unwrap();
    assert_succeeded("create", &run);
    wait_until_rolled_out(testbed, &web);
    read(testbed, &web)
}

fn probe() -> Value {
    json!({ "tcpSocket": { "port": 8080 } })
}

#[test]
fn a_release_restores_the_template_and_its_replica_set() {
    let testbed = shared();
    let namespace = testbed.namespace("release").unwrap();
    let before = create(testbed, &namespace);
    let containers = json!([{ "name": "web", "readinessProbe": probe() }, { "name": "alpha" }]);
    assert_succeeded("patch", &apply(testbed, &patch(&before, &containers)));
    wait_until_rolled_out(testbed, &before);
    let bare = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {
        "namespace": namespace, "name": "web", "uid": before["metadata"]["uid"] } });
    assert_succeeded("release", &apply(testbed, &bare));
    let after = read(testbed, &before);
    assert_eq!(after["spec"]["template"], before["spec"]["template"]);
    assert!(!managers(&after).iter().any(|(manager, _)| manager == "policy-operator"), "{after:#}");
    wait_until_rolled_out(testbed, &before);
    // The first one is in use again, not a third one.
    assert_eq!(list(testbed, &namespace, "replicasets").len(), 2);
}

#[test]
fn containers_keep_their_order_where_a_patch_names_them_all() {
    let testbed = shared();
    let names = |live: &Value| {
        let containers = live["spec"]["template"]["spec"]["containers"].as_array().unwrap().iter();
        containers.map(|one| one["name"].clone()).collect::<Vec<_>>()
    };
    let namespace = testbed.namespace("order").unwrap();
    let before = create(testbed, &namespace);
    let all = json!([{ "name": "web" }, { "name": "alpha", "readinessProbe": probe() }]);
    assert_succeeded("patch", &apply(testbed, &patch(&before, &all)));
    assert_eq!(names(&read(testbed, &before)), ["web", "alpha"]);
}

#[test]
fn a_patch_with_the_uid_of_a_deleted_object_creates_none() {
    let testbed = shared();
    let namespace = testbed.namespace("uid").unwrap();
    let before = create(testbed, &namespace);
    let delete = ["delete", "deployment", "web", "-n", &namespace];
    testbed.kubectl(&delete).unwrap().succeeded().unwrap();
    let run =
        apply(testbed, &patch(&before, &json!([{ "name": "web", "readinessProbe": probe() }])));
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.contains("uid mismatch"), "{run:?}");
    assert!(list(testbed, &namespace, "deployments").is_empty());
}
