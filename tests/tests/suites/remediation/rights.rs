//! Enforce mode without its permissions, and with exactly them.

use e2e::{Owner, Parts, Signal};
use serde_json::json;

use super::POLICY;
use super::enforced::{Enforced, SURELY};
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
    // The condition is not delayed by the first evaluation, nor the evaluation by the condition.
    operator::wait_for_status(&testbed, &operator, key, |status| {
        let policy = operator::policy(&testbed, &namespace, "p");
        operator::condition(&policy, "Remediating") == ("False", "NotPermitted")
            && status["podsEvaluated"] == 2
    });
    let scale = ["scale", "deployment/web", "--replicas=3", "-n", &namespace];
    testbed.kubectl(&scale).unwrap().succeeded().unwrap();
    operator::wait_for_status(&testbed, &operator, key, |status| status["podsEvaluated"] == 3);
    assert_eq!(read(&testbed, &web)["metadata"]["generation"], 2, "changed by its owner only");
}

#[test]
fn it_needs_each_rule_of_its_role_and_no_other() {
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
    let operator = enforced.operator();
    operator.signal(Signal::Term).unwrap();
    assert_eq!(operator.wait_exit(SURELY).unwrap().code(), Some(0));
    // The other roles of its account are those of audit mode.
    let rights = testbed.rights("kube-devops", "policy-operator").unwrap();
    let rights = rights.of_role("kube-devops-policy-operator-remediation");
    testbed.needs_all_but(&[], &rights).unwrap();
}
