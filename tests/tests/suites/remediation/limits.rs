//! Names, templates and values of the greatest length that the API server accepts.

use e2e::{Owner, Testbed};
use serde_json::{Value, json};

use super::POLICY;
use super::enforced::Enforced;
use super::usage;
use super::workloads::{
    assert_succeeded, container, install, list, pods, read, text, wait_until_rolled_out, workload,
};
use crate::{cli, operator};

/// The longest name of a container, and of a namespace.
const LABEL: usize = 63;
/// The longest name of an object.
const NAME: usize = 253;

/// The longest names with which the controllers of Kubernetes make pods. They name a `ReplicaSet`
/// after its Deployment and a hash, likewise a `ControllerRevision`, and that of a `StatefulSet` is a
/// label of its pods.
const KINDS: [(&str, usize); 3] =
    [("Deployment", NAME - 11), ("StatefulSet", 52), ("DaemonSet", NAME - 11)];

fn event<'a>(events: &'a [Value], reason: &str) -> Option<&'a Value> {
    events.iter().find(|event| event["reason"] == reason)
}

fn create_namespace(testbed: &Testbed, name: &str) {
    testbed.kubectl(&["create", "namespace", name]).unwrap().succeeded().unwrap();
    let account = ["wait", "--for=create", "serviceaccount/default", "--timeout=60s", "-n", name];
    testbed.kubectl(&account).unwrap().succeeded().unwrap();
}

#[test]
fn names_of_the_greatest_length_are_patched_injected_and_taken_back() {
    let enforced = Enforced::shared();
    let testbed = enforced.testbed();
    let namespace = "n".repeat(LABEL);
    create_namespace(testbed, &namespace);
    let policy = "p".repeat(NAME);
    let mut all = Vec::new();
    for (kind, length) in KINDS {
        for (owner, letter) in [(Owner::KubectlClientSide, "a"), (Owner::KubectlServerSide, "b")] {
            let name = letter.repeat(length);
            let mut web = workload(kind, &namespace, &name);
            let labels = json!({ "app": format!("{}-{letter}", kind.to_lowercase()) });
            web["spec"]["selector"]["matchLabels"] = labels.clone();
            web["spec"]["template"]["metadata"]["labels"] = labels;
            container(&mut web)["name"] = json!("c".repeat(LABEL));
            if kind == "StatefulSet" {
                web["spec"]["serviceName"] = json!("web");
            }
            assert_succeeded(kind, &owner.apply(testbed, &web).unwrap());
            let state = if letter == "a" { "Observing" } else { "Injecting" };
            all.push((web, format!("{kind}/{name}"), state));
        }
    }
    for (web, ..) in &all {
        wait_until_rolled_out(testbed, web);
    }
    usage::report(testbed, &namespace, "100Mi");
    testbed.apply(&cli::policy(&namespace, &policy, POLICY)).unwrap();
    let state = |label: &str| {
        text(&enforced.entry_of(&namespace, &policy, label)["state"])
            .replace("Patched", "Observing")
    };
    enforced.wait_until(&namespace, "everything to be remediated", || {
        all.iter().all(|(_, label, expected)| state(label) == *expected)
    });
    for (web, label, expected) in &all {
        wait_until_rolled_out(testbed, web);
        let live = read(testbed, web);
        let mark = text(&live["metadata"]["annotations"]["devops.stochastic.io/patched-by"]);
        let is_patched = *expected == "Observing";
        assert_eq!(mark, if is_patched { format!("{namespace}/{policy}") } else { String::new() });
        let fields = enforced.entry_of(&namespace, &policy, label)["fields"][0].clone();
        assert!(text(&fields).starts_with(&"c".repeat(LABEL)), "{fields}");
    }
    let delete = ["delete", "pod", "--all", "-n", &namespace];
    testbed.kubectl(&delete).unwrap().succeeded().unwrap();
    enforced.wait_until(&namespace, "each new pod to have a probe", || {
        let pods = pods(testbed, &namespace);
        let has_probe = |pod: &Value| pod["spec"]["containers"][0]["livenessProbe"].is_object();
        pods.len() >= 14 && pods.iter().all(has_probe)
    });
    let events = list(testbed, &namespace, "events.events.k8s.io");
    let applied = event(&events, "RemediationApplied").unwrap();
    assert_eq!(applied["regarding"]["name"], policy.as_str());
    let note = text(&applied["note"]);
    assert!(note.len() <= 1_024 && note.ends_with('…'), "{}: {note}", note.len());
    let labels = [("namespace", &*namespace), ("policy", &*policy)];
    let metrics = enforced.operator().metrics().unwrap();
    assert_eq!(metrics.value("enforcement_mode", &labels), Some(1.0));
    let listed = cli::json(testbed, &["remediations", "-n", &namespace], "");
    assert_eq!(listed["workloads"].as_array().map(Vec::len), Some(6), "{listed:#}");
    for (_, label, _) in all.iter().filter(|(_, _, expected)| *expected == "Observing") {
        let out = cli::expect(testbed, 0, &["revert", &label.to_lowercase(), "-n", &namespace], "");
        assert!(out.starts_with("released"), "{out}");
    }
    enforced.wait_until(&namespace, "the reverts to be noticed", || {
        let mut patched = all.iter().filter(|(_, _, expected)| *expected == "Observing");
        patched.all(|(_, label, _)| state(label) == "Withdrawn")
    });
}

