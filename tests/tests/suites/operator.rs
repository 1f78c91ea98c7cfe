//! The operator on a real API server: `kubectl get dop` is right, and always current.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

mod audit;
mod changes;
mod cluster;
mod custom;
mod deletion;
mod drains;
mod faults;
mod guarded;
mod images;
mod limits;
mod open_reports;
mod quiet;
mod rights;
mod storm;
mod tenants;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use e2e::{Parts, Service, Testbed, service_binary};
use serde_json::{Value, json};

use crate::cli;
pub(crate) use guarded::create_undecodable;

/// The longest time of what takes a moment, on a busy machine.
const SURELY: Duration = Duration::from_secs(60);

pub(crate) fn program() -> &'static Path {
    static PROGRAM: LazyLock<PathBuf> =
        LazyLock::new(|| service_binary("policy-operator").unwrap());
    &PROGRAM
}

/// A testbed with the CRDs and everything of `deploy/kustomize/base`, and the kubeconfig of the
/// operator.
pub(crate) fn installed(parts: &Parts) -> (Testbed, PathBuf) {
    let testbed = Testbed::start(parts).unwrap();
    cli::expect(&testbed, 0, &["crd", "install"], "");
    testbed.install_base().unwrap();
    let kubeconfig = testbed.account_kubeconfig("kube-devops", "policy-operator").unwrap();
    (testbed, kubeconfig)
}

/// An operator that is ready. It need not be the leader.
pub(crate) fn start<'a>(testbed: &'a Testbed, name: &str, kubeconfig: &Path) -> Service<'a> {
    let operator = testbed.service(name, program()).kubeconfig(kubeconfig).start().unwrap();
    operator.wait_ready(SURELY).unwrap();
    operator
}

pub(crate) fn is_leader(operator: &Service<'_>) -> bool {
    operator.metrics().is_ok_and(|metrics| metrics.value("leader", &[]) == Some(1.0))
}

fn apply_policy(testbed: &Testbed, namespace: &str, name: &str, spec: &str) {
    testbed.apply(&cli::policy(namespace, name, spec)).unwrap();
}

fn apply_pod(testbed: &Testbed, namespace: &str, name: &str, image: &str) {
    let text = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: {namespace}}}, \
         spec: {{containers: [{{name: c, image: '{image}'}}]}}}}"
    );
    testbed.apply(&text).unwrap();
}

/// Sets the status as a kubelet does.
fn patch_status(testbed: &Testbed, namespace: &str, pod: &str, phase: &str, restarts: u32) {
    let status = format!(
        r#"{{"status": {{"phase": "{phase}", "containerStatuses": [{{"name": "c", "image": "i",
            "imageID": "i", "ready": true, "restartCount": {restarts}}}]}}}}"#
    );
    let patch = ["patch", "pod", pod, "-n", namespace, "--subresource=status", "-p", &status];
    testbed.kubectl(&patch).unwrap().succeeded().unwrap();
}

fn delete(testbed: &Testbed, namespace: &str, object: &str) {
    let delete = ["delete", object, "-n", namespace, "--grace-period=0", "--force"];
    testbed.kubectl(&delete).unwrap().succeeded().unwrap();
}

/// A Deployment `web` of two pods, which the controllers make.
fn deploy_web(testbed: &Testbed, namespace: &str) {
    let labels = json!({ "app": "web" });
    let web = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "web", "namespace": namespace },
        "spec": { "replicas": 2, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "c", "image": "nginx:1.27" }] } } },
    });
    testbed.apply(&web.to_string()).unwrap();
}

/// The policy; without a namespace a cluster policy. `null` where there is none.
pub(crate) fn policy(testbed: &Testbed, namespace: &str, name: &str) -> Value {
    let kind = if namespace.is_empty() { "cdop" } else { "dop" };
    let get = ["get", kind, name, "-n", namespace, "-o", "json"];
    let run = testbed.kubectl(&get).unwrap();
    serde_json::from_str(&run.stdout).unwrap_or_default()
}

/// All objects of a kind in a namespace.
pub(crate) fn list(testbed: &Testbed, namespace: &str, kind: &str) -> Vec<Value> {
    let get = ["get", kind, "-n", namespace, "-o", "json"];
    let text = testbed.kubectl(&get).unwrap().succeeded().unwrap();
    let list: Value = serde_json::from_str(&text).unwrap();
    list["items"].as_array().cloned().unwrap_or_default()
}

/// Waits until the status is as expected, and returns the policy.
pub(crate) fn wait_for_status(
    testbed: &Testbed,
    operator: &Service<'_>,
    (namespace, name): (&str, &str),
    expected: impl Fn(&Value) -> bool,
) -> Value {
    let read = || policy(testbed, namespace, name);
    wait_for_object(testbed, operator, ("the status", SURELY), read, |policy| {
        expected(&policy["status"])
    })
}

/// Waits until an object is as expected, and returns it.
fn wait_for_object(
    testbed: &Testbed,
    operator: &Service<'_>,
    (what, deadline): (&str, Duration),
    read: impl Fn() -> Value,
    expected: impl Fn(&Value) -> bool,
) -> Value {
    let mut last = Value::Null;
    let waited = testbed.wait_for(what, deadline, || {
        last = read();
        Ok(expected(&last))
    });
    assert!(waited.is_ok(), "{waited:?}\n{last:#}\n{}", operator.logs().unwrap());
    last
}

/// The status and the reason of a condition; empty where it is not set.
pub(crate) fn condition<'a>(policy: &'a Value, type_: &str) -> (&'a str, &'a str) {
    let conditions = policy["status"]["conditions"].as_array().map(Vec::as_slice);
    let found = conditions.unwrap_or_default().iter().find(|found| found["type"] == type_);
    let text = |field: &str| found.and_then(|found| found[field].as_str()).unwrap_or_default();
    (text("status"), text("reason"))
}
