//! The watcher on a real API server: its scores equal those of `policyctl analyze`.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

mod election;
mod faults;
pub(crate) mod storm;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use e2e::{Parts, Service, Signal, Testbed, service_binary};
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

fn json_of(service: &Service<'_>, path: &str) -> Value {
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
    let agrees = testbed.wait_for("both to agree", SURELY, || {
        let (exported, found) = both();
        Ok(exported == found)
    });
    let (exported, found) = both();
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

fn delete_pod(testbed: &Testbed, namespace: &str, name: &str) {
    let delete = ["delete", "pod", name, "-n", namespace, "--grace-period=0", "--force"];
    testbed.kubectl(&delete).unwrap().succeeded().unwrap();
}

#[test]
fn a_pod_is_late_on_time_and_a_namespace_goes_with_its_last_pod() {
    let (testbed, kubeconfig) = installed(&Parts::new("late"));
    let policy = testbed.folder().join("late.yaml");
    let text = "{apiVersion: devops.stochastic.io/v1, kind: DevOpsPolicy, metadata: {name: late}, \
                spec: {forbidPendingDuration: 4}}";
    std::fs::write(&policy, text).unwrap();
    let watcher = testbed
        .service("watcher", program())
        .kubeconfig(&kubeconfig)
        .variable("GOV_POLICY", &policy)
        .start()
        .unwrap();
    watcher.wait_ready(SURELY).unwrap();
    wait_until_leads(&testbed, &watcher, SURELY);
    let namespace = testbed.namespace("late").unwrap();
    let labels = [("namespace", namespace.as_str()), ("check", "pending")];
    let late = || watcher.metrics().unwrap().value("namespace_violations", &labels);
    let events = || watcher.metrics().unwrap().value("pod_events_total", &[("event", "applied")]);
    assert_eq!(late(), None, "a namespace without pods has no series");
    let made = Instant::now();
    testbed.apply(&pod(&namespace, "waits")).unwrap();
    testbed.wait_for("the pod", SURELY, || Ok(late() == Some(0.0))).unwrap();
    let seen = events();
    testbed.wait_for("the pod to be late", SURELY, || Ok(late() == Some(1.0))).unwrap();
    // Later than four whole seconds, of which the first may have begun before.
    let after = made.elapsed();
    assert!(after >= Duration::from_secs(4), "{after:?}");
    assert!(after <= Duration::from_secs(8), "{after:?}");
    assert_eq!(events(), seen, "no event announced it");
    delete_pod(&testbed, &namespace, "waits");
    testbed.wait_for("the series to go", SURELY, || Ok(late().is_none())).unwrap();
    let metrics = watcher.metrics().unwrap();
    metrics_page::assert_documented("policy-watcher", &metrics);
    assert_eq!(metrics.value("cluster_pods", &[]), Some(0.0));
    assert_eq!(metrics.value("cluster_health_score", &[]), Some(100.0));
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
