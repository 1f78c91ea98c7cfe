//! Reconciles a policy against a scripted API server, in the order of the queue.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use policy_core::api::{DevOpsPolicyStatus, FINALIZER};
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::view::ClusterPolicyView;
use policy_runtime::testing::{GateControl, status_json};
use policy_runtime::watch::Sink as _;
use serde_json::{Value, json};

use super::*;
use crate::pods::PodSink;
use crate::policies::PolicySink;
use crate::remediation::Budgets;
use crate::write_budget::WriteBudget;

mod audit_results;
mod cluster;
mod enforce;
mod failures;
mod finalizers;
mod open_reports;

/// Holds one policy and accepts every write, unless a refusal is set.
#[derive(Clone)]
struct Server(Arc<Mutex<ServerState>>);

struct ServerState {
    policy: Value,
    version: u64,
    /// Each as in `PATCH status`.
    writes: Vec<String>,
    /// The path and the body of each write.
    sent: Vec<(String, Value)>,
    /// The next answers. After them every write is accepted again.
    refusals: Vec<u16>,
    /// The time of each write.
    delay: Duration,
    /// The answer to each Report; 404 where the cluster does not serve the kind.
    reports: u16,
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        Client::new(service, "default")
    }

    async fn answer(&self, request: Request<Body>) -> Response<Full<hyper::body::Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let delay = self.0.lock().delay;
        tokio::time::sleep(delay).await;
        let path = head.uri.path();
        let what = if path.ends_with("/status") {
            "status"
        } else if path.contains("devopspolicies/") {
            "policy"
        } else {
            let plurals = ["policyauditresults", "events", "reports", "v1alpha1"];
            path.rsplit('/').find(|part| plurals.contains(part)).unwrap()
        };
        let mut state = self.0.lock();
        state.version += 1;
        state.writes.push(format!("{} {what}", head.method));
        state.sent.push((path.to_owned(), body.clone()));
        let (code, answer) = if what == "v1alpha1" && state.reports != 404 {
            (200, json!({ "resources": [{ "name": "reports" }] }).to_string())
        } else if ["reports", "v1alpha1"].contains(&what) && state.reports != 200 {
            (state.reports, status_json(state.reports, "Refused", "refused"))
        } else if state.refusals.is_empty() {
            (200, state.accept(what, body).to_string())
        } else {
            let code = state.refusals.remove(0);
            (code, status_json(code, "Refused", "refused"))
        };
        let mut response = Response::new(Full::new(answer.into()));
        *response.status_mut() = code.try_into().unwrap();
        response
    }

    /// What was written since this was last called.
    fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().writes)
    }

    /// The path and the body of each write so far.
    fn sent(&self) -> Vec<(String, Value)> {
        self.0.lock().sent.clone()
    }

    fn refuse(&self, codes: &[u16]) {
        self.0.lock().refusals = codes.to_vec();
    }
}

impl ServerState {
    /// Stores a write, and returns the object with it.
    fn accept(&mut self, what: &str, mut body: Value) -> Value {
        match what {
            "status" => self.policy["status"] = body["status"].take(),
            "policy" => {
                for operation in body.as_array().unwrap() {
                    self.patch(operation);
                }
            }
            _ => return body,
        }
        self.policy["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.policy.clone()
    }

    /// Applies an operation of a JSON patch of the finalizers.
    fn patch(&mut self, operation: &Value) {
        let path = operation["path"].as_str().unwrap();
        let (list, index) = path.rsplit_once('/').unwrap();
        match operation["op"].as_str().unwrap() {
            "test" => assert_eq!(self.policy.pointer(path), Some(&operation["value"]), "{path}"),
            "add" if index == "-" => {
                let list = self.policy.pointer_mut(list).unwrap().as_array_mut().unwrap();
                list.push(operation["value"].clone());
            }
            "add" => self.policy["metadata"][index] = operation["value"].clone(),
            "remove" => {
                let list = self.policy.pointer_mut(list).unwrap().as_array_mut().unwrap();
                list.remove(index.parse().unwrap());
            }
            other => panic!("{other}"),
        }
    }
}

/// One policy in one namespace, and a clock that the test moves.
struct World {
    server: Server,
    gate_control: GateControl,
    pods: PodSink,
    policies: PolicySink,
    reconciler: Reconciler,
    /// How many reconciles there were.
    reconciles: usize,
}

const SPEC: &str =
    r#"{"forbidLatestTag": true, "forbidPendingDuration": 30, "maxRestartCount": 1}"#;

fn key() -> PolicyKey {
    PolicyKey::new("shop", "strict")
}

impl World {
    fn new() -> Self {
        let policy = json!({
            "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
            "metadata": { "namespace": "shop", "name": "strict", "uid": "u-1", "generation": 1,
                "resourceVersion": "0", "finalizers": [FINALIZER] },
            "spec": serde_json::from_str::<Value>(SPEC).unwrap(),
        });
        Self::with(policy)
    }

