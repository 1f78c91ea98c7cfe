//! The watcher on a real API server: its scores equal those of `policyctl analyze`.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

mod election;
mod faults;
pub(crate) mod storm;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Parts, Service, Signal, Testbed, service_binary};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::{cli, metrics_page};

/// For what takes a moment, on a busy machine.
pub(crate) const SURELY: Duration = Duration::from_secs(60);

fn program() -> &'static Path {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| service_binary("policy-watcher").unwrap());
    &PROGRAM
}

/// A testbed with what `deploy/kustomize/base` installs, and the watcher's kubeconfig.
pub(crate) fn installed(parts: &Parts) -> (Testbed, PathBuf) {
    let testbed = Testbed::start(parts).unwrap();
    testbed.install_base().unwrap();
    let kubeconfig = testbed.account_kubeconfig("kube-devops", "policy-watcher").unwrap();
    (testbed, kubeconfig)
}

/// A watcher that is ready.
pub(crate) fn start<'a>(testbed: &'a Testbed, name: &str, kubeconfig: &Path) -> Service<'a> {
    let watcher = testbed.service(name, program()).kubeconfig(kubeconfig).start().unwrap();
    watcher.wait_ready(SURELY).unwrap();
    watcher
}

/// Starts a watcher that scores by that spec of a policy, and waits until it leads.
pub(crate) fn start_with<'a>(testbed: &'a Testbed, kubeconfig: &Path, spec: &str) -> Service<'a> {
    let policy = testbed.folder().join("policy.yaml");
    std::fs::write(&policy, cli::policy("default", "scores", spec)).unwrap();
    let watcher = testbed
        .service("watcher", program())
        .kubeconfig(kubeconfig)
        .variable("GOV_POLICY", &policy)
        .start()
        .unwrap();
    watcher.wait_ready(SURELY).unwrap();
    wait_until_leads(testbed, &watcher, SURELY);
    watcher
}

pub(crate) fn json_of(service: &Service<'_>, path: &str) -> Value {
    let (status, body) = service.get(path).unwrap();
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// Waits until the scores of the watcher equal those of `policyctl analyze`.
fn assert_agrees(testbed: &Testbed, watcher: &Service<'_>) {
    let both = || {
        let scores = json_of(watcher, "/scores");
        let report = cli::analysis(testbed, &[]);
        let exported = json!({ "cluster": scores["cluster"], "namespaces": scores["namespaces"] });
        let found = json!({ "cluster": report["summary"], "namespaces": report["namespaces"] });
        (exported, found)
    };
    // What is found changes from second to second: both are asked until they agree.
    let mut last = (Value::Null, Value::Null);
    let agrees = testbed.wait_for("both to agree", 2 * SURELY, || {
        last = both();
        Ok(last.0 == last.1)
    });
    let (exported, found) = last;
    assert_eq!(exported, found, "{agrees:?}\n{}", watcher.logs().unwrap());
}

pub(crate) fn leads(watcher: &Service<'_>) -> bool {
    watcher.metrics().is_ok_and(|metrics| metrics.has("cluster_health_score"))
}

pub(crate) fn wait_until_leads(testbed: &Testbed, watcher: &Service<'_>, within: Duration) {
    let leads = testbed.wait_for("the watcher to lead", within, || Ok(leads(watcher)));
    assert!(leads.is_ok(), "{leads:?}\n{}", watcher.logs().unwrap());
}

fn pod(namespace: &str, name: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: {namespace}}}, \
         spec: {{containers: [{{name: c, image: nginx}}]}}}}"
    )
}

