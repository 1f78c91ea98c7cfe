//! Faulty policies: each has a condition that says why, and harms no other.

use e2e::Parts;
use serde_json::Value;

use super::{apply_policy, condition, installed, start, wait_for_status};
use crate::cli::policy;

/// Removes the validation from the CRD, as an older or a changed CRD lacks it.
fn loosen(testbed: &e2e::Testbed) {
    let crd = "devopspolicies.devops.stochastic.io";
    let text = testbed.kubectl(&["get", "crd", crd, "-o", "json"]).unwrap().succeeded().unwrap();
    let mut crd: Value = serde_json::from_str(&text).unwrap();
    let version = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    version["spec"] =
        serde_json::json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    crd["metadata"]["managedFields"] = Value::Null;
    let replace = ["replace", "-f", "-"];
    testbed.kubectl_stdin(&replace, &crd.to_string()).unwrap().succeeded().unwrap();
}

/// Creates a policy that cannot be decoded, under a CRD without validation.
pub(crate) fn create_undecodable(testbed: &e2e::Testbed, namespace: &str, name: &str) {
    loosen(testbed);
    let text = policy(namespace, name, "{maxRestartCount: many}");
    // The API server needs a moment to serve the changed CRD.
    testbed
        .wait_for("the CRD without validation", super::SURELY, || {
            Ok(testbed.kubectl_stdin(&["create", "-f", "-"], &text)?.code == Some(0))
        })
        .unwrap();
}

#[test]
fn a_faulty_policy_has_a_condition_and_harms_no_other() {
    let (testbed, kubeconfig) = installed(&Parts::new("guarded"));
    let shop = testbed.namespace("shop").unwrap();
    create_undecodable(&testbed, &shop, "undecodable");
    apply_policy(&testbed, &shop, "invalid", "{maxRestartCount: -1, weights: {pending: 101}}");
    apply_policy(&testbed, &shop, "fine", "{forbidLatestTag: true}");
    apply_policy(&testbed, "kube-system", "system", "{forbidLatestTag: true}");
    // The CRD is restored; the policies that it would refuse still exist.
    let restored = ["crd", "install", "--force-conflicts"];
    crate::cli::expect(&testbed, 0, &restored, "");
    let operator = start(&testbed, "operator", &kubeconfig);
    let ready = |policy: (&str, &str)| {
        let found =
            wait_for_status(&testbed, &operator, policy, |status| status["conditions"].is_array());
        let (status, reason) = condition(&found, "Ready");
        let message = found["status"]["message"].as_str().unwrap_or_default().to_owned();
        (status.to_owned(), reason.to_owned(), message)
    };
    let (status, reason, message) = ready((&shop, "undecodable"));
    assert_eq!((&*status, &*reason), ("False", "Undecodable"), "{message}");
    assert!(message.contains("the policy cannot be read: "), "{message}");
    let (status, reason, message) = ready((&shop, "invalid"));
    assert_eq!((&*status, &*reason), ("False", "Invalid"), "{message}");
    assert_eq!(
        message,
        "spec.maxRestartCount: must be 0 or more, not -1; \
         spec.weights.pending: must be 0 to 100, not 101"
    );
    let (status, reason, _) = ready(("kube-system", "system"));
    assert_eq!((&*status, &*reason), ("False", "ExcludedNamespace"));
    let (status, reason, _) = ready((&shop, "fine"));
    assert_eq!((&*status, &*reason), ("True", "Judged"));
    // A policy that is corrected is judged.
    apply_policy(&testbed, &shop, "invalid", "{maxRestartCount: 1, weights: {pending: 100}}");
    wait_for_status(&testbed, &operator, (&shop, "invalid"), |status| status["healthScore"] == 100);
    // All of them can be deleted.
    for name in ["undecodable", "invalid", "fine"] {
        super::delete(&testbed, &shop, &format!("dop/{name}"));
    }
}
