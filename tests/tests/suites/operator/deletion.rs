//! Policies go when they are deleted, whoever runs at that time.

use e2e::{Parts, Testbed};
use serde_json::Value;

use super::{SURELY, apply_pod, apply_policy, installed, leads, policy, start, wait_for_status};

/// Deletes without waiting for the end of it.
fn ask_to_delete(testbed: &Testbed, object: &[&str]) {
    let delete = [&["delete"], object, &["--wait=false"]].concat();
    testbed.kubectl(&delete).unwrap().succeeded().unwrap();
}

fn wait_until_gone(testbed: &Testbed, namespace: &str, name: &str, logs: impl Fn() -> String) {
    let gone = testbed.wait_for("the policy to go", SURELY, || {
        Ok(policy(testbed, namespace, name) == Value::Null)
    });
    assert!(gone.is_ok(), "{:#}\n{}", policy(testbed, namespace, name), logs());
}

#[test]
fn a_policy_goes_whether_an_operator_runs_or_not() {
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
    // With the operator down it stays, for whoever comes next.
    drop(first);
    ask_to_delete(&testbed, &["dop", "down", "-n", &shop]);
    assert!(policy(&testbed, &shop, "down")["metadata"]["deletionTimestamp"].is_string());
    let [a, b] = ["operator-b", "operator-c"].map(|name| start(&testbed, name, &kubeconfig));
    let logs = || format!("{}\n{}", a.logs().unwrap(), b.logs().unwrap());
    wait_until_gone(&testbed, &shop, "down", logs);
    assert!(leads(&a) != leads(&b), "{}", logs());
    // With two replicas, in the middle of changes.
    apply_pod(&testbed, &shop, "web", "nginx");
    ask_to_delete(&testbed, &["dop", "up", "-n", &shop]);
    wait_until_gone(&testbed, &shop, "up", logs);
    // The finalizer taken away by hand: it comes back, and goes again.
    let patch = ["patch", "dop", "by-hand", "-n", &shop, "--type=merge"];
    let none = ["-p", r#"{"metadata": {"finalizers": null}}"#];
    testbed.kubectl(&[&patch[..], &none].concat()).unwrap().succeeded().unwrap();
    testbed
        .wait_for("the finalizer", SURELY, || {
            Ok(policy(&testbed, &shop, "by-hand")["metadata"]["finalizers"].is_array())
        })
        .unwrap();
    ask_to_delete(&testbed, &["dop", "by-hand", "-n", &shop]);
    wait_until_gone(&testbed, &shop, "by-hand", logs);
    // Deleted and made again at once: the new one is judged as one of its own.
    ask_to_delete(&testbed, &["dop", "twice", "-n", &shop]);
    wait_until_gone(&testbed, &shop, "twice", logs);
    apply_policy(&testbed, &shop, "twice", "{forbidLatestTag: true, weights: {latestTag: 9}}");
    wait_for_status(&testbed, &a, (&shop, "twice"), |status| status["healthScore"] == 91);
    // A namespace goes with everything in it.
    ask_to_delete(&testbed, &["namespace", &shop]);
    let gone = testbed.wait_for("the namespace to go", SURELY, || {
        Ok(testbed.kubectl(&["get", "namespace", &shop])?.code != Some(0))
    });
    assert!(gone.is_ok(), "{gone:?}\n{}", logs());
}
