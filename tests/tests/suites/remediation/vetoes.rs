//! What is not changed, and why.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::POLICY;
use super::enforced::Enforced;
use super::workloads::{container, list, read, text, wait_until_rolled_out, workload};

/// The workloads of the test, by name: kind, what is special, state and reason in the status.
const CASES: [(&str, &str, &str, &str, &str); 11] = [
    ("recreate", "Deployment", r#"{"strategy": {"type": "Recreate"}}"#, "Proposed", "Recreate"),
    (
        "all-at-once",
        "Deployment",
        r#"{"strategy": {"rollingUpdate": {"maxUnavailable": "100%"}}}"#,
        "Proposed",
        "AllUnavailable",
    ),
    ("forgetful", "Deployment", r#"{"revisionHistoryLimit": 1}"#, "Proposed", "SmallHistory"),
    (
        "no-surge",
        "Deployment",
        r#"{"replicas": 1, "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}}"#,
        "Proposed",
        "SinglePod",
    ),
    ("single", "StatefulSet", r#"{"replicas": 1}"#, "Proposed", "SinglePod"),
    (
        "by-hand",
        "StatefulSet",
        r#"{"updateStrategy": {"type": "OnDelete"}}"#,
        "Proposed",
        "OnDelete",
    ),
    (
        "partitioned",
        "StatefulSet",
        r#"{"updateStrategy": {"rollingUpdate": {"partition": 1}}}"#,
        "Proposed",
        "Partitioned",
    ),
    ("by-hand", "DaemonSet", r#"{"updateStrategy": {"type": "OnDelete"}}"#, "Proposed", "OnDelete"),
    (
        "unready",
        "Deployment",
        r#"{"template": {"metadata": {"annotations": {"testbed/ready": "false"}}}}"#,
        "Proposed",
        "NotReady",
    ),
    ("opted-out", "Deployment", "{}", "NotPatchable", "OptedOut"),
    ("bare", "ReplicaSet", "{}", "NotPatchable", "UnpatchableKind"),
];

#[test]
fn what_would_interrupt_service_or_be_undone_is_not_changed() {
    let enforced = Enforced::shared();
    let testbed = enforced.testbed();
    let namespace = testbed.namespace("vetoes").unwrap();
    let mut expected = BTreeMap::new();
    for (name, kind, special, state, reason) in CASES {
        let mut object = workload(kind, &namespace, name);
        merge(&mut object["spec"], &serde_json::from_str(special).unwrap());
        if name == "opted-out" {
            object["metadata"]["annotations"] =
                json!({ "devops.stochastic.io/remediation": "disabled" });
        }
        apply(testbed, &object);
        expected.insert(format!("{kind}/{name}"), (state, reason));
    }
    // Paused after it has pods.
    let mut paused = workload("Deployment", &namespace, "paused");
    apply(testbed, &paused);
    wait_until_rolled_out(testbed, &paused);
    paused["spec"]["paused"] = json!(true);
    apply(testbed, &paused);
    expected.insert("Deployment/paused".to_owned(), ("NotPatchable", "Paused"));
    // Made by an object of a kind that the operator does not know.
    let maker = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "namespace": namespace, "name": "maker" },
    });
    apply(testbed, &maker);
    let mut made = workload("Deployment", &namespace, "made");
    made["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "maker", "controller": true,
        "uid": read(testbed, &maker)["metadata"]["uid"],
    }]);
    apply(testbed, &made);
    expected.insert("Deployment/made".to_owned(), ("NotPatchable", "ForeignOwner"));
    let pod = |name: &str| {
        let mut template = workload("Deployment", &namespace, name)["spec"]["template"].take();
        template["metadata"]["namespace"] = json!(namespace);
        template["metadata"]["name"] = json!(name);
        template
    };
    let mut bare = pod("alone");
    bare["apiVersion"] = json!("v1");
    bare["kind"] = json!("Pod");
    apply(testbed, &bare);
    expected.insert("Pod/alone".to_owned(), ("NotPatchable", "UnpatchableKind"));
    let mut template = pod("once");
    template["spec"]["restartPolicy"] = json!("Never");
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": { "namespace": namespace, "name": "once" }, "spec": { "template": template },
    });
    apply(testbed, &job);
    expected.insert("Job/once".to_owned(), ("NotPatchable", "UnpatchableKind"));

    // Else a ReplicaSet comes later.
    enforced.wait_until(&namespace, "each Deployment to have its ReplicaSet", || {
        list(testbed, &namespace, "deployments").iter().all(|deployment| {
            deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"]
        })
    });
    let before = versions(testbed, &namespace);
    enforced.apply_policy(&namespace, POLICY);
    enforced.wait_until(&namespace, "every workload to be listed", || {
        expected.keys().all(|workload| !enforced.entry(&namespace, workload).is_null())
    });
    let found: BTreeMap<_, _> = expected
        .keys()
        .map(|workload| {
            let entry = enforced.entry(&namespace, workload);
            assert!(text(&entry["message"]).len() > 10, "{entry:#}");
            (workload.clone(), (text(&entry["state"]), text(&entry["reason"])))
        })
        .collect();
    let expected: BTreeMap<_, _> = expected
        .into_iter()
        .map(|(workload, (state, reason))| (workload, (state.to_owned(), reason.to_owned())))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(versions(testbed, &namespace), before);
}