    fn with(policy: Value) -> Self {
        let (writes, sent, refusals) = (Vec::new(), Vec::new(), Vec::new());
        let delay = Duration::ZERO;
        let (version, reports) = (0, 200);
        let state = ServerState { policy, version, writes, sent, refusals, delay, reports };
        let server = Server(Arc::new(Mutex::new(state)));
        let (gate_control, gate) = GateControl::for_test();
        gate_control.open();
        let policies = Policies::default();
        let excluded = ExcludedNamespaces::default;
        let pods = Pods::new(excluded(), policies.clone());
        let writing = Writer::new(server.client(), gate, policies.queue.budget());
        let start = Instant::now();
        let now = move || {
            let elapsed = i64::try_from(start.elapsed().as_millis()).unwrap();
            Timestamp::from_millisecond(1_800_000_000_000 + elapsed).unwrap()
        };
        let mut world = Self {
            pods: pods.sink(),
            policies: policies.sink(),
            reconciler: Reconciler {
                pods,
                namespaces: Namespaces::new(excluded(), policies.clone()),
                rollouts: Rollouts::new(excluded(), policies.clone()),
                drains: Drains::new(excluded(), policies.clone(), server.client()),
                labels: WorkloadLabels::new(&excluded(), &policies),
                executor: Executor::new(writing.clone(), Budgets::default()),
                writer: writing,
                open_reports: None,
                policies,
                audit_store: AuditStore::new("kube-devops"),
                cluster_name: None,
                retention: 2,
                now: Box::new(now),
            },
            server,
            gate_control,
            reconciles: 0,
        };
        world.pods.list_begins();
        world.pods.list_completes();
        world.policies.list_begins();
        world.policies.list_completes();
        world.show_policy();
        world
    }

    fn policy(&self) -> Value {
        self.server.0.lock().policy.clone()
    }

    /// Changes the policy, and has the watch show it.
    fn change_policy(&mut self, change: impl FnOnce(&mut Value)) {
        let mut state = self.server.0.lock();
        state.version += 1;
        change(&mut state.policy);
        state.policy["metadata"]["resourceVersion"] = state.version.to_string().into();
        drop(state);
        self.show_policy();
    }

    /// The watch shows the policy as it is now.
    fn show_policy(&mut self) {
        let policy = self.policy();
        let view: PolicyView = if policy["kind"] == "ClusterDevOpsPolicy" {
            serde_json::from_value::<ClusterPolicyView>(policy).unwrap().into()
        } else {
            serde_json::from_value(policy).unwrap()
        };
        self.policies.applied(view);
    }

    fn view(&self) -> Arc<PolicyView> {
        self.reconciler.policies.get(&key()).unwrap().0
    }

    /// The watch shows a pod that was created now.
    fn pod(&mut self, name: &str, image: &str, phase: &str, restarts: u32) {
        let pod = json!({
            "metadata": { "namespace": "shop", "name": name, "creationTimestamp": (self.reconciler.now)() },
            "spec": { "containers": [{ "name": "c", "image": image }] },
            "status": { "phase": phase, "containerStatuses": [{ "name": "c", "restartCount": restarts }] },
        });
        self.pods.applied(serde_json::from_value(pod).unwrap());
    }

    /// The watch shows a pod that a `Job` controls.
    fn pod_of_job(&mut self, job: &str) {
        let pod = json!({
            "metadata": { "namespace": "shop", "name": format!("{job}-x7k2p"),
                "creationTimestamp": (self.reconciler.now)().to_string(),
                "ownerReferences": [{ "apiVersion": "batch/v1", "kind": "Job", "name": job,
                    "uid": "u-2", "controller": true }] },
            "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": "nginx" }] },
            "status": { "phase": "Running" },
        });
        self.pods.applied(serde_json::from_value(pod).unwrap());
    }

    /// Reconciles the policy whenever it is due within that time, and returns all writes. The watch
    /// shows the status after each.
    async fn run(&mut self, time: Duration) -> Vec<String> {
        let end = Instant::now() + time;
        let mut all = Vec::new();
        let policies = self.reconciler.policies.clone();
        while let Ok(key) = tokio::time::timeout_at(end, policies.queue.next()).await {
            let outcome = self.reconciler.reconcile(&key).await;
            self.reconciles += 1;
            policies.queue.finish(&key, outcome);
            self.show_policy();
            all.extend(self.server.writes());
        }
        all
    }
}

