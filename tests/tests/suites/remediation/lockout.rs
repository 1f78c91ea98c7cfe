//! Whoever owns a workload can change it at any time, without force.

use std::thread;

use e2e::{Owner, Testbed};
use serde_json::{Value, json};

use super::POLICY;
use super::enforced::Enforced;
use super::usage;
use super::workloads::{assert_has, assert_succeeded, container, pods, read, text, workload};

/// What an owner applies later.
#[derive(Debug, Clone, Copy)]
enum Change {
    OwnRequest,
    OtherHandler,
    OtherPort,
    OtherPeriod,
    /// A memory request above the limit that the policy fills in.
    RequestAboveLimit,
    /// The same again.
    Nothing,
}

impl Change {
    const ALL: [Self; 6] = [
        Self::OwnRequest,
        Self::OtherHandler,
        Self::OtherPort,
        Self::OtherPeriod,
        Self::RequestAboveLimit,
        Self::Nothing,
    ];

    fn apply_to(self, workload: &mut Value) {
        let container = container(workload);
        match self {
            Self::OwnRequest => container["resources"] = json!({ "requests": { "cpu": "50m" } }),
            Self::OtherHandler => {
                container["readinessProbe"] =
                    json!({ "httpGet": { "path": "/ready", "port": 8080 } });
            }
            Self::OtherPort => {
                container["readinessProbe"] = json!({ "tcpSocket": { "port": 9090 } });
            }
            Self::OtherPeriod => {
                container["readinessProbe"] =
                    json!({ "tcpSocket": { "port": 8080 }, "periodSeconds": 3 });
            }
            Self::RequestAboveLimit => {
                container["resources"] = json!({ "requests": { "memory": "1Gi" } });
            }
            Self::Nothing => {}
        }
    }
}

/// When an owner applies the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Before the policy exists.
    Before,
    /// While the pods are replaced.
    During,
    /// When all pods are as the policy wants them.
    After,
}

/// A Deployment for each change and moment.
fn deployments(namespace: &str, moment: Moment) -> Vec<(Change, Value)> {
    let name = |change| format!("{change:?}-{moment:?}").to_lowercase();
    let of = |change| {
        let mut web = workload("Deployment", namespace, &name(change));
        web["spec"]["replicas"] = json!(1);
        if moment == Moment::During {
            // Its rollout takes so long.
            web["spec"]["minReadySeconds"] = json!(20);
        }
        (change, web)
    };
    Change::ALL.map(of).into()
}

#[test]
fn no_owner_is_locked_out_at_any_time() {
    let enforced = Enforced::shared();
    thread::scope(|scope| {
        for owner in Owner::ALL {
            scope.spawn(move || is_never_locked_out(enforced, owner));
        }
    });
}

fn is_never_locked_out(enforced: &Enforced, owner: Owner) {
    let testbed = enforced.testbed();
    let namespace = testbed.namespace(owner.name()).unwrap();
    let [before, during, after] = [Moment::Before, Moment::During, Moment::After]
        .map(|moment| deployments(&namespace, moment));
    for (_, web) in before.iter().chain(&during).chain(&after) {
        assert_succeeded(owner.name(), &owner.apply(testbed, web).unwrap());
    }
    apply_changes(testbed, owner, Moment::Before, &before);
    for (_, web) in during.iter().chain(&after) {
        super::workloads::wait_until_rolled_out(testbed, web);
    }
    usage::report(testbed, &namespace, "100Mi");
    enforced.apply_policy(&namespace, POLICY);
    // All of them are in the hands of the policy now: patched, or injected into new pods.
    let is_chosen = |web: &Value| {
        let state =
            enforced.state(&namespace, &format!("Deployment/{}", text(&web["metadata"]["name"])));
        ["Observing", "Patched", "Injecting"].contains(&&*state)
    };
    enforced.wait_until(&namespace, "the workloads to be remediated", || {
        during.iter().chain(&after).all(|(_, web)| is_chosen(web))
    });
    if owner != Owner::KubectlClientSide {
        // Injection waits for the next pod.
        let delete = ["delete", "pod", "--all", "-n", &namespace, "--wait=false"];
        testbed.kubectl(&delete).unwrap().succeeded().unwrap();
    }
    apply_changes(testbed, owner, Moment::During, &during);
    for (_, web) in &after {
        super::workloads::wait_until_rolled_out(testbed, web);
        let name = text(&web["metadata"]["name"]);
        assert!(
            pods(testbed, &namespace).iter().any(|pod| pod["metadata"]["labels"]["app"] == *name
                && pod["spec"]["containers"][0]["livenessProbe"]["tcpSocket"].is_object()
                && pod["spec"]["containers"][0]["resources"]["limits"]["memory"] == "256Mi"),
            "{owner:?} {name}"
        );
    }
    apply_changes(testbed, owner, Moment::After, &after);
}

/// Applies the changes, which have to succeed, and be what is live then, in the workload and in its
/// newest pods.
fn apply_changes(testbed: &Testbed, owner: Owner, moment: Moment, all: &[(Change, Value)]) {
    for (change, web) in all {
        let mut web = web.clone();
        change.apply_to(&mut web);
        let case = format!("{owner:?} {change:?} {moment:?}");
        assert_succeeded(&case, &owner.apply(testbed, &web).unwrap());
        let live = read(testbed, &web);
        assert_has(&live["spec"], &web["spec"], &case);
        super::workloads::wait_until_rolled_out(testbed, &web);
        let (namespace, name) =
            (text(&web["metadata"]["namespace"]), text(&web["metadata"]["name"]));
        let is_its = |pod: &&Value| {
            pod["metadata"]["labels"]["app"] == *name
                && pod["metadata"]["deletionTimestamp"].is_null()
        };
        let found = pods(testbed, &namespace);
        let pod = found.iter().find(is_its).unwrap();
        let wanted = &web["spec"]["template"]["spec"]["containers"];
        assert_has(&pod["spec"]["containers"], wanted, &format!("{case}, its pod"));
    }
}
