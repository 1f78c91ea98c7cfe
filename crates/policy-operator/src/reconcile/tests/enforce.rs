//! Enforce mode against a server that applies as an API server does, as far as it matters here.

mod disabled;
mod faults;
mod locked;
mod takeover;
mod undone;
mod workloads;

use std::collections::BTreeMap;

use policy_core::api::{FIELD_MANAGER, RemediationState};
use policy_core::policy::CompiledPolicy;
use policy_core::view::PodView;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::RemediationConfig;
use crate::policies::Policies;

/// The deployments of the namespace `shop`, and a policy.
#[derive(Clone)]
struct Cluster(Arc<Mutex<ClusterState>>);

struct ClusterState {
    policy: Value,
    workloads: BTreeMap<String, Value>,
    /// Each write, as in `apply web` and `dry web`; statuses and Events as such.
    writes: Vec<String>,
    reads: usize,
    /// The paths that were read.
    paths: Vec<String>,
    may_patch: bool,
    /// Whether the next workload vanishes between its dry run and its patch.
    vanishes: bool,
    version: u64,
}

const SPEC: &str = r#"{"enforcementMode": "enforce", "requireReadinessProbe": true,
    "defaultProbe": {"tcpPort": 8080}}"#;

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "namespace": "shop", "name": name, "uid": format!("u-{name}"),
            "resourceVersion": "1", "generation": 1 },
        "spec": { "replicas": 2, "template": { "spec": { "containers": [
            { "name": "web", "image": "nginx:1", "ports": [{ "containerPort": 8080 }] }] } } },
        "status": { "observedGeneration": 1, "replicas": 2, "updatedReplicas": 2,
            "readyReplicas": 2, "availableReplicas": 2 },
    })
}

impl Cluster {
    fn client(&self) -> Client {
        let cluster = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let cluster = cluster.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                let (code, answer) =
                    cluster.0.lock().answer(head.method.as_str(), &head.uri.to_string(), &body);
                let mut response = Response::new(Full::new(answer.into()));
                *response.status_mut() = code.try_into().unwrap();
                Ok::<_, Infallible>(response)
            }
        });
        Client::new(service, "default")
    }

    fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().writes)
    }
}

impl ClusterState {
    fn answer(&mut self, method: &str, uri: &str, body: &Value) -> (u16, String) {
        let path = uri.split('?').next().unwrap();
        if method == "GET" {
            self.paths.push(uri.to_owned());
        }
        let name = path.rsplit('/').next().unwrap().to_owned();
        if path.ends_with("/status") {
            self.version += 1;
            self.writes.push("status".to_owned());
            // The API server makes `null` of it where there was content before, and refuses that.
            assert_ne!(body["status"]["remediation"], json!({}));
            self.policy["status"] = body["status"].clone();
            self.policy["metadata"]["resourceVersion"] = self.version.to_string().into();
            return (200, self.policy.to_string());
        }
        if path.contains("/deployments/") {
            let Some(workload) = self.workloads.get(&name).cloned() else {
                return (404, status_json(404, "NotFound", "not found"));
            };
            if method == "GET" {
                self.reads += 1;
                return (200, workload.to_string());
            }
            let is_dry = uri.contains("dryRun=All");
            self.writes.push(format!("{} {name}", if is_dry { "dry" } else { "apply" }));
            if !self.may_patch {
                let why = "User \"operator\" cannot patch resource \"deployments\"";
                return (403, status_json(403, "Forbidden", why));
            }
            if !is_dry && std::mem::take(&mut self.vanishes) {
                self.workloads.remove(&name);
                // As Kubernetes 1.37 says it.
                let why = "Operation cannot be fulfilled on deployments.apps \"web\": uid \
                           mismatch: the provided object specified uid u-web, and no existing \
                           object was found";
                return (409, status_json(409, "Conflict", why));
            }
            let applied = applied(workload, body);
            if !is_dry {
                self.workloads.insert(name, applied.clone());
            }
            return (200, applied.to_string());
        }
        match (method, name.as_str()) {
            ("GET", "verticalpodautoscalers" | "pods") => {
                (404, status_json(404, "NotFound", "the server could not find it"))
            }
            ("GET", _) => (200, json!({ "metadata": {}, "items": [] }).to_string()),
            _ => {
                self.writes.push(name);
                (200, body.to_string())
            }
        }
    }
}