/// The generation of every workload: it counts the changes of its spec.
fn versions(testbed: &e2e::Testbed, namespace: &str) -> Vec<(String, Value)> {
    let all = ["deployments", "statefulsets", "daemonsets", "replicasets", "jobs"];
    let objects = all.iter().flat_map(|kind| list(testbed, namespace, kind));
    objects
        .map(|object| {
            let name = format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]));
            (name, object["metadata"]["generation"].clone())
        })
        .collect()
}

fn apply(testbed: &e2e::Testbed, object: &Value) {
    let run = testbed.kubectl_stdin(&["apply", "-f", "-"], &object.to_string()).unwrap();
    super::workloads::assert_succeeded(&text(&object["metadata"]["name"]), &run);
}

fn merge(into: &mut Value, from: &Value) {
    match from {
        Value::Object(fields) => {
            for (key, value) in fields {
                merge(&mut into[key], value);
            }
        }
        value => *into = value.clone(),
    }
}

#[test]
fn a_port_is_guessed_only_where_somebody_opted_in() {
    let enforced = Enforced::shared();
    let testbed = enforced.testbed();
    let namespace = testbed.namespace("guess").unwrap();
    for (name, annotations) in [
        ("cautious", json!({})),
        ("bold", json!({ "devops.stochastic.io/remediation": "enabled" })),
    ] {
        let mut web = workload("Deployment", &namespace, name);
        web["metadata"]["annotations"] = annotations;
        container(&mut web).as_object_mut().unwrap().remove("ports");
        apply(testbed, &web);
        wait_until_rolled_out(testbed, &web);
    }
    enforced.apply_policy(
        &namespace,
        "{enforcementMode: enforce, requireReadinessProbe: true, defaultProbe: {tcpPort: 8080}}",
    );
    enforced.wait_until(&namespace, "both to be listed", || {
        enforced.is_patched(&namespace, "Deployment/bold")
            && enforced.state(&namespace, "Deployment/cautious") == "Proposed"
    });
    let entry = enforced.entry(&namespace, "Deployment/cautious");
    assert_eq!(entry["reason"], "GuessedPort", "{entry:#}");
    let bold = read(testbed, &workload("Deployment", &namespace, "bold"));
    let probe = &bold["spec"]["template"]["spec"]["containers"][0]["readinessProbe"];
    assert_eq!(probe["tcpSocket"]["port"], 8080, "{probe:#}");
}
