//! policyctl works with exactly the rights that docs/policyctl.md names: nothing is refused, and
//! no rule is there for nothing.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::path::Path;
use std::sync::LazyLock;

use e2e::{Parts, Testbed};
use serde_json::{Value, json};

use crate::cli;

/// Definitions are installed by somebody without any other right, so no suite may have done so.
static TESTBED: LazyLock<Testbed> =
    LazyLock::new(|| Testbed::start(&Parts::new("rights")).unwrap());

/// The rules of a `ClusterRole` of the documentation.
fn documented(role: &str) -> Vec<Value> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/policyctl.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut roles = blocks.map(|block| serde_saphyr::from_str::<Value>(block).unwrap());
    let found = roles.find(|found| found["metadata"]["name"] == role).unwrap();
    found["rules"].as_array().unwrap().clone()
}

fn text(rules: &[Value]) -> String {
    serde_json::to_string(rules).unwrap()
}

/// Runs the commands, all of which have to succeed, and have to need all rights of that account.
fn needs_exactly(
    kubeconfig: &Path,
    (namespace, account): (&str, &str),
    commands: &[(&[&str], &str)],
) {
    for (arguments, stdin) in commands {
        let run = cli::run(kubeconfig, arguments, stdin);
        assert_eq!(run.code, Some(0), "policyctl {arguments:?}: {run:?}");
    }
    let rights = TESTBED.rights(namespace, account).unwrap();
    TESTBED.needs_all_but(&[], &rights).unwrap();
}

/// The kinds that the operator patches.
const PATCHABLE: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

/// Workloads of each kind with a request that the operator has filled in.
fn patched_workloads(testbed: &Testbed, namespace: &str) {
    for kind in PATCHABLE {
        let service = if kind == "StatefulSet" { "serviceName: web, " } else { "" };
        let head = format!(
            "apiVersion: apps/v1, kind: {kind}, metadata: {{name: web, namespace: {namespace}}}"
        );
        let container = "{name: web, image: 'web:1'}";
        testbed
            .apply(&format!(
                "{{{head}, spec: {{{service}selector: {{matchLabels: {{a: b}}}}, template: \
                 {{metadata: {{labels: {{a: b}}}}, spec: {{containers: [{container}]}}}}}}}}"
            ))
            .unwrap();
        let ours = "{name: web, resources: {requests: {cpu: 100m}}}";
        let ours = format!("{{{head}, spec: {{template: {{spec: {{containers: [{ours}]}}}}}}}}");
        let apply = ["apply", "--server-side", "--field-manager=policy-operator", "-f", "-"];
        testbed.kubectl_stdin(&apply, &ours).unwrap().succeeded().unwrap();
    }
}

/// What the operator says of them in the status of the policy.
fn list_patched(testbed: &Testbed, namespace: &str) {
    let workloads = PATCHABLE.map(|kind| {
        json!({ "workload": format!("{kind}/web"), "state": "Patched",
            "since": "2026-11-28T12:00:00Z", "fields": ["web: requests.cpu=100m"] })
    });
    let status = json!({ "status": { "remediation": { "workloads": workloads } } }).to_string();
    let patch = ["patch", "dop", "devops-policy", "-n", namespace, "--subresource=status"];
    let patch = [&patch[..], &["--type=merge", "-p", &status]].concat();
    testbed.kubectl(&patch).unwrap().succeeded().unwrap();
}

