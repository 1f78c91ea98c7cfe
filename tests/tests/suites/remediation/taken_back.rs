//! A remediation that hurts is taken back.

use std::thread;
use std::time::Duration;

use e2e::{Owner, Testbed};
use serde_json::{Value, json};

use super::POLICY;
use super::enforced::Enforced;
use super::sampler::Sampler;
use super::usage;
use super::workloads::{
    assert_succeeded, breakable, container, install, list, pods, read, replace_pods, text,
    wait_until_rolled_out,
};
use crate::operator;

/// A rollout without progress for so long is taken back. One whose containers are restarted is
/// taken back at once.
const NO_PROGRESS: Duration = Duration::from_secs(120);
/// How much later the template may be restored.
const SOON: Duration = Duration::from_secs(30);
/// For a rollout that comes to a stop, and that time.
const REVERT: Duration = Duration::from_secs(200);
/// A way to break, and what the Event has to name.
const FATES: [(&str, &str); 3] =
    [("unready", "ready"), ("killed", "restart"), ("oomkilled", "OOMKilled")];

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
        for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
            for (fate, named) in FATES {
                let deadline = if fate == "unready" { NO_PROGRESS } else { Duration::ZERO };
                let broken = Broken { kind, fate, named, deadline, own_deadline: None };
                scope.spawn(move || is_taken_back(enforced, &broken));
            }
        }
        // What a Deployment says of its progress counts where that is sooner.
        let own = 20;
        let deadline = Duration::from_secs(own);
        let (kind, fate, named) = ("Deployment", "unready", "progressing");
        let broken = Broken { kind, fate, named, deadline, own_deadline: Some(own) };
        scope.spawn(move || is_taken_back(enforced, &broken));
    });
}

/// How many pods the strategy of a workload leaves ready in a rollout.
fn allowed(workload: &Value) -> usize {
    let (spec, status) = (&workload["spec"], &workload["status"]);
    let allowed = match &*text(&workload["kind"]) {
        "Deployment" => {
            assert_eq!(spec["strategy"]["rollingUpdate"]["maxUnavailable"], "25%");
            let replicas = spec["replicas"].as_u64().unwrap();
            // Rounded down
            // (<https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#max-unavailable>).
            replicas - replicas / 4
        }
        "StatefulSet" => {
            assert_eq!(spec["podManagementPolicy"], "OrderedReady");
            spec["replicas"].as_u64().unwrap() - 1
        }
        _ => {
            assert_eq!(spec["updateStrategy"]["rollingUpdate"]["maxUnavailable"], 1);
            status["desiredNumberScheduled"].as_u64().unwrap() - 1
        }
    };
    usize::try_from(allowed).unwrap()
}

/// A workload that breaks.
struct Broken<'a> {
    kind: &'a str,
    fate: &'a str,
    /// What the Event names.
    named: &'a str,
    /// After the last progress, or after the first restart of a container.
    deadline: Duration,
    /// `progressDeadlineSeconds` of a Deployment.
    own_deadline: Option<u64>,
}

fn is_taken_back(enforced: &Enforced, broken: &Broken<'_>) {
    let Broken { kind, fate, named, deadline, own_deadline } = *broken;
    let testbed = enforced.testbed();
    let namespace = testbed.namespace(&format!("{}-{fate}", kind.to_lowercase())).unwrap();
    let mut web = breakable(kind, &namespace, fate);
    if kind == "Deployment" {
        // With several, one may be missing.
        web["spec"]["replicas"] = json!(5);
        web["spec"]["progressDeadlineSeconds"] = json!(own_deadline.unwrap_or(600));
    }
    install(testbed, Owner::KubectlClientSide, &web);
    usage::report(testbed, &namespace, "100Mi");
    let before = read(testbed, &web);
    let (template, hash) = (before["spec"]["template"].clone(), hashes(testbed, &namespace));
    let sampler = Sampler::start(testbed, &web);
    enforced.apply_policy(&namespace, POLICY);
    let label = format!("{kind}/{fate}");
    let is_reverted = || Ok(enforced.state(&namespace, &label) == "Reverted");
    let waited = testbed.wait_for("the patch to be taken back", REVERT, is_reverted);
    assert!(
        waited.is_ok(),
        "{label}: {waited:?} {:#}\n{}",
        enforced.entry(&namespace, &label),
        enforced.operator().logs().unwrap()
    );
    wait_until_rolled_out(testbed, &web);
    let reverted = read(testbed, &web);
    assert_eq!(reverted["spec"]["template"], template, "{label}");
    assert_eq!(hashes(testbed, &namespace), hash, "{label}");
    let entry = enforced.entry(&namespace, &label);
    assert!(text(&entry["message"]).contains(named), "{entry:#}");
    let tells = |event: &Value| {
        event["reason"] == "RemediationReverted" && text(&event["note"]).contains(named)
    };
    // It follows the status.
    enforced.wait_until(&namespace, "the Event", || {
        list(testbed, &namespace, "events.events.k8s.io").iter().any(tells)
    });
    // It is left alone until its owner changes the template, also under other rules.
    enforced.apply_policy(&namespace, &POLICY.replace("100m", "110m"));
    enforced.wait_until(&namespace, "the changed policy to be judged", || {
        let policy = operator::policy(testbed, &namespace, "p");
        policy["status"]["observedGeneration"] == policy["metadata"]["generation"]
    });
    assert_eq!(enforced.state(&namespace, &label), "Reverted");
    let history = sampler.finish();
    let least = allowed(&before);
    let fewest = history.fewest_ready;
    assert!(fewest >= least, "{label}: {fewest} of {least} pods: {history:#?}");
    assert_eq!(history.templates(), 3, "{label}: its own, ours, its own: {history:#?}");
    let time = history.time_to_restore(&template);
    assert!(time <= deadline + SOON, "{label}: taken back after {time:?}");
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
    install(testbed, Owner::Helm, &web);
    enforced.apply_policy(&namespace, POLICY);
    let state = || enforced.state(&namespace, "Deployment/unready");
    enforced.wait_until(&namespace, "injection", || state() == "Injecting");
    let before = read(testbed, &web)["metadata"]["generation"].clone();
    let delete = ["delete", "pod", "--all", "-n", &namespace];
    testbed.kubectl(&delete).unwrap().succeeded().unwrap();
    enforced.wait_until(&namespace, "injection to be switched off", || state() == "Reverted");
    enforced.wait_until_injected(&web, false);
    replace_pods(testbed, &web);
    assert_eq!(read(testbed, &web)["metadata"]["generation"], before);
}