/// The workload after an apply of that body by the operator.
fn applied(mut workload: Value, body: &Value) -> Value {
    let container = body.pointer("/spec/template/spec/containers/0").cloned();
    let live = &mut workload["spec"]["template"]["spec"]["containers"][0];
    let mut entries = if let Some(container) = &container {
        live["readinessProbe"] = container["readinessProbe"].clone();
        let owned = json!({ "f:spec": { "f:template": { "f:spec": { "f:containers": {
            "k:{\"name\":\"web\"}": { ".": {}, "f:name": {}, "f:readinessProbe": {
                "f:tcpSocket": { "f:port": {} }, "f:initialDelaySeconds": {},
                "f:periodSeconds": {}, "f:failureThreshold": {} } } } } } } });
        json!([{ "manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": "apps/v1",
            "time": "2027-01-15T08:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": owned }])
    } else {
        live.as_object_mut().unwrap().remove("readinessProbe");
        json!([])
    };
    let all = workload["metadata"]["managedFields"].as_array().into_iter().flatten();
    let theirs = all.filter(|entry| entry["manager"] != FIELD_MANAGER).cloned();
    entries.as_array_mut().unwrap().extend(theirs);
    workload["metadata"]["managedFields"] = entries;
    let by = &body["metadata"]["annotations"];
    workload["metadata"]["annotations"] = by.clone();
    workload["metadata"]["generation"] = 2.into();
    workload["status"]["observedGeneration"] = 2.into();
    workload
}

/// An operator, and a clock.
struct Operator {
    cluster: Cluster,
    gate: GateControl,
    pods: PodSink,
    policies: PolicySink,
    reconciler: Reconciler,
}

fn cluster(workloads: &[&str]) -> Cluster {
    let policy = json!({
        "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
        "metadata": { "namespace": "shop", "name": "strict", "uid": "u-1", "generation": 1,
            "resourceVersion": "0", "finalizers": [FINALIZER] },
        "spec": serde_json::from_str::<Value>(SPEC).unwrap(),
    });
    let workloads = workloads.iter().map(|name| ((*name).to_owned(), deployment(name)));
    Cluster(Arc::new(Mutex::new(ClusterState {
        policy,
        workloads: workloads.collect(),
        writes: Vec::new(),
        reads: 0,
        paths: Vec::new(),
        may_patch: true,
        vanishes: false,
        version: 0,
    })))
}

impl Operator {
    /// Starts one that is the leader.
    fn start(cluster: &Cluster, config: RemediationConfig) -> Self {
        let (control, gate) = GateControl::for_test();
        control.open();
        let policies = Policies::default();
        let pods = Pods::new(ExcludedNamespaces::default(), policies.clone());
        let writer = Writer::new(cluster.client(), gate, policies.queue.budget());
        let start = Instant::now();
        let now = move || {
            let elapsed = i64::try_from(start.elapsed().as_millis()).unwrap();
            Timestamp::from_millisecond(1_800_000_000_000 + elapsed).unwrap()
        };
        let mut operator = Self {
            cluster: cluster.clone(),
            gate: control,
            pods: pods.sink(),
            policies: policies.sink(),
            reconciler: Reconciler {
                pods,
                namespaces: Namespaces::new(ExcludedNamespaces::default(), policies.clone()),
                rollouts: Rollouts::new(ExcludedNamespaces::default(), policies.clone()),
                labels: WorkloadLabels::new(&ExcludedNamespaces::default(), &policies),
                drains: Drains::new(
                    ExcludedNamespaces::default(),
                    policies.clone(),
                    cluster.client(),
                ),
                executor: Executor::new(
                    writer.clone(),
                    Budgets::new(config, CancellationToken::new()),
                ),
                writer,
                open_reports: None,
                policies,
                audit_store: AuditStore::default(),
                cluster_name: None,
                retention: 2,
                now: Box::new(now),
            },
        };
        operator.pods.list_begins();
        let names: Vec<String> = cluster.0.lock().workloads.keys().cloned().collect();
        for name in names {
            operator.pods.applied(pod(&name, &json!({ "phase": "Running" })));
        }
        operator.pods.list_completes();
        let policy = cluster.0.lock().policy.clone();
        operator.policies.applied(serde_json::from_value(policy).unwrap());
        operator
    }

