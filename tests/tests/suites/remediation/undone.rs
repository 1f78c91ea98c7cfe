//! What is done with a workload after it was remediated: undone, restarted, annotated, taken over,
//! or written again by a controller. The operator decides by its status.

use std::thread;
use std::time::Duration;

use e2e::Owner;
use serde_json::{Value, json};

use super::enforced::Enforced;
use super::workloads::{
    assert_succeeded, container, list, managers, pods, read, text, wait_until_rolled_out, workload,
};

/// A policy whose probe proves itself in a few seconds.
const PROBES: &str = "{enforcementMode: enforce, requireReadinessProbe: true, \
    defaultProbe: {tcpPort: 8080, initialDelaySeconds: 1, periodSeconds: 1}}";
const PATCHED_BY: &str = "devops.stochastic.io/patched-by";
const REMEDIATION: &str = "devops.stochastic.io/remediation";
const V1: &str = "registry.example.com/web:v1";
const V2: &str = "registry.example.com/web:v2";

/// The Deployment `web` of a namespace of its own, and what may be done with it.
struct Web {
    enforced: &'static Enforced,
    namespace: String,
    object: Value,
    turns: u32,
}

impl Web {
    fn new(name: &str) -> Self {
        let enforced = Enforced::shared();
        let namespace = enforced.testbed().namespace(name).unwrap();
        let object = workload("Deployment", &namespace, "web");
        Self { enforced, namespace, object, turns: 0 }
    }

    /// Its owner applies it, and it is rolled out.
    fn apply(&self) {
        let run = Owner::KubectlClientSide.apply(self.enforced.testbed(), &self.object).unwrap();
        assert_succeeded("apply", &run);
        self.wait_until_rolled_out();
    }

    fn apply_image(&mut self, image: &str) {
        container(&mut self.object)["image"] = json!(image);
        self.apply();
    }

    fn wait_until_rolled_out(&self) {
        wait_until_rolled_out(self.enforced.testbed(), &self.object);
    }

    fn enforce(&self) {
        self.enforced.apply_policy(&self.namespace, PROBES);
    }

    fn wait_until_patched(&self) {
        self.wait_until("web to be patched", || {
            self.enforced.is_patched(&self.namespace, "Deployment/web")
        });
    }

    fn wait_for_state(&self, state: &str) {
        self.wait_until(state, || self.state() == state);
    }

    fn wait_until(&self, what: &str, holds: impl Fn() -> bool) {
        self.enforced.wait_until(&self.namespace, what, holds);
    }

    fn state(&self) -> String {
        self.enforced.state(&self.namespace, "Deployment/web")
    }

    fn writes(&self) -> Vec<String> {
        self.enforced.writes(&self.namespace, "web")
    }

    /// The operator reads it, because the policy changes, and starts what it is to start: a younger
    /// workload is patched.
    fn next_turn(&mut self) {
        let (enforced, namespace) = (self.enforced, &self.namespace);
        let before = enforced.reads(namespace, "web");
        self.turns += 1;
        let delay = format!("initialDelaySeconds: {}", 1 + self.turns);
        enforced.apply_policy(namespace, &PROBES.replace("initialDelaySeconds: 1", &delay));
        self.wait_until("the next read", || enforced.reads(namespace, "web") > before);
        let witness = format!("witness-{}", self.turns);
        let mut object = workload("Deployment", namespace, &witness);
        object["spec"]["replicas"] = json!(1);
        let run = Owner::KubectlClientSide.apply(enforced.testbed(), &object).unwrap();
        assert_succeeded(&witness, &run);
        let label = format!("Deployment/{witness}");
        self.wait_until("the witness to be patched", || enforced.is_patched(namespace, &label));
    }

    fn kubectl(&self, arguments: &[&str]) {
        let run = self.enforced.testbed().kubectl(&[arguments, &["-n", &self.namespace]].concat());
        assert_succeeded(&arguments.join(" "), &run.unwrap());
    }

    fn undo(&self) {
        self.kubectl(&["rollout", "undo", "deployment/web"]);
        self.wait_until_rolled_out();
    }

    fn live(&self) -> Value {
        read(self.enforced.testbed(), &self.object)
    }

    fn probe(&self) -> Value {
        self.live()["spec"]["template"]["spec"]["containers"][0]["readinessProbe"].clone()
    }

