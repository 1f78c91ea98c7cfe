mod mutate;

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use policy_core::view::PolicyView;
use policy_runtime::tls::Peer;
use policy_runtime::watch::Sink as _;
use serde_json::{Value, json};

use super::*;
use crate::policies::{self, PolicySink};

const SECOND: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(4);

/// Judges as the product does, and gives the verdict when it may.
struct Waiting {
    begun: Sender<()>,
    may: Mutex<Receiver<()>>,
}

impl Judge for Waiting {
    async fn judge(
        &self,
        request: Request<'_>,
        policies: &NamespacePolicies,
        until: Instant,
    ) -> Result<AdmissionVerdict, FailOpenReason> {
        let verdict = Engine.judge(request, policies, until).await;
        let _ = self.begun.send(());
        self.may.lock().unwrap().recv_timeout(5 * SECOND).unwrap();
        verdict
    }
}

/// A validator with a policy that denies in `shop`, one in the excluded namespace `sandbox`, and one
/// that warns in `lenient`.
struct Tested<J: 'static> {
    validator: &'static Validator<J>,
    sink: PolicySink,
    recorder: PrometheusHandle,
}

impl<J: Judge> Tested<J> {
    fn new(judge: J) -> Self {
        let (policies, mut sink) = policies::tests::of_namespaces();
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let counters = metrics::with_local_recorder(&recorder, Counters::new);
        let validator = Box::leak(Box::new(Validator {
            judge,
            policies,
            counters,
            excluded: ExcludedNamespaces::with(["sandbox".to_owned()]),
            lane: Lane::new(256),
            needs_certificate: false,
        }));
        sink.list_begins();
        Self { validator, sink, recorder: handle }
    }

    fn synced(judge: J) -> Self {
        let mut tested = Self::new(judge);
        for (namespace, mode) in [("shop", "deny"), ("sandbox", "deny"), ("lenient", "warn")] {
            let policy = json!({
                "metadata": { "namespace": namespace, "name": "strict" },
                "spec": { "forbidLatestTag": true, "admission": { "mode": mode },
                    "severityOverrides": { "latestTag": "critical" } },
            });
            let policy: PolicyView = serde_json::from_value(policy).unwrap();
            tested.sink.applied(policy);
        }
        tested.sink.list_completes();
        tested
    }

    async fn post(&self, body: PostedBody, deadline: Duration) -> (u16, String) {
        read(self.validator.answer(posted(body, deadline)).await).await
    }

    /// The `response` to a body that can be answered.
    async fn answer(&self, body: PostedBody) -> Value {
        let (status, body) = self.post(body, DEADLINE).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()["response"].take()
    }

    /// The value of a counter by its line.
    fn counted(&self, series: &str) -> u64 {
        let rendered = self.recorder.render();
        let value = rendered.lines().find_map(|line| line.strip_prefix(series));
        value.unwrap_or_else(|| panic!("no {series} in {rendered}")).trim().parse().unwrap()
    }
}

/// The review of a pod with an image that is not pinned, as the API server writes it, and with so
/// many bytes of an annotation.
fn review(namespace: &str, padding: usize) -> Bytes {
    let (kind, padding) = (r#"{"group":"","version":"v1","kind":"Pod"}"#, "x".repeat(padding));
    let object = format!(
        r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"annotations":{{"a":"{padding}"}}}},"spec":{{"containers":[{{"name":"web","image":"nginx"}}]}}}}"#
    );
    let review = format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"u","kind":{kind},"namespace":"{namespace}","operation":"CREATE","userInfo":{{"username":"ann"}},"object":{object}}}}}"#
    );
    review.into()
}

fn whole(namespace: &str, padding: usize) -> PostedBody {
    PostedBody::Whole(review(namespace, padding))
}

fn too_large(namespace: &str) -> PostedBody {
    PostedBody::TooLarge { beginning: review(namespace, 900).slice(..700), size: 25 << 20 }
}

const LARGE: usize = SMALL;

/// A request that arrives now.
fn posted(body: PostedBody, deadline: Duration) -> Posted {
    let arrived = Instant::now();
    Posted {
        body,
        content_type: Some(JSON),
        peer: Peer::unknown(([127, 0, 0, 1], 1).into()).into(),
        arrived,
        deadline: arrived + deadline,
    }
}