/// A Deployment of so many containers.
fn of_many(namespace: &str, name: &str, number: usize) -> Value {
    let mut web = workload("Deployment", namespace, name);
    let one = container(&mut web).clone();
    let containers = (0..number).map(|number| {
        let mut one = one.clone();
        one["name"] = json!(format!("container-{number:02}"));
        one["ports"][0]["containerPort"] = json!(8_000 + number);
        one
    });
    web["spec"]["template"]["spec"]["containers"] = containers.collect();
    web
}

#[test]
fn fifty_containers_are_filled_in_and_more_than_can_be_listed_are_not() {
    let enforced = Enforced::shared();
    let testbed = enforced.testbed();
    let namespace = testbed.namespace("many").unwrap();
    let patched = of_many(&namespace, "patched", 50);
    let injected = of_many(&namespace, "injected", 50);
    let beyond = of_many(&namespace, "beyond", 65);
    for (owner, object) in [
        (Owner::KubectlClientSide, &patched),
        (Owner::KubectlServerSide, &injected),
        (Owner::KubectlClientSide, &beyond),
    ] {
        assert_succeeded("the owner", &owner.apply(testbed, object).unwrap());
    }
    for object in [&patched, &injected, &beyond] {
        wait_until_rolled_out(testbed, object);
    }
    // Without metrics: each container has a field that is withheld.
    let policy = cli::policy(&namespace, "p", POLICY);
    let preview = cli::json(testbed, &["preview", "-", "-n", &namespace], &policy);
    let preview = preview["policies"][0]["remediation"]["workloads"].as_array().unwrap().clone();
    let planned = |name: &str| {
        let label = format!("Deployment/{name}");
        preview.iter().find(|planned| planned["workload"] == label).unwrap().clone()
    };
    enforced.apply_policy(&namespace, POLICY);
    enforced.wait_until(&namespace, "everything to be decided", || {
        enforced.is_patched(&namespace, "Deployment/patched")
            && enforced.state(&namespace, "Deployment/injected") == "Injecting"
            && enforced.state(&namespace, "Deployment/beyond") == "NotPatchable"
    });
    wait_until_rolled_out(testbed, &patched);
    let delete = ["delete", "pod", "-n", &namespace, "-l", "app=injected"];
    testbed.kubectl(&delete).unwrap().succeeded().unwrap();
    wait_until_rolled_out(testbed, &injected);
    for name in ["patched", "injected"] {
        let entry = enforced.entry(&namespace, &format!("Deployment/{name}"));
        assert_eq!(entry["fields"], planned(name)["fields"], "{name}");
        assert_eq!(entry["fields"].as_array().map(Vec::len), Some(50), "{name}");
        for pod in pods(testbed, &namespace) {
            if pod["metadata"]["labels"]["app"] != name {
                continue;
            }
            for (number, one) in pod["spec"]["containers"].as_array().unwrap().iter().enumerate() {
                let port = &one["livenessProbe"]["tcpSocket"]["port"];
                assert_eq!(*port, 8_000 + number, "{one:#}");
                assert_eq!(one["name"], format!("container-{number:02}"), "in their order");
                assert_eq!(one["resources"]["requests"]["cpu"], "100m", "{one:#}");
            }
        }
    }
    let injected = enforced.entry(&namespace, "Deployment/injected");
    let message = text(&injected["message"]);
    assert!(message.len() <= 512 && message.ends_with('…'), "{message}");
    let beyond = enforced.entry(&namespace, "Deployment/beyond");
    assert_eq!((&beyond["reason"], &beyond["fields"]), (&json!("TooManyContainers"), &Value::Null));
    assert!(text(&beyond["message"]).contains("65"), "{beyond:#}");
    assert_eq!(planned("beyond")["reason"], "TooManyContainers");
    let events = list(testbed, &namespace, "events.events.k8s.io");
    for event in events.iter().filter(|event| text(&event["reason"]).starts_with("Remediation")) {
        assert!(text(&event["note"]).len() <= 1_024, "{event:#}");
    }
}