/// How many of the writes are of that sort.
fn count(what: &str, writes: &[String]) -> usize {
    writes.iter().filter(|write| write.contains(what)).count()
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn ten_quiet_minutes_bring_heartbeats_only() {
    let mut world = World::new();
    world.pod("waits", "nginx:1", "Pending", 0);
    world.pod("fails", "nginx:1", "Running", 9);
    let writes = world.run(2 * MINUTE).await;
    // First without the Pending pod, then with it; and the last verdict of the minute.
    assert_eq!(count("status", &writes), 2, "{writes:?}");
    assert_eq!(count("events", &writes), 1, "{writes:?}");
    assert_eq!(count("policyauditresults", &writes), 1, "{writes:?}");
    let writes = world.run(10 * MINUTE).await;
    assert_eq!(writes.len(), count("status", &writes), "{writes:?}");
    assert!((2..=3).contains(&writes.len()), "{writes:?}");
    // Restarts beyond those that count change nothing.
    world.pod("fails", "nginx:1", "Running", 10);
    assert_eq!(world.run(SECOND).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn fast_changes_are_judged_together() {
    let mut world = World::new();
    world.run(2 * MINUTE).await;
    let mut writes = Vec::new();
    for number in 0..40 {
        world.pod(&format!("web-{number}"), "nginx", "Running", 0);
        writes.extend(world.run(SECOND / 10).await);
    }
    let status = count("PATCH status", &writes);
    assert!((4..=5).contains(&status), "{status} in four seconds");
    // A changed spec does not wait.
    world.change_policy(|policy| {
        policy["metadata"]["generation"] = json!(2);
        policy["spec"]["forbidLatestTag"] = json!(false);
    });
    assert_eq!(count("PATCH status", &world.run(SECOND / 100).await), 1);
    assert_eq!(world.policy()["status"]["observedGeneration"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_not_the_leader_writes_nothing_and_loses_nothing() {
    let mut world = World::new();
    world.run(2 * MINUTE).await;
    world.gate_control.close();
    world.pod("web", "nginx", "Running", 9);
    assert_eq!(world.run(MINUTE / 2).await, [""; 0]);
    world.gate_control.open();
    world.reconciler.policies.all_due();
    let writes = world.run(2 * MINUTE).await;
    for write in ["PATCH status", "POST events", "POST policyauditresults"] {
        assert_eq!(count(write, &writes), 1, "{write}: {writes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_standby_waits_for_the_leader_without_reconciling_again_and_again() {
    let mut world = World::new();
    world.gate_control.hold_by("another");
    world.pod("web", "nginx", "Running", 9);
    assert_eq!(world.run(10 * MINUTE).await, [""; 0]);
    assert!(world.reconciles <= 12, "{} reconciles in ten minutes", world.reconciles);
    // The leader wrote no audit result, and the time for that is over.
    let (_, state) = world.reconciler.policies.get(&key()).unwrap();
    let pending = state.lock().await.audit.next_due().unwrap();
    let age = (world.reconciler.now)().as_second() - pending;
    assert!(age < 2 * crate::audit_queue::OVERDUE_SECONDS, "{age}");
}

#[tokio::test(start_paused = true)]
async fn no_write_starts_without_the_lease() {
    let world = World::new();
    let writer = &world.reconciler.writer;
    let policy = world.view();
    world.gate_control.close();
    let refused = writer.status(&policy, &DevOpsPolicyStatus::default()).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "cannot write the status of policy shop/strict: this replica does not hold the lease"
    );
    writer.add_finalizer(&policy).await.unwrap_err();
    writer.remove_finalizer(&policy).await.unwrap_err();
    writer.delete_audit_result(&key(), "shop", "x").await.unwrap_err();
    assert_eq!(world.server.writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_start_of_a_process_changes_nothing() {
    let mut first = World::new();
    first.pod("web", "nginx", "Running", 0);
    assert_eq!(first.run(2 * MINUTE).await.len(), 3);
    let mut second = World::new();
    second.pod("web", "nginx", "Running", 0);
    second.change_policy(|policy| *policy = first.policy());
    // The watch of audit results shows what the first one wrote.
    second.reconciler.audit_store = first.reconciler.audit_store.clone();
    assert_eq!(second.run(2 * MINUTE).await, [""; 0]);
}
