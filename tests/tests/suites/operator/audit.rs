//! Audit results: of each minute in which the verdict changed, the latest; once, whoever leads.

use std::collections::BTreeSet;

use e2e::{Parts, Signal, Testbed};
use serde_json::Value;

use super::{SURELY, apply_pod, apply_policy, installed, leads, list, start, wait_for_status};

fn results(testbed: &Testbed, namespace: &str) -> Vec<Value> {
    list(testbed, namespace, "par")
}

/// Waits until the newest says that there are so many pods and findings.
fn wait_for_result(
    testbed: &Testbed,
    namespace: &str,
    (pods, findings): (u64, u64),
    logs: impl Fn() -> String,
) {
    let waited = testbed.wait_for("the audit result", 3 * SURELY, || {
        let found = results(testbed, namespace);
        let says = |last: &Value| {
            last["spec"]["totalPods"] == pods && last["spec"]["totalViolations"] == findings
        };
        Ok(found.last().is_some_and(says))
    });
    assert!(waited.is_ok(), "{waited:?}\n{:#?}\n{}", results(testbed, namespace), logs());
}

#[test]
fn each_changed_verdict_is_written_down_once_under_changing_leaders() {
    let (testbed, kubeconfig) = installed(&Parts::new("audit"));
    let shop = testbed.namespace("shop").unwrap();
    let strict = (shop.as_str(), "strict");
    apply_policy(&testbed, &shop, "strict", "{forbidLatestTag: true}");
    let mut replicas: Vec<_> =
        ["operator-a", "operator-b"].map(|name| start(&testbed, name, &kubeconfig)).into();
    wait_for_status(&testbed, &replicas[0], strict, |status| status["podsEvaluated"] == 0);
    wait_for_result(&testbed, &shop, (0, 0), || replicas[0].logs().unwrap());
    // Three verdicts within a minute, mostly; the leader crashes before it wrote them down.
    for number in 1..=3 {
        apply_pod(&testbed, &shop, &format!("web-{number}"), "nginx");
        wait_for_status(&testbed, &replicas[0], strict, |status| status["podsEvaluated"] == number);
    }
    let leader = replicas.iter().position(leads).unwrap();
    let crashed = replicas.remove(leader);
    crashed.signal(Signal::Kill).unwrap();
    let heir = &replicas[0];
    let told = || heir.logs().unwrap();
    testbed.wait_for("the other one to lead", SURELY, || Ok(leads(heir))).unwrap();
    wait_for_result(&testbed, &shop, (3, 3), told);
    let found = results(&testbed, &shop);
    let last = found.last().unwrap();
    assert_eq!(last["spec"]["policyName"], "strict");
    assert_eq!(last["spec"]["violations"][0]["violationType"], "latest_tag");
    assert_eq!(last["metadata"]["ownerReferences"][0]["name"], "strict");
    // Handed over in good order, with a change that nobody has written down yet.
    let next = start(&testbed, "operator-c", &kubeconfig);
    apply_pod(&testbed, &shop, "web-4", "nginx:1.27");
    wait_for_status(&testbed, heir, strict, |status| status["podsEvaluated"] == 4);
    heir.signal(Signal::Term).unwrap();
    assert_eq!(heir.wait_exit(SURELY).unwrap().code(), Some(0));
    testbed.wait_for("the last one to lead", SURELY, || Ok(leads(&next))).unwrap();
    wait_for_result(&testbed, &shop, (4, 3), || next.logs().unwrap());
    let found = results(&testbed, &shop);
    let verdict = |result: &Value| {
        result["metadata"]["annotations"]["devops.stochastic.io/verdict"].to_string()
    };
    for pair in found.windows(2) {
        assert_ne!(verdict(&pair[0]), verdict(&pair[1]), "{found:#?}");
    }
    let minutes: BTreeSet<String> = found
        .iter()
        .map(|result| result["spec"]["timestamp"].as_str().unwrap()[..16].to_owned())
        .collect();
    assert_eq!(minutes.len(), found.len(), "at most one a minute: {found:#?}");
}
