//! Two enforce policies with different values in one namespace.

use e2e::Owner;
use serde_json::{Value, json};

use super::POLICY;
use super::enforced::Enforced;
use super::usage;
use super::workloads::{container, install, pods, read, text, wait_until_rolled_out, workload};
use crate::cli;

fn cpu(live: &Value) -> &Value {
    &live["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"]
}

#[test]
fn the_older_policy_wins_and_leaves_what_it_remembers_to_the_younger_one() {
    let enforced = Enforced::shared();
    let testbed = enforced.testbed();
    let namespace = testbed.namespace("rivals").unwrap();
    let [web, mut bad, left] =
        ["web", "bad", "left"].map(|name| workload("Deployment", &namespace, name));
    bad["spec"]["template"]["metadata"]["annotations"] =
        json!({ "testbed/bounded": "killed", "testbed/bounded-after": "5s" });
    let apply = |object: &Value| {
        install(testbed, Owner::KubectlClientSide, object);
    };
    for object in [&web, &bad, &left] {
        apply(object);
    }
    usage::report(testbed, &namespace, "100Mi");
    // Where both are of one second, the name decides.
    let young = POLICY.replace("cpuRequest: 100m", "cpuRequest: 200m");
    for (name, spec) in [("old", POLICY), ("young", &*young)] {
        testbed.apply(&cli::policy(&namespace, name, spec)).unwrap();
    }
    let entry = |policy: &str, name: &str| {
        enforced.entry_of(&namespace, policy, &format!("Deployment/{name}"))
    };
    let is = |policy: &str, name: &str, states: &[&str]| {
        states.contains(&&*text(&entry(policy, name)["state"]))
    };
    let patched = ["Observing", "Patched"];
    enforced.wait_until(&namespace, "the older policy to act", || {
        is("old", "web", &patched) && is("old", "left", &patched)
    });
    enforced
        .wait_until(&namespace, "what broke to be taken back", || is("old", "bad", &["Reverted"]));
    // Later than the younger policy has looked.
    enforced.wait_until(&namespace, "the younger policy to have nothing to do", || {
        !is("young", "web", &["Waiting", "Observing"])
            && !is("young", "bad", &["Waiting", "Observing"])
    });
    let waits = workload("Deployment", &namespace, "waits");
    let mut paused = waits.clone();
    paused["metadata"]["annotations"] = json!({ "devops.stochastic.io/remediation": "disabled" });
    apply(&paused);
    enforced.wait_until(&namespace, "the younger policy to report the older one", || {
        let entry = entry("young", "waits");
        entry["reason"] == "OlderPolicy" && text(&entry["message"]).contains("old")
    });
    enforced.wait_until(&namespace, "the older policy to report the opt-out", || {
        entry("old", "waits")["reason"] == "OptedOut"
    });
    cli::expect(testbed, 0, &["revert", "deployment/left", "-n", &namespace], "");
    enforced
        .wait_until(&namespace, "the revert to be noticed", || is("old", "left", &["Withdrawn"]));
    for object in [&web, &bad, &left] {
        wait_until_rolled_out(testbed, object);
    }
    let all = || [&web, &bad, &left].map(|object| read(testbed, object)["spec"].clone());
    let before = all();
    assert_eq!(cpu(&read(testbed, &web)), "100m");

    testbed.kubectl(&["delete", "dop", "old", "-n", &namespace]).unwrap().succeeded().unwrap();
    // It has taken over before the older one was gone.
    assert!(is("young", "bad", &["Reverted"]), "{:#}", entry("young", "bad"));
    assert!(is("young", "left", &["Withdrawn"]), "{:#}", entry("young", "left"));
    assert!(is("young", "web", &patched), "{:#}", entry("young", "web"));
    assert!(text(&entry("young", "bad")["message"]).contains("restart"));
    // What the older one had not decided is the younger one's now.
    apply(&waits);
    let enable =
        ["annotate", "deployment", "waits", "-n", &namespace, "devops.stochastic.io/remediation-"];
    testbed.kubectl(&enable).unwrap().succeeded().unwrap();
    enforced.wait_until(&namespace, "the younger policy to act", || is("young", "waits", &patched));
    assert_eq!(cpu(&read(testbed, &waits)), "200m");
    assert_eq!(all(), before, "no second rollout, and nothing is tried again");
    let states: Vec<_> =
        ["bad", "left", "web"].map(|name| text(&entry("young", name)["state"])).into();
    assert!(states[0] == "Reverted" && states[1] == "Withdrawn", "{states:?}");
    // It is about that version of the workload.
    container(&mut bad)["image"] = json!("registry.example.com/web:v2");
    bad["spec"]["template"]["metadata"]["annotations"] = json!({});
    apply(&bad);
    enforced
        .wait_until(&namespace, "the next version to be patched", || is("young", "bad", &patched));
    assert_eq!(cpu(&read(testbed, &bad)), "200m");
    assert!(!pods(testbed, &namespace).is_empty());
}