/// What the schema refuses.
const REFUSED: [&str; 5] = ["-1", "100Mi ", " 1", "0x10", "NaN"];
/// What is a quantity for the schema, as the API server rounds and cuts such amounts
/// (<https://pkg.go.dev/k8s.io/apimachinery/pkg/api/resource#Quantity>), and too large or too small to
/// be compared with another one.
const REJECTED: [&str; 3] = ["1e400", "1e30", "1e-30"];

#[test]
fn a_quantity_that_the_schema_cannot_judge_changes_nothing_and_the_status_names_it() {
    let enforced = Enforced::shared();
    let testbed = enforced.testbed();
    let namespace = testbed.namespace("quantities").unwrap();
    let web = workload("Deployment", &namespace, "web");
    install(testbed, Owner::KubectlClientSide, &web);
    let policy = |quantity: &str| {
        let resources = json!({ "memoryRequest": "64Mi", "cpuRequest": quantity });
        let policy = json!({
            "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
            "metadata": { "namespace": namespace, "name": "p" },
            "spec": { "enforcementMode": "enforce", "requireResources": true,
                "defaultResources": resources },
        });
        testbed.kubectl_stdin(&["apply", "-f", "-"], &policy.to_string()).unwrap()
    };
    let field = "spec.defaultResources.cpuRequest";
    for quantity in REFUSED {
        let run = policy(quantity);
        assert!(run.code == Some(1) && run.stderr.contains(field), "{quantity}: {run:?}");
    }
    for quantity in REJECTED {
        assert_succeeded(quantity, &policy(quantity));
        enforced.wait_until(&namespace, "the status to name the quantity", || {
            let status = operator::policy(testbed, &namespace, "p")["status"].clone();
            let conditions = status["conditions"].as_array().into_iter().flatten();
            let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
            let names = |condition: &Value| {
                let message = text(&condition["message"]);
                message.contains(field) && message.contains(&format!("`{quantity}`"))
            };
            ready.any(|ready| ready["reason"] == "Invalid" && names(ready))
                && status["remediation"].is_null()
        });
    }
    assert_eq!(read(testbed, &web)["metadata"]["generation"], 1, "not even the memory request");
    // It is remediated as soon as the policy can be judged.
    assert_succeeded("50m", &policy("50m"));
    enforced.wait_until(&namespace, "the Deployment to be patched", || {
        enforced.is_patched(&namespace, "Deployment/web")
    });
    assert_eq!(read(testbed, &web)["metadata"]["generation"], 2, "one patch");
}
