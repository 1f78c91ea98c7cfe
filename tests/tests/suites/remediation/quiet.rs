//! Where nothing is to be changed, no workload is written to.

use std::collections::BTreeSet;

use e2e::{Owner, Testbed};
use serde_json::json;

use super::POLICY;
use super::enforced::{Enforced, OPERATOR};
use super::workloads::{install, pods, wait_until_rolled_out, workload};

const WEBHOOK: &str = "system:serviceaccount:kube-devops:policy-webhook";
const DISABLED: &str = "devops.stochastic.io/remediation";

/// The namespaces in which a service wrote to anything but policies and what records them.
fn written(testbed: &Testbed) -> BTreeSet<String> {
    let calls = [OPERATOR, WEBHOOK].into_iter().flat_map(|user| testbed.audit(user).unwrap());
    calls
        .filter(|call| {
            let is_read = ["get", "list", "watch"].contains(&&*call.verb);
            let is_own = ["devops.stochastic.io", "events.k8s.io", "coordination.k8s.io"];
            !is_read && !is_own.contains(&&*call.group)
        })
        .map(|call| call.namespace)
        .collect()
}

#[test]
fn audit_mode_system_namespaces_and_opted_out_ones_are_not_written_to() {
    let enforced = Enforced::shared();
    let testbed = enforced.testbed();
    let [audit, disabled, proposed, patched] =
        ["audit", "disabled", "proposed", "patched"].map(|name| testbed.namespace(name).unwrap());
    let system = "kube-system".to_owned();
    let annotate = ["annotate", "namespace", &disabled, &format!("{DISABLED}=disabled")];
    testbed.kubectl(&annotate).unwrap().succeeded().unwrap();
    for namespace in [&audit, &disabled, &proposed, &system] {
        for owner in [Owner::KubectlClientSide, Owner::Helm] {
            let web = workload("Deployment", namespace, owner.name());
            install(testbed, owner, &web);
        }
        let spec = match namespace {
            _ if namespace == &audit => POLICY.replace("enforcementMode: enforce, ", ""),
            _ if namespace == &proposed => POLICY
                .replace("{enforcementMode", "{remediation: {method: propose}, enforcementMode"),
            _ => POLICY.to_owned(),
        };
        enforced.apply_policy(namespace, &spec);
    }
    for namespace in [&disabled, &proposed] {
        enforced.wait_until(namespace, "the workloads to be listed", || {
            !enforced.entry(namespace, "Deployment/helm").is_null()
        });
    }
    // What is patched in the meantime shows that the operator was at work.
    let web = workload("Deployment", &patched, "web");
    install(testbed, Owner::KubectlClientSide, &web);
    // A neighbour of it that is opted out.
    let mut excluded = workload("Deployment", &patched, "excluded");
    excluded["metadata"]["annotations"] = json!({ DISABLED: "disabled" });
    install(testbed, Owner::KubectlClientSide, &excluded);
    enforced.apply_policy(&patched, POLICY);
    enforced.wait_until(&patched, "the Deployment to be patched", || {
        enforced.is_patched(&patched, "Deployment/web")
            && !enforced.entry(&patched, "Deployment/excluded").is_null()
    });
    assert_eq!(enforced.writes(&patched, "excluded"), [""; 0]);
    assert!(!enforced.writes(&patched, "web").is_empty());
    // New pods are not injected into either.
    for namespace in [&audit, &disabled, &proposed, &system] {
        let delete = ["delete", "pod", "--all", "-n", namespace];
        testbed.kubectl(&delete).unwrap().succeeded().unwrap();
        for owner in [Owner::KubectlClientSide, Owner::Helm] {
            wait_until_rolled_out(testbed, &workload("Deployment", namespace, owner.name()));
        }
        for pod in pods(testbed, namespace) {
            assert_eq!(pod["spec"]["containers"][0]["resources"], json!({}), "{pod:#}");
            assert!(pod["spec"]["containers"][0]["livenessProbe"].is_null(), "{pod:#}");
        }
    }
    let written = written(testbed);
    assert!(written.contains(&patched), "{written:?}");
    for namespace in [&audit, &disabled, &proposed, &system] {
        assert!(!written.contains(namespace), "{namespace} in {written:?}");
    }
}
