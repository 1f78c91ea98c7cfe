//! What the chart renders works: its pods run as processes, with the rendered arguments, environment,
//! token and probes.

use std::process::Command;
use std::time::Duration;

use e2e::{Parts, ProcessKubelet, Run, Testbed, service_binary};
use serde_json::Value;

use super::{NAMESPACE, helm};
use crate::cli;

const SURELY: Duration = Duration::from_secs(30);
const COMPONENTS: [&str; 3] = ["policy-operator", "policy-watcher", "policy-webhook"];
/// A namespace with one pod, which the components are told to exclude.
const EXCLUDED: &str = "{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: hidden}, \
    spec: {containers: [{name: a, image: nginx}]}}";

fn get(testbed: &Testbed, what: &[&str]) -> String {
    testbed.kubectl(&[&["get"], what].concat()).unwrap().succeeded().unwrap()
}

#[test]
fn the_rendered_components_are_ready_by_their_probes_and_do_their_work() {
    // Not within the deadline of Helm.
    service_binary("policy-webhook").unwrap();
    let parts = Parts::new("running").with_controllers().with_nodes(1).with_pods_as_processes();
    let testbed = &Testbed::start(&parts).unwrap();
    testbed
        .run_pods(|kubelet| {
            install(testbed, kubelet);
            use_components(testbed, kubelet);
            replace_pods(testbed, kubelet);
            uninstall(testbed);
            Ok(())
        })
        .unwrap();
}

fn install(testbed: &Testbed, kubelet: &ProcessKubelet<'_>) {
    testbed.kubectl(&["create", "namespace", "hidden"]).unwrap().succeeded().unwrap();
    let options = ["--create-namespace", "--wait", "--timeout=2m"];
    let values = ["--set", "excludedNamespaces={hidden}"];
    let installed = helm(testbed, "install", &[&options[..], &values].concat());
    let of_pods = "{range .items[*]}{.metadata.name} {.status.conditions[3].message}{'\\n'}{end}";
    let path = format!("-o=jsonpath={of_pods}");
    let pods = get(testbed, &["pods", "-n", NAMESPACE, &path]);
    assert_eq!(installed.code, Some(0), "{installed:?}\n{pods}");
    for component in COMPONENTS {
        assert_eq!(kubelet.ready_pods(component).len(), 2, "{component}: {pods}");
    }
}

/// Each does what it is there for, with its own rights, and told by its own environment.
fn use_components(testbed: &Testbed, kubelet: &ProcessKubelet<'_>) {
    testbed.apply(EXCLUDED).unwrap();
    let policy = ["bundle", "apply", "restricted", "-n", "default"];
    testbed.apply(&cli::expect(testbed, 0, &policy, "")).unwrap();
    let is_denied = || {
        // Through the Service of the chart, with the certificate for its name.
        let bad = ["run", "bad", "--image=nginx", "--dry-run=server"];
        let said = testbed.kubectl(&bad)?.stderr;
        Ok(said.contains("denied by policy default/devops-policy"))
    };
    testbed.wait_for("the webhook to deny", SURELY, is_denied).unwrap();
    let judged = ["dop", "-n", "default", "-o=jsonpath={.items[*].status.classification}"];
    testbed.wait_for("the verdict", SURELY, || Ok(get(testbed, &judged) == "Healthy")).unwrap();
    let counts = || {
        let scores = kubelet.ready_pods("policy-watcher").into_iter().map(|pod| {
            // Through the API server, by the port that the chart names.
            let pod = format!("http:{}:8080", pod.name());
            let raw = format!("--raw=/api/v1/namespaces/{NAMESPACE}/pods/{pod}/proxy/scores");
            let scores: Value = serde_json::from_str(&get(testbed, &[&raw])).unwrap();
            scores["cluster"]["pods"].clone()
        });
        scores.collect::<Vec<_>>()
    };
    // The platform's own six pods, by each replica.
    testbed.wait_for("the scores", SURELY, || Ok(counts() == [6, 6])).unwrap();
    for component in COMPONENTS {
        let user = format!("system:serviceaccount:{NAMESPACE}:{component}");
        let calls = testbed.audit(&user).unwrap();
        let refused: Vec<_> = calls.iter().filter(|call| call.code == 403).collect();
        assert!(!calls.is_empty() && refused.is_empty(), "{component}: {refused:?}");
    }
}

/// Both a container that was killed and a pod that was deleted come back, and are ready again.
fn replace_pods(testbed: &Testbed, kubelet: &ProcessKubelet<'_>) {
    let [killed, _] = kubelet.ready_pods("policy-operator").try_into().unwrap();
    let mut running = testbed.processes().into_iter();
    let (pid, _) = running.find(|(_, name)| name == killed.name()).unwrap();
    let mut kill = Command::new("sh");
    kill.args(["-c", "kill -s KILL $1", "sh", &pid.to_string()]);
    Run::of(&mut kill, None).unwrap().succeeded().unwrap();
    let restarts = "-o=jsonpath={.status.containerStatuses[0].restartCount}";
    let restarts = ["pod", killed.name(), "-n", NAMESPACE, restarts];
    let is_ready = || {
        let both = kubelet.ready_pods("policy-operator").len() == 2;
        Ok(both && get(testbed, &restarts) == "1")
    };
    testbed.wait_for("the container to run again", SURELY, is_ready).unwrap();
    let [deleted, _] = kubelet.ready_pods("policy-watcher").try_into().unwrap();
    let delete = ["delete", "pod", deleted.name(), "-n", NAMESPACE, "--timeout=30s"];
    testbed.kubectl(&delete).unwrap().succeeded().unwrap();
    assert!(deleted.get("/healthz").is_err(), "the process of a deleted pod has ended");
    let is_replaced = || Ok(kubelet.ready_pods("policy-watcher").len() == 2);
    testbed.wait_for("another pod in its place", SURELY, is_replaced).unwrap();
}

/// The Job of the chart's hook runs policyctl, so that Helm can delete the rest.
fn uninstall(testbed: &Testbed) {
    let mut helm = testbed.helm().unwrap();
    helm.args(["uninstall", "kube-devops", "--namespace", NAMESPACE, "--timeout=2m"]);
    Run::of(&mut helm, None).unwrap().succeeded().unwrap();
    let kept = get(testbed, &["deployments,jobs", "-n", NAMESPACE, "-o", "name"]);
    assert_eq!(kept, "", "nothing is left");
}