    async fn reconcile(&self) -> Outcome {
        self.reconciler.reconcile(&key()).await
    }

    /// Reconciles as the queue does, for so long, and returns the writes.
    async fn run(&self, time: Duration) -> Vec<String> {
        let end = Instant::now() + time;
        loop {
            let outcome = self.reconcile().await;
            let wait = outcome.requeue_after.unwrap().max(outcome.pause).max(PACE);
            if Instant::now() + wait > end {
                return self.cluster.writes();
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Reconciles once, and waits until the queue would do so again.
    async fn next_turn(&self) -> Duration {
        let outcome = self.reconcile().await;
        let pause = outcome.requeue_after.unwrap().max(outcome.pause).max(PACE);
        tokio::time::sleep(pause).await;
        pause
    }

    fn status(&self) -> DevOpsPolicyStatus {
        serde_json::from_value(self.cluster.0.lock().policy["status"].clone()).unwrap()
    }

    fn states(&self) -> Vec<RemediationState> {
        let workloads = self.status().remediation.unwrap_or_default().workloads;
        workloads.iter().map(|workload| workload.state).collect()
    }

    /// The status and the reason of the condition `Remediating`.
    fn condition(&self) -> (String, String) {
        let conditions = self.status().conditions;
        let found = conditions.iter().find(|found| found.type_ == "Remediating").unwrap();
        (found.status.clone(), found.reason.clone())
    }
}

fn pod(workload: &str, status: &Value) -> PodView {
    let mut pod = pod_json(workload);
    pod["status"] = status.clone();
    serde_json::from_value(pod).unwrap()
}

/// A pod whose container was restarted.
fn restarted(workload: &str) -> PodView {
    let status = json!({ "phase": "Running", "containerStatuses": [{ "name": "web",
        "restartCount": 1, "lastState": { "terminated": { "reason": "Error" } } }] });
    pod(workload, &status)
}

fn pod_json(workload: &str) -> Value {
    json!({
        "metadata": { "namespace": "shop", "name": format!("{workload}-5d8-a"),
            "creationTimestamp": "2027-01-15T08:00:00Z",
            "labels": { "pod-template-hash": "5d8" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet",
                "name": format!("{workload}-5d8"), "controller": true }] },
        "spec": { "containers": [{ "name": "web", "image": "nginx:1" }] },
    })
}

fn of_workloads(writes: &[String]) -> Vec<&str> {
    let is_one = |write: &&str| write.starts_with("dry ") || write.starts_with("apply ");
    writes.iter().map(String::as_str).filter(is_one).collect()
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn the_intent_is_in_the_status_before_a_workload_is_changed() {
    let cluster = cluster(&["web"]);
    let operator = Operator::start(&cluster, RemediationConfig::default());
    operator.reconcile().await;
    let writes = cluster.writes();
    let end = writes.iter().position(|write| write == "policyauditresults");
    let first: Vec<_> = writes.iter().filter(|write| !write.contains("events")).collect();
    assert_eq!(first[..4], ["status", "dry web", "apply web", "status"], "{writes:?} {end:?}");
    assert_eq!(operator.states(), [RemediationState::Observing]);
    assert_eq!(operator.condition(), ("True".to_owned(), "Remediating".to_owned()));
    assert_eq!(operator.status().remediations_applied, Some(1));
    assert_eq!(operator.status().remediated_workloads, ["Deployment/web"]);
    // The rollout is complete at once, and the probe would have failed within 65 s.
    let writes = operator.run(3 * MINUTE).await;
    assert_eq!(of_workloads(&writes), [""; 0], "it is patched once");
    assert_eq!(operator.states(), [RemediationState::Patched]);
}

#[tokio::test(start_paused = true)]
async fn what_hurts_is_released_and_left_alone_also_by_the_next_leader() {
    let cluster = cluster(&["web"]);
    let mut operator = Operator::start(&cluster, RemediationConfig::default());
    operator.reconcile().await;
    operator.pods.applied(restarted("web"));
    let writes = operator.run(MINUTE / 4).await;
    assert!(writes.contains(&"events".to_owned()), "{writes:?}");
    assert_eq!(operator.states(), [RemediationState::Reverted]);
    let before = cluster.0.lock().workloads["web"].clone();
    assert_eq!(before.pointer("/spec/template/spec/containers/0/readinessProbe"), None);
    let writes = operator.run(30 * MINUTE).await;
    assert_eq!(of_workloads(&writes), [""; 0]);
    let next = Operator::start(&cluster, RemediationConfig::default());
    assert_eq!(of_workloads(&next.run(30 * MINUTE).await), [""; 0]);
    assert_eq!(next.states(), [RemediationState::Reverted]);
    // The owner changes the template.
    let template = "/spec/template/spec/containers/0/image";
    *cluster.0.lock().workloads.get_mut("web").unwrap().pointer_mut(template).unwrap() =
        "nginx:2".into();
    let writes = next.run(20 * MINUTE).await;
    assert_eq!(of_workloads(&writes), ["dry web", "apply web"]);
}

#[tokio::test(start_paused = true)]
async fn revoked_rights_cost_few_writes_and_are_said() {
    let names: Vec<String> = (0..200).map(|number| format!("web-{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let cluster = cluster(&names);
    cluster.0.lock().may_patch = false;
    let config = || RemediationConfig {
        max_concurrent_per_policy: 1_000,
        max_concurrent: 1_000,
        max_started: 1_000,
        canary: false,
        ..RemediationConfig::default()
    };
    let operator = Operator::start(&cluster, config());
    let writes = operator.run(5 * MINUTE).await;
    let attempts = of_workloads(&writes).len();
    assert!(attempts <= 9, "{attempts}");
    assert_eq!(operator.condition(), ("False".to_owned(), "NotPermitted".to_owned()));
    let statuses = writes.iter().filter(|write| *write == "status").count();
    assert!(statuses <= 4, "{statuses}");
    cluster.0.lock().may_patch = true;
    let writes = operator.run(15 * MINUTE).await;
    let applied = of_workloads(&writes).iter().filter(|w| w.starts_with("apply")).count();
    assert_eq!(applied, 200);
    assert_eq!(operator.condition().0, "True");
}

#[tokio::test(start_paused = true)]
async fn one_workload_comes_first_and_then_so_many_at_a_time() {
    let cluster = cluster(&["a", "b", "c", "d", "e"]);
    let operator = Operator::start(&cluster, RemediationConfig::default());
    let writes = operator.run(MINUTE).await;
    assert_eq!(of_workloads(&writes), ["dry a", "apply a"]);
    let waiting = operator.status().remediation.unwrap().workloads;
    assert!(waiting[1..].iter().all(|workload| workload.reason == "Canary"), "{waiting:?}");
    let writes = operator.run(MINUTE).await;
    let applied = of_workloads(&writes).iter().filter(|w| w.starts_with("apply")).count();
    assert_eq!(applied, 3, "{writes:?}");
    operator.run(3 * MINUTE).await;
    assert_eq!(operator.states(), [RemediationState::Patched; 5]);
}
