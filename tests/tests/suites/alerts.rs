//! The alerts on workloads of kubernetes-mixin
//! (<https://github.com/kubernetes-monitoring/kubernetes-mixin>, `alerts/apps_alerts.libsonnet`): for each
//! of them a finding or a note comes while its expression is true, and goes when it is not. The alerts
//! wait for 15 minutes, the policies here for some seconds.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use e2e::{Parts, Service, Testbed};
use serde_json::{Value, json};

use crate::cli;
use crate::operator::{self, wait_for_status};
use crate::watcher::{self, SURELY};

const SPEC: &str = "{forbidNotReadyDuration: 5, forbidPendingDuration: 5}";

/// An alert, and how its expression becomes true of a Deployment `web` of two pods.
struct Alert {
    name: &'static str,
    /// The annotation of its pods that makes kwok play that.
    annotation: (&'static str, &'static str),
    /// The expression, over the pods and the Deployment.
    is_true: fn(&[Value], &Value) -> bool,
    /// The check that finds it, by which the watcher counts it.
    check: &'static str,
    finding: &'static str,
    note: Option<&'static str>,
}

const ALERTS: [Alert; 4] = [
    Alert {
        name: "KubePodCrashLooping",
        annotation: ("waiting", "CrashLoopBackOff"),
        is_true: |pods, _| {
            pods.iter().any(|pod| {
                let state = &pod["status"]["containerStatuses"][0]["state"];
                state["waiting"]["reason"] == "CrashLoopBackOff"
            })
        },
        check: "not-ready",
        finding: "Deployment/web: not ready for longer than 5 s (CrashLoopBackOff) (2 pods)",
        note: None,
    },
    Alert {
        name: "KubePodNotReady",
        annotation: ("phase", "Pending"),
        is_true: |pods, _| pods.iter().any(|pod| pod["status"]["phase"] == "Pending"),
        check: "pending",
        finding: "Deployment/web: pending longer than 5 s (2 pods)",
        note: None,
    },
    Alert {
        name: "KubeDeploymentReplicasMismatch",
        annotation: ("ready", "false"),
        is_true: |_, web| {
            let available = web["status"]["availableReplicas"].as_u64().unwrap_or_default();
            web["spec"]["replicas"].as_u64() > Some(available)
        },
        check: "not-ready",
        finding: "Deployment/web: not ready for longer than 5 s (2 pods)",
        note: None,
    },
    Alert {
        name: "KubeDeploymentRolloutStuck",
        annotation: ("ready", "false"),
        is_true: |_, web| {
            let conditions = web["status"]["conditions"].as_array();
            conditions.into_iter().flatten().any(|condition| {
                condition["type"] == "Progressing" && condition["status"] == "False"
            })
        },
        check: "not-ready",
        finding: "Deployment/web: not ready for longer than 5 s (2 pods)",
        note: Some("Deployment/web: rollout is stuck: ProgressDeadlineExceeded (ReplicaSet "),
    },
];

struct Case<'a> {
    alert: &'a Alert,
    namespace: String,
    testbed: &'a Testbed,
    operator: &'a Service<'a>,
    watcher: &'a Service<'a>,
}

