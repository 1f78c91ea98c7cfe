//! Looks at a policy beside an API server that a test holds in its hand.

use std::convert::Infallible;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use kube::Client;
use kube::client::Body;
use policy_core::namespaces::ExcludedNamespaces;
use policy_runtime::testing::{Lever, status_json};
use policy_runtime::watch::Sink as _;
use serde_json::{Value, json};

use super::*;
use crate::pods::PodSink;
use crate::policies::PolicySink;

/// A write, as `PATCH status`, with its body.
type Write = (String, Value);

/// Takes every write, unless it is told what to answer.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<ServerState>>);

#[derive(Default)]
struct ServerState {
    version: u64,
    writes: Vec<Write>,
    /// The next answers; then it takes writes again.
    refusals: Vec<u16>,
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
        let path = head.uri.path();
        let what = if path.ends_with("/status") {
            "status"
        } else if path.contains("/devopspolicies/") {
            "policy"
        } else {
            path.rsplit('/').find(|part| ["policyauditresults", "events"].contains(part)).unwrap()
        };
        let mut state = self.0.lock().unwrap();
        state.version += 1;
        state.writes.push((format!("{} {what}", head.method), body.clone()));
        let (code, answer) = if state.refusals.is_empty() {
            let metadata = json!({ "resourceVersion": state.version.to_string(), "name": "x" });
            let mut answer = if body["kind"] == "PolicyAuditResult" { body } else { json!({}) };
            answer["metadata"] = metadata;
            (200, answer.to_string())
        } else {
            let code = state.refusals.remove(0);
            (code, status_json(code, "Told", "so told"))
        };
        let mut response = Response::new(Full::new(answer.into()));
        *response.status_mut() = code.try_into().unwrap();
        response
    }

    /// What was written since this was last asked.
    fn writes(&self) -> Vec<String> {
        let writes = std::mem::take(&mut self.0.lock().unwrap().writes);
        writes.into_iter().map(|(what, _)| what).collect()
    }

    fn refuse(&self, codes: &[u16]) {
        self.0.lock().unwrap().refusals = codes.to_vec();
    }
}

/// One policy in one namespace, and the time in a test's hand.
struct World {
    server: Server,
    lever: Lever,
    pods: PodSink,
    policies: PolicySink,
    reconciler: Reconciler,
    policy: Value,
}

const SPEC: &str =
    r#"{"forbidLatestTag": true, "forbidPendingDuration": 30, "maxRestartCount": 1}"#;

impl World {
    fn new() -> Self {
        let server = Server::default();
        let (lever, gate) = Lever::new();
        lever.open();
        let pods = Pods::new(ExcludedNamespaces::default());
        let (policies, policy_sink) = Policies::new();
        let start = Instant::now();
        let now = move || {
            Timestamp::from_millisecond(
                1_800_000_000_000 + i64::try_from(start.elapsed().as_millis()).unwrap(),
            )
            .unwrap()
        };
        let mut world = Self {
            pods: pods.sink(),
            policies: policy_sink,
            reconciler: Reconciler {
                pods,
                policies,
                results: Results::default(),
                writer: Writer::new(server.client(), gate),
                cluster_name: None,
                retention: 2,
                now: Box::new(now),
            },
            server,
            lever,
            policy: json!({
                "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
                "metadata": { "namespace": "shop", "name": "strict", "uid": "u-1", "generation": 1,
                    "resourceVersion": "0", "finalizers": [FINALIZER] },
                "spec": serde_json::from_str::<Value>(SPEC).unwrap(),
            }),
        };
        world.pods.list_begins();
        world.pods.list_completes();
        world.policies.list_begins();
        world.policies.list_completes();
        world.see_policy();
        world
    }

    /// The watch tells of the policy as it is now.
    fn see_policy(&mut self) {
        self.policies.applied(serde_json::from_value(self.policy.clone()).unwrap());
    }

    /// A pod that was made at this moment.
    fn pod(&mut self, name: &str, image: &str, phase: &str, restarts: u32) {
        let now = (self.reconciler.now)();
        let pod = json!({
            "metadata": { "namespace": "shop", "name": name, "creationTimestamp": now.to_string() },
            "spec": { "containers": [{ "name": "c", "image": image }] },
            "status": { "phase": phase, "containerStatuses": [{ "name": "c", "restartCount": restarts }] },
        });
        self.pods.applied(serde_json::from_value(pod).unwrap());
    }