#[test]
fn readers_and_writers_need_exactly_what_the_documentation_names() {
    let testbed = &*TESTBED;
    let namespace = testbed.namespace("shop").unwrap();
    let policy = cli::expect(testbed, 0, &["bundle", "apply", "restricted", "-n", &namespace], "");
    let strict = policy.replace("maxRestartCount: 3", "maxRestartCount: 2");
    let write = documented("policyctl-write");
    let writer = testbed.service_account(&namespace, "writer", &text(&write)).unwrap();
    let authority = testbed.certificate_authority().to_str().unwrap();
    let webhook = ["webhook", "install-config", "--ca-bundle-path", authority];
    let mutating = [&webhook[..], &["--mutating"]].concat();
    patched_workloads(testbed, &namespace);
    let cluster = cli::expect(testbed, 0, &["bundle", "apply", "baseline", "--cluster"], "");
    let commands: [(&[&str], &str); 11] = [
        (&["crd", "install"], ""),
        (&["crd", "install"], ""),
        (&["import", "-"], &policy),
        (&["import", "-"], &strict),
        (&["import", "-"], &cluster),
        (&["import", "-"], &cluster.replace("false", "true")),
        (&webhook, ""),
        (&webhook, ""),
        (&mutating, ""),
        (&mutating, ""),
        (&["revert", "--all", "-n", &namespace], ""),
    ];
    needs_exactly(&writer, (&namespace, "writer"), &commands);
    let read = documented("policyctl-read");
    list_patched(testbed, &namespace);
    let reader = testbed.service_account(&namespace, "reader", &text(&read)).unwrap();
    let commands: [(&[&str], &str); 15] = [
        (&["check"], ""),
        (&["remediations", "-n", &namespace], ""),
        (&["analyze"], ""),
        (&["list", "pods"], ""),
        (&["analyze", "-n", &namespace], ""),
        (&["export", "-A"], ""),
        (&["diff", "-"], &strict),
        (&["explain", "devops-policy", "-n", &namespace], ""),
        (&["explain", "devops-policy", "--cluster"], ""),
        (&["analyze", "--policies", "cluster"], ""),
        (&["export-vap", "devops-policy", "-n", &namespace], ""),
        (&["preview", "-"], &strict),
        (&["preview", "--bundle", "baseline", "-A"], ""),
        (&["admit", "-f", "-", "-n", &namespace], &strict),
        (&["multi-cluster", "analyze"], ""),
    ];
    needs_exactly(&reader, (&namespace, "reader"), &commands);
}

#[test]
fn several_namespaces_are_read_by_who_may_list_them() {
    let testbed = &*TESTBED;
    let namespaces = documented("policyctl-namespaces");
    let pods: Vec<Value> = documented("policyctl-read")
        .into_iter()
        .filter(|rule| rule["resources"][0] == "pods")
        .collect();
    let open = testbed.namespace("open").unwrap();
    let closed = testbed.namespace("closed").unwrap();
    let user = testbed.service_account(&open, "some", &text(&namespaces)).unwrap();
    let role = serde_json::json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": { "name": "pods", "namespace": open }, "rules": pods,
    });
    testbed.apply(&role.to_string()).unwrap();
    let account = format!("--serviceaccount={open}:some");
    let bind = ["create", "rolebinding", "pods", "--role=pods", &account, "-n", &open];
    testbed.kubectl(&bind).unwrap().succeeded().unwrap();
    for name in ["a", "b"] {
        let pod = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: {open}}}, spec: {{containers: [{{name: c, image: nginx}}]}}}}"
        );
        testbed.apply(&pod).unwrap();
    }
    let run = cli::run(&user, &["analyze", "-o", "json"], "");
    assert_eq!(run.code, Some(3), "{run:?}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["summary"]["pods"], 2);
    let failed = report["coverage"]["failed"].as_array().unwrap();
    let refused: Vec<&str> = failed.iter().map(|f| f["source"].as_str().unwrap()).collect();
    assert!(refused.contains(&format!("namespace {closed}").as_str()), "{refused:?}");
    assert!(!refused.iter().any(|part| part.contains("kube-system")), "never scored: {refused:?}");
    assert!(!refused.contains(&format!("namespace {open}").as_str()), "{refused:?}");
    // Nothing is missing from what was asked for here.
    let run = cli::run(&user, &["analyze", "-n", &open], "");
    assert_eq!(run.code, Some(0), "{run:?}");
}
