//! `/mutate`, called by a real API server: new pods get what a policy's status lists, and patched
//! workloads give way to their owners.

use e2e::{Parts, Service, Testbed};
use serde_json::{Value, json};

use super::undo::{Operator, bare, has_probes, named, with_probes, workload};
use super::verdicts::created;
use super::{AdmissionTestbed, SURELY, policy, program};
use crate::cli;

/// Fills in and denies nothing.
const ENFORCE: &str = "{requireReadinessProbe: true, enforcementMode: enforce, \
    defaultProbe: {tcpPort: 8080}, defaultResources: {cpuRequest: 100m, memoryRequest: 64Mi, \
    memoryLimit: 128Mi}}";
const LINE: &str = "web: readinessProbe=tcp:8080,delay=5,period=10,failures=3 requests.cpu=100m \
    requests.memory=64Mi limits.memory=128Mi";

impl AdmissionTestbed {
    /// Has the API server call it for changes as well.
    pub(crate) fn install_mutating(&self, webhook: &Service<'_>) {
        let (url, ca) = (format!("https://{}", webhook.addr()), self.file("ca.crt"));
        let install =
            ["webhook", "install-config", "--mutating", "--ca-bundle-path", &ca, "--url", &url];
        cli::expect(&self.testbed, 0, &install, "");
    }
}

/// What the operator writes: that the new pods of the Deployment `web` get these fields.
pub(super) fn list_injection(testbed: &Testbed, namespace: &str, state: &str, lines: &[&str]) {
    let workload = json!({ "workload": "Deployment/web", "state": state, "fields": lines,
        "since": "2026-11-28T12:00:00Z" });
    let status = json!({ "status": { "remediation": { "workloads": [workload] } } }).to_string();
    let patch = ["patch", "dop", "fill", "-n", namespace, "--subresource=status"];
    let patch = [&patch[..], &["--type=merge", "-p", &status]].concat();
    created(&testbed.kubectl(&patch).unwrap());
}

/// A pod as the controller of that ReplicaSet would make it.
pub(super) fn pod_of(namespace: &str, replica_set: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": format!("{replica_set}-"), "namespace": namespace,
            "labels": { "pod-template-hash": "abc" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
                "name": replica_set, "uid": "6dcf2d0c-1f47-4a0e-9d1c-0c5b6a7c8d9e" }],
        },
        "spec": { "containers": [bare()] },
    })
}

/// What the API server would store.
pub(super) fn dry_run(admission: &AdmissionTestbed, object: &Value) -> Value {
    let run = admission.create(&object.to_string(), &["--dry-run=server", "-o", "json"]);
    serde_json::from_str(&run.succeeded().unwrap()).unwrap()
}

fn injected(pod: &Value) -> Option<&str> {
    pod["metadata"]["annotations"]["devops.stochastic.io/injected-fields"].as_str()
}

/// Waits until the webhook has heard of a change.
pub(super) fn wait_until_injected(
    admission: &AdmissionTestbed,
    namespace: &str,
    is_injected: bool,
) {
    let is_so = || {
        Ok(injected(&dry_run(admission, &pod_of(namespace, "web-abc"))).is_some() == is_injected)
    };
    admission.testbed.wait_for("the injection", SURELY, is_so).unwrap();
}

/// The pods of the Deployment `web`.
fn pods(testbed: &Testbed, namespace: &str) -> Vec<Value> {
    let get = ["get", "pods", "-l", "app=web", "-n", namespace, "-o", "json"];
    let list: Value =
        serde_json::from_str(&testbed.kubectl(&get).unwrap().succeeded().unwrap()).unwrap();
    list["items"].as_array().unwrap().clone()
}

/// The only pod, once it has come.
fn new_pod(testbed: &Testbed, namespace: &str) -> Value {
    let mut found = Value::Null;
    let is_there = || {
        found = pods(testbed, namespace).into_iter().next().unwrap_or_default();
        Ok(found.is_object() && found["metadata"]["deletionTimestamp"].is_null())
    };
    testbed.wait_for("the pod", SURELY, is_there).unwrap();
    found
}