    /// A look, and what it wrote. The watch then has the status that was written.
    async fn look(&mut self) -> (Option<Duration>, Vec<String>) {
        let key = Key::new("shop", "strict");
        let policy = self.reconciler.policies.store().get(&key.reference()).unwrap();
        let next = match self.reconciler.reconcile(&policy).await.unwrap() {
            Looked::NotYet(rest) => Some(rest),
            Looked::Done(next) => next,
        };
        let state = self.server.0.lock().unwrap();
        let status = state.writes.iter().rev().find(|(what, _)| what == "PATCH status");
        if let Some((_, body)) = status {
            self.policy["status"] = body["status"].clone();
            self.policy["metadata"]["resourceVersion"] = state.version.to_string().into();
        }
        drop(state);
        self.see_policy();
        (next, self.server.writes())
    }

    /// Looks whenever it is due, for so long, and gives all that was written.
    async fn live(&mut self, time: Duration) -> Vec<String> {
        let (end, mut all) = (Instant::now() + time, Vec::new());
        loop {
            let (next, writes) = self.look().await;
            all.extend(writes);
            let next = Instant::now() + next.unwrap();
            tokio::time::advance(next.min(end) - Instant::now()).await;
            if next >= end {
                return all;
            }
        }
    }

    fn of<'a>(what: &str, writes: &'a [String]) -> Vec<&'a String> {
        writes.iter().filter(|write| write.contains(what)).collect()
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn ten_quiet_minutes_bring_heartbeats_alone() {
    let mut world = World::new();
    world.pod("waits", "nginx:1", "Pending", 0);
    world.pod("fails", "nginx:1", "Running", 9);
    let writes = world.live(2 * MINUTE).await;
    // First without the pod that waits, then with it; and the verdict of each minute.
    assert_eq!(World::of("status", &writes).len(), 2, "{writes:?}");
    assert_eq!(World::of("events", &writes).len(), 1, "{writes:?}");
    assert_eq!(World::of("policyauditresults", &writes).len(), 1, "{writes:?}");
    let writes = world.live(10 * MINUTE).await;
    assert_eq!(writes.len(), World::of("status", &writes).len(), "{writes:?}");
    assert!((2..=3).contains(&writes.len()), "{writes:?}");
    // Restarts beyond those that count are no news.
    world.pod("fails", "nginx:1", "Running", 10);
    assert_eq!(world.look().await.1, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_changed_verdict_is_three_writes_and_the_surplus_goes() {
    let mut world = World::new();
    assert_eq!(world.live(2 * MINUTE).await.len(), 3);
    for number in 0..3 {
        world.pod(&format!("web-{number}"), "nginx", "Running", 5);
        let writes = world.live(2 * MINUTE).await;
        assert_eq!(World::of("PATCH status", &writes).len(), 1, "{number}: {writes:?}");
        assert_eq!(World::of("POST policyauditresults", &writes).len(), 1, "{number}: {writes:?}");
        let deleted = usize::from(number > 0);
        assert_eq!(World::of("DELETE policyauditresults", &writes).len(), deleted, "{writes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn changes_faster_than_the_pace_are_looked_at_together() {
    let mut world = World::new();
    world.live(2 * MINUTE).await;
    let mut writes = Vec::new();
    for number in 0..40 {
        world.pod(&format!("web-{number}"), "nginx", "Running", 0);
        writes.extend(world.look().await.1);
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    let status = World::of("PATCH status", &writes).len();
    assert!((4..=5).contains(&status), "{status} in four seconds");
    // A changed spec does not wait.
    world.policy["metadata"]["generation"] = json!(2);
    world.policy["spec"]["forbidLatestTag"] = json!(false);
    world.see_policy();
    assert_eq!(World::of("PATCH status", &world.look().await.1).len(), 1);
    assert_eq!(world.policy["status"]["observedGeneration"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_does_not_lead_writes_nothing_and_loses_nothing() {
    let mut world = World::new();
    world.live(2 * MINUTE).await;
    world.lever.close();
    world.pod("web", "nginx", "Running", 9);
    assert_eq!(world.live(MINUTE / 2).await, [""; 0]);
    world.lever.open();
    let writes = world.live(2 * MINUTE).await;
    for write in ["PATCH status", "POST events", "POST policyauditresults"] {
        assert_eq!(World::of(write, &writes).len(), 1, "{write}: {writes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_is_held_before_the_first_write_and_let_go_in_the_end() {
    let mut world = World::new();
    world.policy["metadata"]["finalizers"] = json!(["example.com/other"]);
    world.see_policy();
    assert_eq!(world.look().await, (None, vec!["PATCH policy".to_owned()]));
    world.policy["metadata"]["finalizers"] = json!(["example.com/other", FINALIZER]);
    world.see_policy();
    assert!(World::of("PATCH status", &world.look().await.1).len() == 1);
    world.policy["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    // As the API server does it with the deletion.
    world.policy["metadata"]["generation"] = json!(2);
    world.see_policy();
    assert_eq!(world.look().await, (None, vec!["PATCH policy".to_owned()]));
    let shown = world.reconciler.policies.memories()[0].1.lock().unwrap().shown.clone();
    assert_eq!(shown, None, "the series go before the policy does");
}

#[tokio::test(start_paused = true)]
async fn failures_have_their_class_and_are_made_up_for() {
    let world = World::new();
    let policy = world.reconciler.policies.store().state().remove(0);
    for (code, class) in [
        (409, Class::Conflict),
        (403, Class::Forbidden),
        (422, Class::Invalid),
        (429, Class::Transient),
        (500, Class::Transient),
    ] {
        world.server.refuse(&[code]);
        let failed = world.reconciler.reconcile(&policy).await.unwrap_err();
        assert_eq!(failed.class(), class);
        assert_eq!(
            failed.to_string(),
            format!("cannot write the status of shop/strict: so told ({code})")
        );
        tokio::time::advance(world.reconciler.rest(&policy).unwrap()).await;
    }
    world.server.writes();
    let mut world = world;
    assert_eq!(World::of("PATCH status", &world.look().await.1).len(), 1);
    // The policy went while it was judged: there is nothing to write any more.
    world.pod("web", "nginx", "Running", 0);
    tokio::time::advance(Duration::from_secs(2)).await;
    world.server.refuse(&[404]);
    world.look().await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_never_rests_does_not_hurry_what_is_refused() {
    let mut world = World::new();
    world.server.refuse(&[403; 100]);
    let policy = world.reconciler.policies.store().state().remove(0);
    for number in 0..600 {
        world.pod(&format!("web-{number}"), "nginx", "Running", 0);
        let _ = world.reconciler.reconcile(&policy).await;
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    let tries = world.server.writes().len();
    assert!((2..=4).contains(&tries), "{tries} tries in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_verdict_whose_minute_is_taken_is_written_in_the_next() {
    let mut world = World::new();
    world.live(MINUTE / 2).await;
    // Another replica wrote another verdict of this minute.
    world.server.refuse(&[409]);
    let writes = world.live(3 * MINUTE).await;
    assert_eq!(World::of("POST policyauditresults", &writes).len(), 2, "{writes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_follower_waits_for_the_leader_without_looking_again_and_again() {
    let mut world = World::new();
    world.lever.hold_by("another");
    world.pod("web", "nginx", "Running", 9);
    let mut looks = 0;
    let end = Instant::now() + 10 * MINUTE;
    while Instant::now() < end {
        let (next, writes) = world.look().await;
        assert_eq!(writes, [""; 0]);
        looks += 1;
        tokio::time::advance(next.unwrap()).await;
    }
    assert!(looks <= 12, "{looks} looks in ten minutes");
    // Nobody wrote it down, and the time for that is over.
    let memory = world.reconciler.policies.memory(&Key::new("shop", "strict")).unwrap();
    let pending = memory.lock().unwrap().trail.next().unwrap();
    assert!(pending > (world.reconciler.now)().as_second() - 2 * STALE, "{pending}");
}

#[tokio::test(start_paused = true)]
async fn no_write_begins_without_the_lead() {
    let world = World::new();
    let writer = &world.reconciler.writer;
    let policy = world.reconciler.policies.store().state().remove(0);
    world.lever.close();
    let refused = writer.status(&policy, &DevOpsPolicyStatus::default()).await.unwrap_err();
    let policy = &policy.metadata;
    assert_eq!(
        refused.to_string(),
        "cannot write the status of shop/strict: another replica leads"
    );
    writer.hold(policy).await.unwrap_err();
    writer.delete_audit_result(&Key::of(policy), "x").await.unwrap_err();
    assert_eq!(world.server.writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_begins_anew_has_no_news() {
    let mut first = World::new();
    first.pod("web", "nginx", "Running", 0);
    assert_eq!(first.live(2 * MINUTE).await.len(), 3);
    let mut second = World::new();
    second.pod("web", "nginx", "Running", 0);
    second.policy = first.policy.clone();
    second.see_policy();
    // What was written down is known by its watch.
    second.reconciler.results = first.reconciler.results.clone();
    assert_eq!(second.live(2 * MINUTE).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_a_status_no_longer_says_is_taken_out_of_a_policy_that_cannot_be_decoded() {
    let mut world = World::new();
    world.pod("web", "nginx", "Running", 0);
    world.live(MINUTE / 60).await;
    assert_eq!(world.policy["status"]["healthScore"], 95);
    world.policy["spec"] = json!({ "maxRestartCount": "many" });
    world.policy["metadata"]["generation"] = json!(2);
    world.see_policy();
    world.look().await;
    let status = &world.policy["status"];
    assert_eq!((&status["healthScore"], &status["violations"]), (&Value::Null, &Value::Null));
    assert!(status.as_object().unwrap().contains_key("healthScore"), "taken out by its name");
    assert_eq!(status["conditions"][0]["reason"], "Undecodable");
}