/// Asks until a finding has come, at most a second after its limit and never before it.
fn assert_comes_at(limit: i64, is_found: impl Fn() -> bool) {
    let deadline = Instant::now() + 2 * SURELY;
    loop {
        assert!(Instant::now() < deadline, "it never comes");
        let asked = Timestamp::now().as_second();
        let is_found = is_found();
        let answered = Timestamp::now().as_second();
        assert!(!is_found || answered >= limit, "{} s too early", limit - answered);
        assert!(is_found || asked <= limit, "{} s too late", asked - limit);
        if is_found {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn delete_pod(testbed: &Testbed, namespace: &str, name: &str) {
    let delete = ["delete", "pod", name, "-n", namespace, "--grace-period=0", "--force"];
    testbed.kubectl(&delete).unwrap().succeeded().unwrap();
}

#[test]
fn a_pod_is_late_on_time_and_a_namespace_goes_with_its_last_pod() {
    let (testbed, kubeconfig) = installed(&Parts::new("late"));
    let watcher = start_with(&testbed, &kubeconfig, "{forbidPendingDuration: 20}");
    let namespace = testbed.namespace("late").unwrap();
    let labels = [("namespace", namespace.as_str()), ("check", "pending")];
    let late = || watcher.metrics().unwrap().value("namespace_violations", &labels);
    let events = || watcher.metrics().unwrap().value("pod_events_total", &[("event", "applied")]);
    assert_eq!(late(), None, "a namespace without pods has no series");
    testbed.apply(&pod(&namespace, "waits")).unwrap();
    let created = "-o=jsonpath={.metadata.creationTimestamp}";
    let created = testbed.kubectl(&["get", "pod", "waits", "-n", &namespace, created]).unwrap();
    let created: Timestamp = created.succeeded().unwrap().parse().unwrap();
    testbed.wait_for("the pod", SURELY, || Ok(late() == Some(0.0))).unwrap();
    let seen = events();
    assert_comes_at(created.as_second() + 20, || late() == Some(1.0));
    assert_eq!(events(), seen, "no event announced it");
    delete_pod(&testbed, &namespace, "waits");
    testbed.wait_for("the series to go", SURELY, || Ok(late().is_none())).unwrap();
    let metrics = watcher.metrics().unwrap();
    metrics_page::assert_documented("policy-watcher", &metrics);
    assert_eq!(metrics.value("cluster_pods", &[]), Some(0.0));
    assert_eq!(metrics.value("cluster_health_score", &[]), Some(100.0));
}

/// Lets a container end just now, for the fourth time, and the pod be not ready from now on. Returns
/// that second.
pub(crate) fn crash(testbed: &Testbed, namespace: &str, pod: &str) -> i64 {
    let now = Timestamp::now().as_second();
    let time = Timestamp::from_second(now).unwrap().to_string();
    let end = json!({ "reason": "Error", "exitCode": 139, "finishedAt": time });
    let status = json!({ "status": {
        "phase": "Running",
        "conditions": [{ "type": "Ready", "status": "False", "lastTransitionTime": time }],
        "containerStatuses": [{ "name": "c", "image": "nginx", "imageID": "i", "ready": false,
            "restartCount": 4, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
            "lastState": { "terminated": end } }],
    } });
    let status = status.to_string();
    let patch = ["patch", "pod", pod, "-n", namespace, "--subresource=status", "-p", &status];
    testbed.kubectl(&patch).unwrap().succeeded().unwrap();
    now
}

/// One pod that is not ready and has restarted: the one finding comes, and the other one goes.
#[test]
fn findings_come_and_go_with_time_and_without_an_event() {
    let (testbed, kubeconfig) = installed(&Parts::new("ages"));
    let watcher = start_with(
        &testbed,
        &kubeconfig,
        "{forbidNotReadyDuration: 30, maxRestartCount: 3, restartWindow: 30}",
    );
    let namespace = testbed.namespace("ages").unwrap();
    let found = |check: &str| {
        let labels = [("namespace", namespace.as_str()), ("check", check)];
        watcher.metrics().unwrap().value("namespace_violations", &labels)
    };
    let both = || (found("not-ready"), found("high-restarts"));
    let events = || watcher.metrics().unwrap().value("pod_events_total", &[("event", "applied")]);
    testbed.apply(&pod(&namespace, "web")).unwrap();
    let changed = crash(&testbed, &namespace, "web");
    let before = (Some(0.0), Some(1.0));
    testbed.wait_for("the restarts to count", SURELY, || Ok(both() == before)).unwrap();
    let seen = events();
    let after = (Some(1.0), Some(0.0));
    assert_comes_at(changed + 30, || both() == after);
    assert_eq!(events(), seen, "no event announced it");
}

#[test]
fn it_needs_exactly_the_rules_that_are_installed() {
    let (testbed, kubeconfig) = installed(&Parts::new("rights"));
    let watcher = start(&testbed, "watcher", &kubeconfig);
    wait_until_leads(&testbed, &watcher, SURELY);
    testbed.apply(&pod("default", "one")).unwrap();
    assert_agrees(&testbed, &watcher);
    watcher.signal(Signal::Term).unwrap();
    assert_eq!(watcher.wait_exit(SURELY).unwrap().code(), Some(0));
    let rights = testbed.rights("kube-devops", "policy-watcher").unwrap();
    testbed.needs_all_but(&[], &rights).unwrap();
}