#[test]
fn pods_of_a_listed_workload_get_exactly_the_fields_once() {
    let admission = AdmissionTestbed::new(&Parts::new("inject").with_controllers());
    let testbed = &admission.testbed;
    let webhook = admission.start("webhook", program(), &[]);
    admission.install_mutating(&webhook);
    let shop = testbed.namespace("shop").unwrap();
    testbed.apply(&policy(&shop, "fill", ENFORCE)).unwrap();
    let web = workload("Deployment", &shop, "web", &bare());
    created(&admission.create(&web.to_string(), &[]));
    let before = new_pod(testbed, &shop);
    assert_eq!(injected(&before), None);
    list_injection(testbed, &shop, "Injecting", &[LINE]);
    wait_until_injected(&admission, &shop, true);

    let name = before["metadata"]["name"].as_str().unwrap();
    created(&testbed.kubectl(&["delete", "pod", name, "-n", &shop, "--force"]).unwrap());
    let pod = new_pod(testbed, &shop);
    assert_eq!(injected(&pod), Some(LINE));
    let by = &pod["metadata"]["annotations"]["devops.stochastic.io/injected-by"];
    assert_eq!(*by, format!("{shop}/fill"));
    let container = &pod["spec"]["containers"][0];
    let probe = json!({ "tcpSocket": { "port": 8080 }, "initialDelaySeconds": 5, "periodSeconds": 10,
        "failureThreshold": 3, "timeoutSeconds": 1, "successThreshold": 1 });
    assert_eq!(container["readinessProbe"], probe);
    assert!(container["livenessProbe"].is_null(), "{container}");
    let resources = json!({ "requests": { "cpu": "100m", "memory": "64Mi" },
        "limits": { "memory": "128Mi" } });
    assert_eq!(container["resources"], resources);
    // The workload is not touched, and the same pod again is not changed.
    assert!(!has_probes(testbed, "Deployment", &shop, "web"));
    let get = ["get", "deployment", "web", "-n", &shop, "-o", "jsonpath={.metadata.generation}"];
    assert_eq!(testbed.kubectl(&get).unwrap().succeeded().unwrap(), "1");
    let mut again = pod_of(&shop, "web-abc");
    again["spec"]["containers"][0] = container.clone();
    again["spec"]["containers"][0].as_object_mut().unwrap().remove("volumeMounts");
    assert_eq!(injected(&dry_run(&admission, &again)), None);
    // Others are not changed.
    assert_eq!(injected(&dry_run(&admission, &pod_of(&shop, "other-abc"))), None);
    let bare_pod = json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "web", "namespace": shop }, "spec": { "containers": [bare()] } });
    assert_eq!(injected(&dry_run(&admission, &bare_pod)), None);
    let metrics = webhook.metrics().unwrap();
    let labels = [("operation", "create"), ("decision", "mutated")];
    assert!(metrics.value("webhook_requests_total", &labels) >= Some(2.0));

    // The operator switches it off.
    list_injection(testbed, &shop, "Reverted", &[LINE]);
    wait_until_injected(&admission, &shop, false);
    list_injection(testbed, &shop, "Injecting", &[LINE]);
    wait_until_injected(&admission, &shop, true);
    // Without the webhook pods come as they are.
    drop(webhook);
    let name = pod["metadata"]["name"].as_str().unwrap();
    created(&testbed.kubectl(&["delete", "pod", name, "-n", &shop, "--force"]).unwrap());
    let pod = new_pod(testbed, &shop);
    assert_eq!(injected(&pod), None);
    assert!(pod["spec"]["containers"][0]["readinessProbe"].is_null());
}

/// The patch of the operator: a readiness probe and a memory limit.
fn fill_in(operator: &Operator<'_>, kind: &str, namespace: &str) {
    let mut ours = named(kind, namespace, "web");
    ours["metadata"]["annotations"] = json!({ "devops.stochastic.io/patched-by": "a/b" });
    let mut container = with_probes(json!({ "name": "web" }));
    container["resources"] =
        json!({ "requests": { "cpu": "500m" }, "limits": { "memory": "128Mi" } });
    ours["spec"] = json!({ "template": { "spec": { "containers": [container] } } });
    created(&operator.apply(&ours));
}

#[test]
fn a_patched_workload_gives_way_to_its_owner() {
    let admission = AdmissionTestbed::new(&Parts::new("give-way"));
    let testbed = &admission.testbed;
    let operator = Operator::new(testbed);
    let webhook = admission.start("webhook", program(), &[]);
    admission.install_mutating(&webhook);
    let shop = testbed.namespace("shop").unwrap();
    let apply =
        |object: &Value| testbed.kubectl_stdin(&["apply", "-f", "-"], &object.to_string()).unwrap();
    let calls = || {
        let metrics = webhook.metrics().unwrap();
        let of = |decision| {
            let labels = [("operation", "update"), ("decision", decision)];
            metrics.value("webhook_requests_total", &labels).unwrap()
        };
        (of("mutated"), of("unchanged"))
    };
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        let own = workload(kind, &shop, "web", &bare());
        created(&apply(&own));
        let before = calls();
        created(&testbed.kubectl(&["label", kind, "web", "a=b", "-n", &shop]).unwrap());
        assert_eq!(calls(), before, "{kind}: the webhook is not asked about what nobody patched");
        fill_in(&operator, kind, &shop);
        // The API server learns of the configuration a moment later.
        let is_called = || {
            created(&testbed.kubectl(&[
                "label",
                kind,
                "web",
                "a=b",
                "--overwrite",
                "-n",
                &shop,
            ])?);
            Ok(calls() > before)
        };
        testbed.wait_for("a call", SURELY, is_called).unwrap();

        let mut later = own.clone();
        let web = &mut later["spec"]["template"]["spec"]["containers"][0];
        web["readinessProbe"] = json!({ "httpGet": { "port": 8080 }, "periodSeconds": 10 });
        web["livenessProbe"] = json!({ "exec": { "command": ["true"] } });
        web["resources"] = json!({ "requests": { "memory": "1Gi" }, "limits": { "cpu": "100m" } });
        created(&apply(&later));
        let get = ["get", kind, "web", "-n", &shop, "-o", "json"];
        let found: Value =
            serde_json::from_str(&testbed.kubectl(&get).unwrap().succeeded().unwrap()).unwrap();
        let web = &found["spec"]["template"]["spec"]["containers"][0];
        let probe = json!({ "httpGet": { "port": 8080, "path": "/", "scheme": "HTTP" },
            "periodSeconds": 10, "timeoutSeconds": 1, "successThreshold": 1,
            "failureThreshold": 3 });
        assert_eq!(web["readinessProbe"], probe, "{kind}");
        assert_eq!(web["livenessProbe"]["exec"], json!({ "command": ["true"] }), "{kind}");
        let resources = json!({ "requests": { "memory": "1Gi" }, "limits": { "cpu": "100m" } });
        assert_eq!(web["resources"], resources, "{kind}");
        assert!(calls().0 > before.0, "{kind}");
        // A plain apply again changes nothing.
        assert!(apply(&later).stdout.contains("unchanged"), "{kind}");
    }
}
