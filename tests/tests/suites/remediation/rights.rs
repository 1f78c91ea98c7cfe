//! Enforce mode without its permissions, and with exactly them.

use std::collections::BTreeSet;

use e2e::{AuditedCall, Owner, Parts};
use serde_json::{Value, json};

use super::POLICY;
use super::enforced::{Enforced, OPERATOR};
use super::usage;
use super::workloads::{assert_succeeded, install, read, wait_until_rolled_out, workload};
use crate::operator;

#[test]
fn without_its_role_enforce_says_so_and_audits_on() {
    let (testbed, kubeconfig) =
        operator::installed(&Parts::new("unpermitted").with_controllers().with_nodes(1));
    let operator = operator::start(&testbed, "operator", &kubeconfig);
    let namespace = testbed.namespace("shop").unwrap();
    let web = workload("Deployment", &namespace, "web");
    install(&testbed, Owner::KubectlClientSide, &web);
    testbed.apply(&crate::cli::policy(&namespace, "p", POLICY)).unwrap();
    let key = (namespace.as_str(), "p");
    let policy = operator::wait_for_status(&testbed, &operator, key, |_| {
        let policy = operator::policy(&testbed, &namespace, "p");
        operator::condition(&policy, "Remediating") == ("False", "NotPermitted")
    });
    assert_eq!(policy["status"]["podsEvaluated"], 2, "{policy:#}");
    let scale = ["scale", "deployment/web", "--replicas=3", "-n", &namespace];
    testbed.kubectl(&scale).unwrap().succeeded().unwrap();
    operator::wait_for_status(&testbed, &operator, key, |status| status["podsEvaluated"] == 3);
    assert_eq!(read(&testbed, &web)["metadata"]["generation"], 2, "changed by its owner only");
}

/// What the role grants, as verb, group and resource.
fn granted(role: &Value) -> BTreeSet<String> {
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(super::workloads::text).collect()
    };
    let mut all = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                all.extend(
                    texts(&rule["verbs"]).iter().map(|verb| format!("{verb} {group}/{resource}")),
                );
            }
        }
    }
    all
}

#[test]
fn it_uses_each_rule_of_its_role_and_needs_no_other() {
    let enforced = Enforced::start("exact", &[]);
    let testbed = enforced.testbed();
    let namespace = testbed.namespace("shop").unwrap();
    let kinds = ["Deployment", "StatefulSet", "DaemonSet"];
    let label = |kind: &str| format!("{kind}/{}", kind.to_lowercase());
    for kind in kinds {
        let mut object = workload(kind, &namespace, &kind.to_lowercase());
        if kind == "StatefulSet" {
            // Its pods break, and the broken one has to be deleted.
            object["spec"]["template"]["metadata"]["annotations"] =
                json!({ "testbed/bounded": "unready" });
        }
        install(testbed, Owner::KubectlClientSide, &object);
    }
    // Whether it has a Deployment, only the ReplicaSet itself says.
    let bare = workload("ReplicaSet", &namespace, "bare");
    assert_succeeded("bare", &Owner::KubectlClientSide.apply(testbed, &bare).unwrap());
    usage::report(testbed, &namespace, "100Mi");
    enforced.apply_policy(&namespace, POLICY);
    enforced.wait_until(&namespace, "all kinds to be patched", || {
        ["Deployment", "DaemonSet"].iter().all(|kind| enforced.is_patched(&namespace, &label(kind)))
            && enforced.state(&namespace, &label("StatefulSet")) == "Reverted"
    });
    wait_until_rolled_out(testbed, &workload("StatefulSet", &namespace, "statefulset"));
    let calls = testbed.audit(OPERATOR).unwrap();
    let refused: Vec<&AuditedCall> = calls.iter().filter(|call| call.code == 403).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    let used: BTreeSet<_> = calls
        .iter()
        .filter(|call| call.subresource.is_empty())
        .map(|call| format!("{} {}/{}", call.verb, call.group, call.resource))
        .collect();
    let get = ["get", "clusterrole", "kube-devops-policy-operator-remediation", "-o", "json"];
    let role = testbed.kubectl(&get).unwrap().succeeded().unwrap();
    let granted = granted(&serde_json::from_str(&role).unwrap());
    let unused: Vec<_> = granted.difference(&used).collect();
    assert!(unused.is_empty(), "{unused:?} of {used:?}");
}
