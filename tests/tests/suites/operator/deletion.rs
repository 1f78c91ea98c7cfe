//! A deleted policy goes away, whether an operator runs at that time or not.

use e2e::{Parts, Testbed};
use serde_json::Value;

use super::{
    SURELY, apply_pod, apply_policy, installed, is_leader, policy, start, wait_for_status,
};

/// Requests a deletion without waiting for its end.
fn request_deletion(testbed: &Testbed, object: &[&str]) {
    let delete = [&["delete"], object, &["--wait=false"]].concat();
    testbed.kubectl(&delete).unwrap().succeeded().unwrap();
}

fn wait_until_gone(testbed: &Testbed, namespace: &str, name: &str, logs: impl Fn() -> String) {
    let gone = testbed.wait_for("the end of the policy", SURELY, || {
        Ok(policy(testbed, namespace, name) == Value::Null)
    });
    assert!(gone.is_ok(), "{:#}\n{}", policy(testbed, namespace, name), logs());
}

#[test]
fn a_deleted_policy_goes_away_whether_an_operator_runs_or_not() {
    let (testbed, kubeconfig) = installed(&Parts::new("deletion").with_controllers());
    let shop = testbed.namespace("shop").unwrap();
    let names = ["down", "up", "twice", "by-hand"];
    for name in names {
        apply_policy(&testbed, &shop, name, "{forbidLatestTag: true}");
    }
    let first = start(&testbed, "operator-a", &kubeconfig);
    for name in names {
        wait_for_status(&testbed, &first, (&shop, name), |status| status["healthScore"] == 100);
    }
    // Without an operator it stays until the next one starts.
    drop(first);
    request_deletion(&testbed, &["dop", "down", "-n", &shop]);
    assert!(policy(&testbed, &shop, "down")["metadata"]["deletionTimestamp"].is_string());
    let [a, b] = ["operator-b", "operator-c"].map(|name| start(&testbed, name, &kubeconfig));
    let logs = || format!("{}\n{}", a.logs().unwrap(), b.logs().unwrap());
    wait_until_gone(&testbed, &shop, "down", logs);
    assert!(is_leader(&a) != is_leader(&b), "{}", logs());
    // With two replicas, while pods change.
    apply_pod(&testbed, &shop, "web", "nginx");
    request_deletion(&testbed, &["dop", "up", "-n", &shop]);
    wait_until_gone(&testbed, &shop, "up", logs);
    // A finalizer that was removed by hand is added again.
    let patch = ["patch", "dop", "by-hand", "-n", &shop, "--type=merge"];
    let none = ["-p", r#"{"metadata": {"finalizers": null}}"#];
    testbed.kubectl(&[&patch[..], &none].concat()).unwrap().succeeded().unwrap();
    testbed
        .wait_for("the finalizer", SURELY, || {
            Ok(policy(&testbed, &shop, "by-hand")["metadata"]["finalizers"].is_array())
        })
        .unwrap();
    request_deletion(&testbed, &["dop", "by-hand", "-n", &shop]);
    wait_until_gone(&testbed, &shop, "by-hand", logs);
    // A policy that is created again under the same name has a state of its own.
    request_deletion(&testbed, &["dop", "twice", "-n", &shop]);
    wait_until_gone(&testbed, &shop, "twice", logs);
    apply_policy(&testbed, &shop, "twice", "{forbidLatestTag: true, weights: {latestTag: 9}}");
    wait_for_status(&testbed, &a, (&shop, "twice"), |status| status["healthScore"] == 91);
    // The deletion of a namespace takes its policies with it.
    request_deletion(&testbed, &["namespace", &shop]);
    let gone = testbed.wait_for("the end of the namespace", SURELY, || {
        Ok(testbed.kubectl(&["get", "namespace", &shop])?.code != Some(0))
    });
    assert!(gone.is_ok(), "{gone:?}\n{}", logs());
}