/// Status and body of an answer.
async fn read(answer: Answer) -> (u16, String) {
    let status = answer.status().as_u16();
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn bodies_of_all_sizes_are_judged() {
    let tested = Tested::synced(Engine);
    for (body, is_allowed) in [
        (whole("shop", 0), false),
        (whole("shop", LARGE), false),
        (too_large("shop"), false),
        (whole("lenient", LARGE), true),
        (whole("free", LARGE), true),
        (too_large("free"), true),
        (whole("sandbox", LARGE), true),
        (too_large("sandbox"), true),
    ] {
        let answer = tested.answer(body.clone()).await;
        assert_eq!(answer["uid"], "u");
        assert_eq!(answer["allowed"], is_allowed, "{answer}");
        assert!(answer["auditAnnotations"].is_null(), "{answer}");
    }
    assert_eq!(tested.counted("webhook_denials_total"), 3);
    let denied = r#"webhook_requests_total{operation="create",decision="denied"}"#;
    assert_eq!(tested.counted(denied), 3);
    // Where policies only warn, the size must not be stricter than a finding.
    let answer = tested.answer(too_large("lenient")).await;
    assert_eq!(answer["allowed"], true, "{answer}");
    let why = answer["auditAnnotations"]["fail-open"].as_str().unwrap();
    assert!(
        why.starts_with("too_large: the request is too large: its review has 26214400"),
        "{why}"
    );
    assert_eq!(tested.counted(r#"webhook_failopen_total{reason="too_large"}"#), 1);
}

#[tokio::test]
async fn a_large_body_without_a_head_is_judged_if_it_can_be() {
    let tested = Tested::synced(Engine);
    let PostedBody::Whole(sorted) = whole("shop", LARGE) else { unreachable!() };
    // By name, `object` is before `uid`.
    let sorted = serde_json::from_slice::<Value>(&sorted).unwrap().to_string();
    let beginning = Bytes::from(sorted.clone()).slice(..700);
    assert_eq!(tested.answer(PostedBody::Whole(sorted.into())).await["allowed"], false);
    let (status, text) =
        tested.post(PostedBody::TooLarge { beginning, size: 25 << 20 }, DEADLINE).await;
    assert_eq!((status, text.as_str()), (413, "the body is too large\n"));
    let (status, text) = tested.post(PostedBody::Whole(" ".repeat(LARGE).into()), DEADLINE).await;
    assert_eq!(status, 400, "{text}");
}

#[tokio::test]
async fn before_policies_are_known_nobody_is_denied() {
    let tested = Tested::new(Engine);
    for body in [whole("shop", 0), whole("shop", LARGE), too_large("shop")] {
        let answer = tested.answer(body).await;
        assert_eq!(answer["allowed"], true);
        let why = answer["auditAnnotations"]["fail-open"].as_str().unwrap();
        assert!(why.starts_with("not_synced: "), "{why}");
    }
}

/// What lets it judge once, what says that it has begun to, and the validator.
fn waiting() -> (Sender<()>, Receiver<()>, Tested<Waiting>) {
    let ((go, may), (begun, begins)) = (channel(), channel());
    (go, begins, Tested::synced(Waiting { begun, may: Mutex::new(may) }))
}

fn is_allowed_by(body: &str, reason: &str) -> bool {
    let answer: Value = serde_json::from_str(body).unwrap();
    let why = answer["response"]["auditAnnotations"]["fail-open"].as_str().unwrap_or_default();
    answer["response"]["allowed"] == true && why.starts_with(reason)
}

/// The judge holds the thread, as a verdict that takes long does.
#[tokio::test]
async fn a_denial_after_the_deadline_is_none() {
    let (go, _, tested) = waiting();
    let late = thread::spawn(move || {
        thread::sleep(SECOND / 10);
        go.send(()).unwrap();
    });
    let (_, body) = tested.post(whole("shop", 0), SECOND / 20).await;
    late.join().unwrap();
    assert!(is_allowed_by(&body, "deadline: "), "{body}");
    assert_eq!(tested.counted("webhook_denials_total"), 0);
    assert_eq!(tested.counted(r#"webhook_failopen_total{reason="deadline"}"#), 1);
}

#[tokio::test]
async fn large_requests_wait_for_their_turn_and_no_longer_than_their_deadline() {
    let (go, begins, tested) = waiting();
    let start = Instant::now();
    // The thread of this runtime, the only one, stays free: the timer runs.
    let (_, body) = tested.post(whole("shop", LARGE), SECOND / 20).await;
    assert!(is_allowed_by(&body, "deadline: "), "{body}");
    assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
    begins.recv().unwrap();
    // That one is still being judged. Its namespace fills its own part only, and others follow.
    let greedy =
        futures::future::join_all((0..20).map(|_| tested.post(whole("shop", LARGE), DEADLINE)));
    let other = async {
        let posted = tested.post(whole("lenient", LARGE), DEADLINE);
        (0..20).for_each(|_| go.send(()).unwrap());
        posted.await
    };
    let (greedy, (status, other)) = tokio::join!(biased; greedy, other);
    // Whoever floods his own namespace gets nothing past its policies by that.
    let with = |text: &str| greedy.iter().filter(|(_, body)| body.contains(text)).count();
    assert_eq!((with(r#""allowed":false"#), with(r#""code":403"#)), (20, 16), "{greedy:?}");
    assert_eq!(with("16 other large requests of the namespace wait; try again later"), 4);
    assert!(status == 200 && other.contains("lenient/strict: container web"), "{other}");
    assert_eq!(tested.counted("webhook_denials_total"), 20);
    assert_eq!(tested.counted(r#"webhook_failopen_total{reason="overload"}"#), 0);
}

#[tokio::test]
async fn where_no_policy_denies_a_flood_of_large_requests_is_let_in() {
    let (go, begins, tested) = waiting();
    let first = tested.post(whole("lenient", LARGE), DEADLINE);
    let rest = async {
        let flood = (0..20).map(|_| tested.post(whole("lenient", LARGE), DEADLINE));
        let end = async { (0..21).for_each(|_| go.send(()).unwrap()) };
        tokio::join!(biased; futures::future::join_all(flood), end).0
    };
    let (_, rest) = tokio::join!(biased; first, rest);
    begins.recv().unwrap();
    // Of 21 at most one is under way.
    let shed = rest.iter().filter(|(_, body)| is_allowed_by(body, "overload: ")).count();
    assert!((4..=5).contains(&shed), "{rest:?}");
    assert_eq!(tested.counted("webhook_denials_total"), 0);
}

#[tokio::test]
async fn a_panic_in_the_lane_costs_one_answer() {
    let (go, _, tested) = waiting();
    drop(go);
    for padding in [0, LARGE] {
        let answer = tested.answer(whole("shop", padding)).await;
        let why = answer["auditAnnotations"]["fail-open"].as_str().unwrap();
        assert!(why.starts_with("panic: "), "{why}");
    }
}
