//! `policyctl` as the suites run it.
#![expect(clippy::unwrap_used, reason = "a test that cannot run the program has failed")]

use std::path::Path;
use std::process::Command;

use e2e::{Run, Testbed, policyctl};
use serde_json::Value;

/// Runs it against the cluster of a kubeconfig, with this standard input.
pub(crate) fn run(kubeconfig: &Path, arguments: &[&str], stdin: &str) -> Run {
    let mut command = Command::new(policyctl().unwrap());
    command.env("KUBECONFIG", kubeconfig).env_remove("NO_COLOR").args(arguments);
    Run::of(&mut command, Some(stdin)).unwrap()
}

/// Runs it as the administrator; it has to end with this exit code. Gives standard output.
pub(crate) fn expect(testbed: &Testbed, code: i32, arguments: &[&str], stdin: &str) -> String {
    let run = run(testbed.kubeconfig(), arguments, stdin);
    let Run { stdout, stderr, .. } = &run;
    assert_eq!(run.code, Some(code), "policyctl {arguments:?}\n{stdout}\n{stderr}");
    run.stdout
}

/// The JSON of `analyze` with these arguments.
pub(crate) fn analysis(testbed: &Testbed, arguments: &[&str]) -> Value {
    json(testbed, &[&["analyze"], arguments].concat(), "")
}

/// The JSON of a command that ends well, with this standard input.
pub(crate) fn json(testbed: &Testbed, arguments: &[&str], stdin: &str) -> Value {
    let json = expect(testbed, 0, &[arguments, &["-o", "json"]].concat(), stdin);
    serde_json::from_str(&json).unwrap()
}

/// A policy with that spec, in YAML.
pub(crate) fn policy(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: devops.stochastic.io/v1, kind: DevOpsPolicy, \
         metadata: {{name: {name}, namespace: {namespace}}}, spec: {spec}}}"
    )
}

/// A Deployment of two pods with one container of an image that nobody pinned.
pub(crate) fn web(namespace: &str) -> String {
    format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web, namespace: {namespace}}}, spec: \
         {{replicas: 2, selector: {{matchLabels: {{app: web}}}}, template: {{metadata: {{labels: {{app: web}}}}, \
         spec: {{containers: [{{name: nginx, image: nginx}}]}}}}}}}}"
    )
}

/// A pod that restarted so often.
pub(crate) fn restless(namespace: &str, restarts: u32) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: restless, namespace: {namespace}, \
         annotations: {{testbed/restarts: \"{restarts}\"}}}}, \
         spec: {{containers: [{{name: c, image: \"r.example.com/a:v1\"}}]}}}}"
    )
}

/// A namespace with [`web`] and [`restless`], which restarted nine times; all pods are running.
pub(crate) fn shop(testbed: &Testbed, prefix: &str) -> String {
    let namespace = testbed.namespace(prefix).unwrap();
    testbed.apply(&[web(&namespace), restless(&namespace, 9)].join("\n---\n")).unwrap();
    let is_settled = || {
        let found = analysis(testbed, &["-n", &namespace]);
        let summary = &found["summary"];
        let is_running = summary["violationsByCheck"]["pending"] == 0;
        Ok(is_running && summary["pods"] == 3 && summary["restartSeverity"] == 5)
    };
    testbed
        .wait_for("the pods of the shop", std::time::Duration::from_secs(60), is_settled)
        .unwrap();
    namespace
}
