//! A remediation that hurts is taken back.

use std::thread;
use std::time::{Duration, Instant};

use e2e::{Owner, Testbed};
use serde_json::{Value, json};

use super::POLICY;
use super::enforced::Enforced;
use super::usage;
use super::workloads::{
    assert_succeeded, container, list, pods, read, text, wait_until_rolled_out, workload,
};

/// Within that time a rollout that hurts is taken back: no progress for 120 s, and some more.
const REVERT: Duration = Duration::from_secs(200);
/// A way to break, and what the Event has to name.
const FATES: [(&str, &str); 3] =
    [("unready", "ready"), ("killed", "restart"), ("oomkilled", "OOMKilled")];

/// A workload whose pods break that way as soon as they have a probe or a memory limit.
fn breakable(kind: &str, namespace: &str, fate: &str) -> Value {
    let mut web = workload(kind, namespace, fate);
    web["spec"]["template"]["metadata"]["annotations"] =
        json!({ "testbed/bounded": fate, "testbed/bounded-after": "5s" });
    web
}

/// The names of the pod templates that have pods: the hash of each.
fn hashes(testbed: &Testbed, namespace: &str) -> Vec<String> {
    let mut all: Vec<String> = pods(testbed, namespace)
        .iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .map(|pod| {
            let labels = &pod["metadata"]["labels"];
            text(&labels["pod-template-hash"]) + &text(&labels["controller-revision-hash"])
        })
        .collect();
    all.sort();
    all.dedup();
    all
}

#[test]
fn a_patch_whose_pods_break_is_taken_back_and_not_tried_again() {
    let enforced = Enforced::shared();
    thread::scope(|scope| {
        for kind in ["Deployment", "StatefulSet"] {
            for (fate, named) in FATES {
                scope.spawn(move || is_taken_back(enforced, kind, fate, named));
            }
        }
    });
}

fn is_taken_back(enforced: &Enforced, kind: &str, fate: &str, named: &str) {
    let testbed = enforced.testbed();
    let namespace = testbed.namespace(&format!("{}-{fate}", kind.to_lowercase())).unwrap();
    let mut web = breakable(kind, &namespace, fate);
    assert_succeeded(fate, &Owner::KubectlClientSide.apply(testbed, &web).unwrap());
    wait_until_rolled_out(testbed, &web);
    usage::report(testbed, &namespace, "100Mi");
    let (template, hash) =
        (read(testbed, &web)["spec"]["template"].clone(), hashes(testbed, &namespace));
    enforced.apply_policy(&namespace, POLICY);
    let label = format!("{kind}/{fate}");
    let mut fewest = i64::MAX;
    let start = Instant::now();
    while enforced.state(&namespace, &label) != "Reverted" {
        let ready = read(testbed, &web)["status"]["readyReplicas"].as_i64().unwrap_or_default();
        fewest = fewest.min(ready);
        assert!(
            start.elapsed() < REVERT,
            "{label}: {:#}\n{}",
            enforced.entry(&namespace, &label),
            enforced.operator().logs().unwrap()
        );
        thread::sleep(Duration::from_millis(500));
    }
    // Two pods: a Deployment starts the next one first, a StatefulSet stops one first.
    let allowed = if kind == "Deployment" { 2 } else { 1 };
    assert!(fewest >= allowed, "{label}: {fewest} ready pods");
    wait_until_rolled_out(testbed, &web);
    let reverted = read(testbed, &web);
    assert_eq!(reverted["spec"]["template"], template, "{label}");
    assert_eq!(hashes(testbed, &namespace), hash, "{label}");
    let entry = enforced.entry(&namespace, &label);
    assert!(text(&entry["message"]).contains(named), "{entry:#}");
    let events = list(testbed, &namespace, "events.events.k8s.io");
    let tells = |event: &Value| {
        event["reason"] == "RemediationReverted" && text(&event["note"]).contains(named)
    };
    assert!(events.iter().any(tells), "{label}: {events:#?}");
    // It is left alone until its owner changes the template.
    enforced.apply_policy(&namespace, &POLICY.replace("100m", "110m"));
    thread::sleep(Duration::from_secs(5));
    assert_eq!(read(testbed, &web)["metadata"]["generation"], reverted["metadata"]["generation"]);
    container(&mut web)["image"] = json!("registry.example.com/web:v2");
    web["spec"]["template"]["metadata"]["annotations"] = json!({});
    assert_succeeded(fate, &Owner::KubectlClientSide.apply(testbed, &web).unwrap());
    enforced.wait_until(&namespace, "the new version to be patched", || {
        ["Observing", "Patched"].contains(&&*enforced.state(&namespace, &label))
    });
}

#[test]
fn the_first_failing_pod_switches_injection_off() {
    let enforced = Enforced::shared();
    let testbed = enforced.testbed();
    let namespace = testbed.namespace("injected").unwrap();
    let web = breakable("Deployment", &namespace, "unready");
    assert_succeeded("helm", &Owner::Helm.apply(testbed, &web).unwrap());
    wait_until_rolled_out(testbed, &web);
    enforced.apply_policy(&namespace, POLICY);
    let state = || enforced.state(&namespace, "Deployment/unready");
    enforced.wait_until(&namespace, "injection", || state() == "Injecting");
    let before = read(testbed, &web)["metadata"]["generation"].clone();
    let delete = ["delete", "pod", "--all", "-n", &namespace];
    testbed.kubectl(&delete).unwrap().succeeded().unwrap();
    enforced.wait_until(&namespace, "injection to be switched off", || state() == "Reverted");
    let delete = ["delete", "pod", "--all", "-n", &namespace];
    testbed.kubectl(&delete).unwrap().succeeded().unwrap();
    wait_until_rolled_out(testbed, &web);
    assert_eq!(read(testbed, &web)["metadata"]["generation"], before);
}