impl Case<'_> {
    /// A Deployment whose rollout is stuck after 8 s without progress, where that is the alert.
    fn deploy(&self) {
        let (key, value) = self.alert.annotation;
        let deadline = if self.alert.note.is_some() { 8 } else { 600 };
        let web = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "web", "namespace": self.namespace },
            "spec": { "replicas": 2, "progressDeadlineSeconds": deadline,
                "selector": { "matchLabels": { "app": "web" } },
                "template": {
                    "metadata": { "labels": { "app": "web" },
                        "annotations": { format!("testbed/{key}"): value } },
                    "spec": { "containers": [{ "name": "c", "image": "nginx:1.27" }] } } },
        });
        self.testbed.apply(&web.to_string()).unwrap();
    }

    fn heal(&self) {
        let annotation = format!("testbed/{}-", self.alert.annotation.0);
        let heal = ["annotate", "pods", "--all", "-n", &self.namespace, &annotation];
        self.testbed.kubectl(&heal).unwrap().succeeded().unwrap();
    }

    /// Whether the alert's expression is true.
    fn is_true(&self) -> bool {
        let web = ["get", "deployment", "web", "-n", &self.namespace, "-o", "json"];
        let web = self.testbed.kubectl(&web).unwrap().succeeded().unwrap();
        let pods = operator::list(self.testbed, &self.namespace, "pods");
        (self.alert.is_true)(&pods, &serde_json::from_str(&web).unwrap())
    }

    /// Waits until operator and watcher have the finding, or have it no more.
    fn wait(&self, is_found: bool) {
        let Alert { name, check, finding, note, .. } = *self.alert;
        let policy = (self.namespace.as_str(), "health");
        let violations = if is_found { json!([finding]) } else { Value::Null };
        wait_for_status(self.testbed, self.operator, policy, |status| {
            let noted = status["notes"][0].as_str();
            let is_noted = match note.filter(|_| is_found) {
                None => noted.is_none(),
                Some(note) => noted.is_some_and(|noted| noted.starts_with(note)),
            };
            status["podsEvaluated"] == 2 && status["violations"] == violations && is_noted
        });
        let labels = [("namespace", self.namespace.as_str()), ("check", check)];
        let expected = Some(if is_found { 2.0 } else { 0.0 });
        let counted = self.testbed.wait_for(name, SURELY, || {
            Ok(self.watcher.metrics()?.value("namespace_violations", &labels) == expected)
        });
        assert!(counted.is_ok(), "{counted:?}\n{}", self.watcher.logs().unwrap());
        // The Deployment's own status follows by another controller.
        let follows = self.testbed.wait_for(name, SURELY, || Ok(self.is_true() == is_found));
        follows.unwrap();
    }
}

#[test]
fn what_the_alerts_on_workloads_say_comes_and_goes_with_them() {
    let parts = Parts::new("alerts").with_controllers().with_nodes(1);
    let (testbed, kubeconfig) = operator::installed(&parts);
    let operator = operator::start(&testbed, "operator", &kubeconfig);
    let kubeconfig = testbed.account_kubeconfig("kube-devops", "policy-watcher").unwrap();
    let watcher = watcher::start_with(&testbed, &kubeconfig, SPEC);
    let case = |alert| {
        let namespace = testbed.namespace("alert").unwrap();
        testbed.apply(&cli::policy(&namespace, "health", SPEC)).unwrap();
        Case { alert, namespace, testbed: &testbed, operator: &operator, watcher: &watcher }
    };
    let cases: Vec<_> = ALERTS.iter().map(case).collect();
    cases.iter().for_each(Case::deploy);
    for case in &cases {
        case.wait(true);
    }
    let stuck = cases.last().unwrap();
    let analysis = cli::analysis(&testbed, &["-n", &stuck.namespace]);
    let note = &analysis["coverage"]["notes"][0];
    assert_eq!(note["source"], format!("{} Deployment/web", stuck.namespace));
    let message = note["message"].as_str().unwrap();
    assert!(message.starts_with("rollout is stuck: ProgressDeadlineExceeded"), "{analysis:#}");
    let web = ["get", "deployment", "web", "-n", &stuck.namespace, "-o", "yaml"];
    let file = testbed.folder().join("web.yaml");
    std::fs::write(&file, testbed.kubectl(&web).unwrap().succeeded().unwrap()).unwrap();
    let analysis = cli::analysis(&testbed, &["-f", file.to_str().unwrap()]);
    let noted = &analysis["coverage"]["notes"][0]["message"];
    let expected = format!("Deployment {}/web: {message}", stuck.namespace);
    assert_eq!(*noted, expected, "{analysis:#}");
    cases.iter().for_each(Case::heal);
    for case in &cases {
        case.wait(false);
    }
}
