//! The ways to stop enforce mode, and what each leaves.

use std::time::{Duration, Instant};

use e2e::{Owner, Testbed};
use serde_json::Value;

use super::POLICY;
use super::enforced::{Enforced, OPERATOR};
use super::usage;
use super::workloads::{
    INJECTED_BY, assert_succeeded, install, pods, read, replace_pods, wait_until_rolled_out,
    workload,
};
use crate::{cli, operator};

/// On a busy machine; a second else.
const SOON: Duration = Duration::from_secs(10);

fn kubectl(testbed: &Testbed, arguments: &[&str]) {
    testbed.kubectl(arguments).unwrap().succeeded().unwrap();
}

/// The requests of the operator that write a workload, dry runs among them.
fn writes(testbed: &Testbed) -> usize {
    let calls = testbed.audit(OPERATOR).unwrap();
    let is_write = |verb: &str| !["get", "list", "watch"].contains(&verb);
    calls.iter().filter(|call| call.group == "apps" && is_write(&call.verb)).count()
}

/// The next pods of the workload are injected into, or are not.
fn assert_injects(enforced: &Enforced, workload: &Value, is_expected: bool) {
    enforced.wait_until_injected(workload, is_expected);
    for pod in replace_pods(enforced.testbed(), workload) {
        assert_eq!(pod.pointer(INJECTED_BY).is_some(), is_expected, "{pod:#}");
    }
}

/// The condition `Remediating`.
fn remediating(testbed: &Testbed, namespace: &str) -> String {
    let policy = operator::policy(testbed, namespace, "p");
    let (status, reason) = operator::condition(&policy, "Remediating");
    format!("{status} {reason}")
}

fn template(live: &Value) -> &Value {
    &live["spec"]["template"]
}

#[test]
fn each_way_to_stop_ends_patches_and_injections_and_leaves_what_is_there() {
    let mut enforced = Enforced::start("stopped", &[]);
    let testbed = enforced.testbed();
    let namespace = testbed.namespace("shop").unwrap();
    let [web, helm, late] =
        ["web", "helm", "late"].map(|name| workload("Deployment", &namespace, name));
    assert_succeeded("web", &Owner::KubectlClientSide.apply(testbed, &web).unwrap());
    assert_succeeded("helm", &Owner::Helm.apply(testbed, &helm).unwrap());
    for deployment in [&web, &helm] {
        wait_until_rolled_out(testbed, deployment);
    }
    // With a memory limit it is observed for ten minutes.
    usage::report(testbed, &namespace, "100Mi");
    enforced.apply_policy(&namespace, POLICY);
    let state =
        |enforced: &Enforced, name: &str| enforced.state(&namespace, &format!("Deployment/{name}"));
    enforced.wait_until(&namespace, "one patch and one injection", || {
        state(&enforced, "web") == "Observing" && state(&enforced, "helm") == "Injecting"
    });
    wait_until_rolled_out(testbed, &web);
    assert_injects(&enforced, &helm, true);
    let patched = read(testbed, &web);

    // 1: the operator is told so at its start.
    enforced.restart(&[("GOV_REMEDIATION__ENABLED", "false")]);
    let leader = || Ok(operator::is_leader(enforced.operator()));
    testbed.wait_for("the new leader", SOON * 3, leader).unwrap();
    let (leading, written) = (Instant::now(), writes(testbed));
    enforced.wait_until(&namespace, "injection to be withdrawn", || {
        enforced.entry(&namespace, "Deployment/helm")["reason"] == "Disabled"
    });
    let took = leading.elapsed();
    assert!(took < SOON, "{took:?} from the moment at which it leads");
    // The webhook knows by the status.
    assert_injects(&enforced, &helm, false);
    install(testbed, Owner::KubectlClientSide, &late);
    let is_judged = || {
        let status = &operator::policy(testbed, &namespace, "p")["status"];
        status["podsEvaluated"] == pods(testbed, &namespace).len()
    };
    enforced.wait_until(&namespace, "audit to go on", is_judged);
    assert_eq!(remediating(testbed, &namespace), "False Disabled");
    assert_eq!((&*state(&enforced, "web"), &*state(&enforced, "helm")), ("Observing", "Waiting"));
    assert_eq!(template(&read(testbed, &web)), template(&patched), "nothing is taken back");
    assert_eq!(writes(testbed), written);

    // Enabled again it goes on where it was.
    enforced.restart(&[]);
    enforced.wait_until(&namespace, "enforce mode to go on", || {
        state(&enforced, "helm") == "Injecting"
            && enforced.is_patched(&namespace, "Deployment/late")
    });
    assert_injects(&enforced, &helm, true);
    assert_eq!(template(&read(testbed, &web)), template(&patched));
    wait_until_rolled_out(testbed, &late);

    // 2: its rights and the webhook are removed.
    kubectl(testbed, &["delete", "clusterrolebinding", "kube-devops-policy-operator-remediation"]);
    let webhook = "kube-devops-policy-webhook";
    kubectl(testbed, &["delete", "mutatingwebhookconfiguration", webhook]);
    // The next observation of a rollout notices it.
    enforced.wait_until(&namespace, "the missing right to be noticed", || {
        remediating(testbed, &namespace) == "False NotPermitted"
    });
    assert_injects(&enforced, &helm, false);
    assert_eq!(state(&enforced, "web"), "Observing", "it is not known whether it does harm");
    assert_eq!(template(&read(testbed, &web)), template(&patched));

    // 3: the policy only audits.
    enforced.apply_policy(&namespace, &POLICY.replace("enforcementMode: enforce, ", ""));
    enforced.wait_until(&namespace, "the policy to audit", || {
        remediating(testbed, &namespace) == " " && state(&enforced, "helm").is_empty()
    });
    assert_eq!(state(&enforced, "web"), "Observing", "it is remembered for later");
    assert_eq!(template(&read(testbed, &web)), template(&patched));
    // Taking back needs none of them.
    let rows = cli::json(testbed, &["revert", "--all", "-n", &namespace], "");
    let reverted = rows.as_array().unwrap().iter().map(|row| row["workload"].as_str().unwrap());
    assert_eq!(reverted.collect::<Vec<_>>(), ["Deployment/late", "Deployment/web"], "{rows:#}");
    wait_until_rolled_out(testbed, &web);
    let after = read(testbed, &web);
    assert_eq!(
        after.pointer("/spec/template/spec/containers/0/resources"),
        Some(&serde_json::json!({}))
    );
}
