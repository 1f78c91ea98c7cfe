//! A namespace has so many policies that are judged, and a policy so many finalizers. What is
//! beyond says so, and is judged as soon as it is not beyond any more.

use e2e::Parts;
use serde_json::{Value, json};

use super::{condition, delete, installed, start, wait_for_status};
use crate::cli;

/// The most policies of a namespace that are judged.
const MOST: usize = 64;

fn names(number: usize) -> impl Iterator<Item = String> {
    (0..number).map(|number| format!("p-{number:03}"))
}

/// A policy with that many finalizers of others.
fn held(namespace: &str, name: &str, finalizers: usize) -> String {
    let finalizers: Vec<String> = (0..finalizers).map(|n| format!("example.com/{n}")).collect();
    json!({ "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
        "metadata": { "name": name, "namespace": namespace, "finalizers": finalizers },
        "spec": { "forbidLatestTag": true } })
    .to_string()
}

#[test]
fn a_policy_beyond_a_limit_says_so_until_it_is_within() {
    let (testbed, kubeconfig) = installed(&Parts::new("limits"));
    let shop = testbed.namespace("shop").unwrap();
    let spec = "{forbidLatestTag: true}";
    let all: Vec<String> = names(MOST + 2).map(|name| cli::policy(&shop, &name, spec)).collect();
    // In this order, so that of the same second those come first whose names do.
    testbed.apply(&all.join("\n---\n")).unwrap();
    let bank = testbed.namespace("bank").unwrap();
    testbed.apply(&held(&bank, "held", 33)).unwrap();
    let operator = start(&testbed, "operator", &kubeconfig);
    let ready = |namespace: &str, name: &str, expected: (&str, &str)| {
        let found = wait_for_status(&testbed, &operator, (namespace, name), |status| {
            let policy = json!({ "status": status });
            condition(&policy, "Ready") == expected
        });
        found["metadata"]["finalizers"].as_array().map_or(0, Vec::len)
    };
    let beyond = ("False", "TooManyPolicies");
    assert_eq!(ready(&shop, "p-064", beyond), 0, "no finalizer");
    assert_eq!(ready(&shop, "p-065", beyond), 0);
    for name in names(MOST) {
        assert_eq!(ready(&shop, &name, ("True", "Judged")), 1, "{name}");
    }
    assert_eq!(ready(&bank, "held", ("False", "TooManyFinalizers")), 33, "not ours");
    let state =
        || -> Value { serde_json::from_str(&operator.get("/debug/state").unwrap().1).unwrap() };
    assert_eq!((&state()["policies"], &state()["policiesNotJudged"]), (&json!(67), &json!(2)));

    // `policyctl check` names them, with what to do.
    let found = cli::json(&testbed, &["check"], "")["policiesNotJudged"].clone();
    let policy = |namespace: &str, name: &str, reason: &str| json!({ "namespace": namespace, "name": name, "reason": reason });
    let expected = json!([
        policy(&bank, "held", "TooManyFinalizers"),
        policy(&shop, "p-064", "TooManyPolicies"),
        policy(&shop, "p-065", "TooManyPolicies"),
    ]);
    assert_eq!(found, expected);
    let text = cli::expect(&testbed, 0, &["check"], "");
    let line = format!(
        "NOT judged in namespace {shop}: p-064, p-065 (at most 64 of a namespace are, the oldest; \
         delete those that nobody needs)"
    );
    assert!(text.contains(&line), "{text}");

    let explain = ["explain", "p-065", "-n", &shop];
    let explained = cli::run(testbed.kubeconfig(), &explain, "").stderr;
    assert!(explained.contains("the namespace has more than 64 policies"), "{explained}");

    // An older one is deleted: the next one is judged, without a restart.
    delete(&testbed, &shop, "dop/p-007");
    assert_eq!(ready(&shop, "p-064", ("True", "Judged")), 1);
    assert_eq!(ready(&shop, "p-065", beyond), 0);
    // One finalizer less: ours is added to the others. When the policy is deleted ours goes, and
    // only ours.
    let patch = |patch: &str| {
        let merge = ["patch", "dop", "held", "-n", &bank, "--type=json", "-p", patch];
        testbed.kubectl(&merge).unwrap().succeeded().unwrap();
    };
    patch(r#"[{"op": "remove", "path": "/metadata/finalizers/7"}]"#);
    assert_eq!(ready(&bank, "held", ("True", "Judged")), 33);
    let request = ["delete", "dop", "held", "-n", &bank, "--wait=false"];
    testbed.kubectl(&request).unwrap().succeeded().unwrap();
    let left = || super::policy(&testbed, &bank, "held")["metadata"]["finalizers"].clone();
    testbed
        .wait_for("the end of the finalizer", super::SURELY, || {
            Ok(left().as_array().is_some_and(|left| left.len() == 32))
        })
        .unwrap();
    let others = (0..33).filter(|n| *n != 7).map(|n| format!("example.com/{n}"));
    assert_eq!(left(), json!(others.collect::<Vec<_>>()));
    patch(r#"[{"op": "remove", "path": "/metadata/finalizers"}]"#);
}
