//! The operator is killed while it remediates.

use std::thread;
use std::time::{Duration, Instant};

use e2e::{AuditedCall, Owner, Service, Signal, Testbed};
use serde_json::{Value, json};

use super::enforced::{Enforced, OPERATOR};
use super::workloads::{
    INJECTED_BY, assert_succeeded, breakable, list, pods, read, replace_pods, text,
    wait_until_rolled_out, workload,
};
use crate::operator::{is_leader, policy};

/// For a lease that expires, and what follows, on a busy machine.
const SURELY: Duration = Duration::from_secs(120);
/// In that time a workload that is remediated does not change.
const QUIET: Duration = Duration::from_secs(60);
/// A probe that is observed for a quarter of a minute.
const PROBES: &str = "{enforcementMode: enforce, requireReadinessProbe: true, \
    defaultProbe: {tcpPort: 8080, initialDelaySeconds: 1, periodSeconds: 1}}";
const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

fn kill(operator: &Service<'_>) {
    operator.signal(Signal::Kill).unwrap();
    operator.wait_exit(SURELY).unwrap();
}

/// The status is as if the operator had been killed after the patches and before it told of them.
fn forget_the_results(testbed: &Testbed, namespace: &str) {
    let policy = policy(testbed, namespace, "p");
    let workloads = policy["status"]["remediation"]["workloads"].as_array().unwrap();
    let is_patched = |entry: &Value| ["Observing", "Patched"].contains(&&*text(&entry["state"]));
    let patched = workloads.iter().enumerate().filter(|(_, entry)| is_patched(entry));
    let intents: Vec<Value> = patched
        .map(|(index, _)| {
            let path = format!("/status/remediation/workloads/{index}/state");
            json!({ "op": "replace", "path": path, "value": "Waiting" })
        })
        .collect();
    assert_eq!(intents.len(), KINDS.len(), "{policy:#}");
    let intents = json!(intents).to_string();
    let subresource = ["--subresource=status", "--type=json", "-p", &intents];
    let patch = [&["patch", "dop", "p", "-n", namespace][..], &subresource].concat();
    testbed.kubectl(&patch).unwrap().succeeded().unwrap();
}

/// The operator's requests about workloads of a namespace by that verb, each as its name.
fn requests(testbed: &Testbed, namespace: &str, verb: &str) -> Vec<String> {
    let calls = testbed.audit(OPERATOR).unwrap().into_iter();
    let is_one = |call: &AuditedCall| {
        call.group == "apps" && call.verb == verb && call.namespace == namespace
    };
    let mut names: Vec<_> = calls.filter(is_one).map(|call| call.name).collect();
    names.sort();
    names
}

fn has_injected_pods(testbed: &Testbed, namespace: &str) -> bool {
    pods(testbed, namespace).iter().any(|pod| pod.pointer(INJECTED_BY).is_some())
}

fn delete_pods(testbed: &Testbed, namespace: &str) {
    let delete = ["delete", "pod", "--all", "-n", namespace];
    testbed.kubectl(&delete).unwrap().succeeded().unwrap();
}

#[test]
fn a_killed_operator_leaves_nothing_to_be_patched_twice() {
    let enforced = Enforced::start("killed", &[]);
    let testbed = enforced.testbed();
    let shop = testbed.namespace("shop").unwrap();
    let patched = KINDS.map(|kind| workload(kind, &shop, &kind.to_lowercase()));
    let chart = workload("Deployment", &shop, "chart");
    let injected = testbed.namespace("injected").unwrap();
    let broken = breakable("Deployment", &injected, "unready");
    let owned = patched.iter().map(|web| (Owner::KubectlClientSide, web));
    let owned = owned.chain([(Owner::Helm, &chart), (Owner::Helm, &broken)]);
    owned.clone().for_each(|(owner, web)| {
        assert_succeeded(owner.name(), &owner.apply(testbed, web).unwrap());
    });
    owned.for_each(|(_, web)| wait_until_rolled_out(testbed, web));
    for namespace in [&shop, &injected] {
        enforced.apply_policy(namespace, PROBES);
    }
    let label = |web: &Value| format!("{}/{}", text(&web["kind"]), text(&web["metadata"]["name"]));
    let state = |namespace: &str, web: &Value| enforced.state(namespace, &label(web));
    enforced.wait_until(&shop, "all to be remediated", || {
        patched.iter().all(|web| enforced.is_patched(&shop, &label(web)))
            && state(&shop, &chart) == "Injecting"
            && state(&injected, &broken) == "Injecting"
    });
    kill(enforced.operator());
    forget_the_results(testbed, &shop);
    let generations = patched.each_ref().map(|web| {
        let live = read(testbed, web);
        let port = live.pointer("/spec/template/spec/containers/0/readinessProbe/tcpSocket/port");
        assert_eq!(port, Some(&json!(8080)));
        live["metadata"]["generation"].clone()
    });
    // Injected into while no operator runs. They never become ready, which is a failure after two
    // minutes.
    delete_pods(testbed, &injected);
    let is_injected = || Ok(has_injected_pods(testbed, &injected));
    testbed.wait_for("injected pods", SURELY, is_injected).unwrap();

    let replicas = ["second", "third"].map(|name| enforced.start_operator(name));
    enforced.wait_until(&shop, "the next leader to see that all are patched", || {
        patched.iter().all(|web| state(&shop, web) == "Patched")
    });
    let all = || patched.iter().chain([&chart, &broken]);
    let versions = || {
        let version = |web| read(testbed, web)["metadata"]["resourceVersion"].clone();
        all().take(KINDS.len() + 1).map(version).collect::<Vec<_>>()
    };
    let (settled, start) = (versions(), Instant::now());
    let reads = requests(testbed, &shop, "get").len();
    let [leader, next] = replicas;
    let (leader, next) = if is_leader(&leader) { (leader, next) } else { (next, leader) };
    kill(&leader);
    let last = enforced.start_operator("last");
    // Whichever of the two is first.
    let is_led = || Ok(is_leader(&next) || is_leader(&last));
    testbed.wait_for("another replica to lead", SURELY, is_led).unwrap();
    thread::sleep(QUIET.saturating_sub(start.elapsed()));
    assert_eq!(versions(), settled, "nothing is asserted again");
    assert!(requests(testbed, &shop, "get").len() > reads, "the new leader has looked");
    for (web, generation) in patched.iter().zip(&generations) {
        assert_eq!(&read(testbed, web)["metadata"]["generation"], generation, "{web:#}");
    }
    // A dry run and a patch of each, by whichever replica.
    let names = ["daemonset", "deployment", "statefulset"];
    assert_eq!(requests(testbed, &shop, "patch"), names.map(|name| [name; 2]).concat());

    // What was known of injection is known to the leaders that followed.
    enforced.wait_until(&injected, "injection to be switched off", || {
        state(&injected, &broken) == "Reverted"
    });
    // The Event follows the status.
    enforced.wait_until(&injected, "the Event", || {
        let events = list(testbed, &injected, "events.events.k8s.io");
        events.iter().any(|event| event["reason"] == "RemediationReverted")
    });
    enforced.wait_until_injected(&broken, false);
    replace_pods(testbed, &broken);
    assert!(!has_injected_pods(testbed, &injected));
    assert_eq!(requests(testbed, &injected, "patch"), [""; 0]);
    for operator in [&next, &last] {
        let log = operator.logs().unwrap();
        assert!(!log.contains(r#""level":"ERROR""#), "{log}");
    }
}