    fn is_marked(&self) -> bool {
        self.live()["metadata"]["annotations"][PATCHED_BY].is_string()
    }

    /// The note of the Event of that reason, once there is one.
    fn note(&self, reason: &str) -> String {
        let find = || {
            let events = list(self.enforced.testbed(), &self.namespace, "events.events.k8s.io");
            let found = events.iter().find(|event| event["reason"] == reason);
            found.map(|event| text(&event["note"]))
        };
        self.wait_until(reason, || find().is_some());
        find().unwrap()
    }

    /// The pod template of a revision.
    fn revision(&self, number: &str) -> Value {
        let sets = list(self.enforced.testbed(), &self.namespace, "replicasets");
        let is_it = |set: &&Value| {
            set["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == number
                && set["metadata"]["labels"]["app"] == "web"
        };
        sets.iter().find(is_it).unwrap()["spec"]["template"]["spec"]["containers"][0].clone()
    }
}

/// The number after `Revision `.
fn revision_in(note: &str) -> &str {
    let after = note.split_once("Revision ").and_then(|(_, after)| after.split_once(' '));
    after.map(|(number, _)| number).unwrap_or_default()
}

#[test]
fn who_undoes_a_patch_has_the_last_word_also_after_the_next_undo() {
    let mut web = Web::new("undone");
    web.apply();
    web.apply_image(V2);
    web.enforce();
    web.wait_until_patched();
    // The Event names the revision before the patch, which has the owner's last image.
    let note = web.note("RemediationApplied");
    let before = web.revision(revision_in(&note));
    assert_eq!((&before["image"], &before["readinessProbe"]), (&json!(V2), &Value::Null));
    assert_eq!(revision_in(&note), "2", "{note}");
    web.wait_until_rolled_out();
    web.undo();
    assert!(web.probe().is_null());
    web.wait_for_state("Withdrawn");
    // The names of its containers, which the undo left to the operator, are given up at once.
    web.wait_until("the release", || {
        !managers(&web.live()).iter().any(|(manager, _)| manager == "policy-operator")
    });
    // The next undo installs the patch again, with the mark of the operator.
    web.undo();
    assert!(web.probe().is_object() && web.is_marked());
    web.next_turn();
    web.undo();
    assert!(web.probe().is_null());
    web.next_turn();
    assert!(web.probe().is_null());
    assert_eq!(web.state(), "Withdrawn");
    assert_eq!(web.writes(), ["patch dry 200", "patch 200", "patch 200"]);
}

#[test]
fn what_was_taken_back_stays_so_after_undo_restart_and_pause() {
    let mut web = Web::new("reverted");
    web.object["spec"]["template"]["metadata"]["annotations"] =
        json!({ "testbed/bounded": "killed", "testbed/bounded-after": "5s" });
    web.apply();
    web.enforce();
    web.wait_for_state("Reverted");
    web.wait_until_rolled_out();
    let taken_back = web.writes();
    assert_eq!(taken_back, ["patch dry 200", "patch 200", "patch 200"]);
    let note = web.note("RemediationReverted");
    assert!(web.revision(revision_in(&note))["readinessProbe"].is_object(), "{note}");
    web.undo();
    assert!(web.probe().is_object() && web.is_marked());
    web.next_turn();
    web.undo();
    web.next_turn();
    web.kubectl(&["annotate", "deployment/web", "team=a"]);
    web.kubectl(&["rollout", "pause", "deployment/web"]);
    web.kubectl(&["rollout", "resume", "deployment/web"]);
    web.kubectl(&["rollout", "restart", "deployment/web"]);
    web.wait_until_rolled_out();
    web.next_turn();
    assert!(web.probe().is_null());
    assert_eq!(web.state(), "Reverted");
    assert_eq!(web.writes(), taken_back);
}

#[test]
fn an_annotation_and_a_restart_are_no_reason_for_a_second_patch() {
    let web = Web::new("restarted");
    web.apply();
    web.enforce();
    web.wait_until_patched();
    web.kubectl(&["annotate", "deployment/web", "team=a"]);
    web.kubectl(&["rollout", "restart", "deployment/web"]);
    web.wait_until_rolled_out();
    web.wait_for_state("Patched");
    assert!(web.probe().is_object());
    assert_eq!(web.writes(), ["patch dry 200", "patch 200"]);
}

#[test]
fn a_namespace_stays_opted_out_where_an_undo_removes_the_annotation_of_a_workload() {
    let mut web = Web::new("opted-out");
    web.kubectl(&["annotate", "namespace", &web.namespace, &format!("{REMEDIATION}=disabled")]);
    web.apply();
    web.object["metadata"]["annotations"] = json!({ REMEDIATION: "disabled" });
    web.apply_image(V2);
    web.enforce();
    let message = || text(&web.enforced.entry(&web.namespace, "Deployment/web")["message"]);
    web.wait_until("the opt-out of the workload", || message().contains("of the workload"));
    web.undo();
    let live = web.live();
    assert!(live["metadata"]["annotations"][REMEDIATION].is_null(), "{live:#}");
    web.wait_until("the opt-out of the namespace", || message().contains("of the namespace"));
    assert!(web.probe().is_null());
    assert_eq!(web.writes(), [""; 0]);
}

#[test]
fn who_begins_to_apply_on_the_server_gets_the_patch_as_an_injection() {
    let mut web = Web::new("taken-over");
    web.apply();
    web.enforce();
    web.wait_until_patched();
    web.wait_until_rolled_out();
    let testbed = web.enforced.testbed();
    let apply = |object: &Value| {
        let apply = ["apply", "--server-side", "-f", "-"];
        testbed.kubectl_stdin(&apply, &object.to_string()).unwrap()
    };
    let probe = |period: u32| json!({ "tcpSocket": { "port": 8080 }, "periodSeconds": period });
    let mut own = web.object.clone();
    container(&mut own)["readinessProbe"] = probe(7);
    // Before anything of his is applied on the server: from then on the operator may let go.
    let refused = apply(&own);
    assert!(refused.stderr.contains("conflict with \"policy-operator\""), "{refused:?}");
    assert_succeeded("the first apply on the server", &apply(&web.object));
    web.next_turn();
    web.wait_for_state("Injecting");
    web.wait_until("the release", || {
        !managers(&web.live()).iter().any(|(manager, _)| manager == "policy-operator")
    });
    assert!(web.probe().is_null() && !web.is_marked(), "{:#}", web.live());
    let note = web.note("RemediationReleased");
    assert!(note.contains("Deployment/web") && note.contains("kubectl"), "{note}");
    web.wait_until_rolled_out();
    let pods = pods(testbed, &web.namespace);
    let pods: Vec<_> =
        pods.iter().filter(|pod| pod["metadata"]["labels"]["app"] == "web").collect();
    let alive: Vec<_> =
        pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect();
    assert_eq!(alive.len(), 2, "{pods:#?}");
    let has_probe = |pod: &&&Value| pod["spec"]["containers"][0]["readinessProbe"].is_object();
    assert!(alive.iter().all(has_probe), "no pod without it in between: {alive:#?}");
    assert_succeeded("the owner's own probe", &apply(&own));
    assert_eq!(web.probe()["periodSeconds"], 7);
    assert_eq!(web.writes(), ["patch dry 200", "patch 200", "patch 200"]);
}

#[test]
fn a_controller_that_writes_its_own_spec_again_is_not_fought() {
    let mut web = Web::new("rewritten");
    web.apply();
    web.enforce();
    web.wait_until_patched();
    container(&mut web.object)["image"] = json!(V1);
    let replace = || {
        let replace = ["replace", "-f", "-"];
        let testbed = web.enforced.testbed();
        // As a controller does: the status of the Deployment changes all the time, and kubectl
        // replaces the version that it has read.
        let is_replaced = || {
            let run = testbed.kubectl_stdin(&replace, &web.object.to_string())?;
            let is_conflict = run.stderr.contains("(Conflict)");
            Ok(!is_conflict && run.succeeded().is_ok())
        };
        testbed.wait_for("web to be replaced", Duration::from_secs(30), is_replaced).unwrap();
    };
    replace();
    assert!(web.probe().is_null());
    web.wait_for_state("Withdrawn");
    for _ in 0..5 {
        replace();
        thread::sleep(Duration::from_secs(1));
    }
    web.next_turn();
    assert!(web.probe().is_null());
    assert_eq!(web.state(), "Withdrawn");
    assert_eq!(web.writes(), ["patch dry 200", "patch 200", "patch 200"]);
}
