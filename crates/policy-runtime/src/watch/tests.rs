use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use super::*;
use crate::readiness::Readiness;
use crate::testing::{Script, status_json};

/// What a sink received.
#[derive(Default, Debug)]
struct Seen {
    /// The objects as of the last whole list and the changes since.
    objects: BTreeMap<String, String>,
    /// Those of a list that is not complete.
    listing: Option<BTreeMap<String, String>>,
    lists: usize,
    undecodable: Vec<String>,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Seen>>);

impl Sink<ConfigMap> for Shared {
    fn list_begins(&mut self) {
        self.0.lock().unwrap().listing = Some(BTreeMap::new());
    }

    fn list_completes(&mut self) {
        let mut seen = self.0.lock().unwrap();
        seen.lists += 1;
        seen.objects = seen.listing.take().expect("a list that completes has begun");
    }

    fn applied(&mut self, object: ConfigMap) {
        let mut seen = self.0.lock().unwrap();
        let seen = &mut *seen;
        let data = object.data.unwrap_or_default().remove("is").unwrap_or_default();
        let objects = seen.listing.as_mut().unwrap_or(&mut seen.objects);
        objects.insert(object.metadata.name.unwrap_or_default(), data);
    }

    fn undecodable(&mut self, namespace: &str, name: &str) {
        self.0.lock().unwrap().undecodable.push(format!("{namespace}/{name}"));
    }

    fn deleted(&mut self, _: &str, name: &str) {
        self.0.lock().unwrap().objects.remove(name);
    }
}

/// A watch on a script.
struct Running {
    script: Script,
    sink: Shared,
    readiness: Readiness,
    status: WatchStatus,
    stop: CancellationToken,
}

fn start(script: Script) -> Running {
    start_as(script, false)
}

fn start_as(script: Script, is_optional: bool) -> Running {
    let (sink, readiness) = (Shared::default(), Readiness::default());
    let (status, stop) = (WatchStatus::new("ConfigMap"), CancellationToken::new());
    let (kind, plural, path) = ("ConfigMap", "config maps", "/api/v1/configmaps");
    let target = Target { kind, plural, path, is_optional };
    let hold = readiness.hold("the list");
    tokio::spawn(run::<ConfigMap, _>(
        script.client(),
        target,
        sink.clone(),
        status.clone(),
        Some(hold),
        stop.clone(),
    ));
    Running { script, sink, readiness, status, stop }
}

impl Running {
    fn is_ready(&self) -> bool {
        self.readiness.pending().is_empty()
    }

    fn objects(&self) -> Vec<String> {
        let seen = self.sink.0.lock().unwrap();
        seen.objects.iter().map(|(name, data)| format!("{name}={data}")).collect()
    }

    /// The parts of the queries that differ from request to request.
    fn calls(&self) -> Vec<String> {
        let call = |call: String| {
            let parts = ["sendInitialEvents", "resourceVersion=", "continue", "limit"];
            let (_, query) = call.split_once('?').expect("a query");
            query.split('&').filter(|p| parts.iter().any(|part| p.starts_with(part))).collect()
        };
        self.script.calls().into_iter().map(call).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn object(name: &str, version: u32, data: &str) -> Value {
    json!({ "metadata": { "name": name, "namespace": "n", "resourceVersion": version.to_string() },
            "data": { "is": data } })
}

fn line(kind: &str, object: &Value) -> String {
    // As the server writes it: the kind first.
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

fn list_ends(version: u32) -> String {
    let annotations = json!({ "k8s.io/initial-events-end": "true" });
    let metadata = json!({ "resourceVersion": version.to_string(), "annotations": annotations });
    line("BOOKMARK", &json!({ "metadata": metadata }))
}

fn broken(name: &str, version: u32) -> Value {
    let mut broken = object(name, version, "");
    broken["data"] = json!(7);
    broken
}

fn absent() -> String {
    status_json(404, "NotFound", "the server could not find the requested resource")
}

async fn wait(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_streamed_list_is_complete_at_its_bookmark_and_changes_follow() {
    let script = Script::default()
        .stream_that_ends([
            line("ADDED", &object("a", 1, "one")),
            line("ADDED", &object("b", 2, "two")),
            list_ends(5),
            line("MODIFIED", &object("a", 6, "uno")),
            line("DELETED", &object("b", 7, "two")),
        ])
        .stream([line("ADDED", &object("c", 9, "three"))]);
    let watch = start(script);
    wait(5).await;
    assert!(watch.is_ready());
    assert_eq!(watch.objects(), ["a=uno", "c=three"]);
    assert_eq!(watch.calls(), ["sendInitialEvents=true", "resourceVersion=7"]);
    assert_eq!(watch.status.report().restarts, 0, "it went on where it was");
}

#[tokio::test(start_paused = true)]
async fn a_server_without_streaming_lists_is_reported_as_too_old() {
    let refused = || status_json(422, "Invalid", "sendInitialEvents: Forbidden");
    let watch = start(Script::default().answer(422, refused()).answer(422, refused()));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!watch.is_ready());
    let error = watch.status.report().last_error.unwrap();
    assert_eq!(
        error,
        "sendInitialEvents: Forbidden; streaming lists need Kubernetes 1.34, or the feature gate \
         WatchList"
    );
}

#[tokio::test(start_paused = true)]
async fn an_optional_kind_that_is_not_served_has_no_objects_until_it_is() {
    let script = Script::default().answer(404, absent()).answer(404, absent());
    let watch =
        start_as(script.stream([line("ADDED", &object("a", 1, "one")), list_ends(5)]), true);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(watch.is_ready(), "without it, everything else works");
    assert_eq!(watch.sink.0.lock().unwrap().lists, 1);
    wait(31).await;
    assert_eq!(watch.objects(), ["a=one"]);
    assert_eq!(watch.status.report().errors, 0);
}

#[tokio::test(start_paused = true)]
async fn the_objects_of_an_optional_kind_are_gone_with_its_definition() {
    let script = Script::default()
        .stream_that_ends([line("ADDED", &object("a", 1, "one")), list_ends(5)])
        .answer(404, absent());
    let watch = start_as(script, true);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(watch.objects(), ["a=one"]);
    wait(3).await;
    assert_eq!(watch.objects(), Vec::<String>::new());
    assert_eq!(watch.sink.0.lock().unwrap().lists, 2);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_needed_and_not_served_is_an_error() {
    let watch = start(Script::default().answer(404, absent()));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!watch.is_ready());
    let error = watch.status.report().last_error.unwrap();
    assert_eq!(error, "the server could not find the requested resource");
}

#[tokio::test(start_paused = true)]
async fn a_status_instead_of_an_event_is_understood() {
    let gone = format!("{}\n", status_json(410, "Expired", "too old resource version"));
    let script = Script::default()
        .stream([line("ADDED", &object("a", 1, "one")), list_ends(5), gone])
        .stream([line("ADDED", &object("b", 7, "two")), list_ends(8)]);
    let watch = start(script);
    wait(5).await;
    assert_eq!(watch.objects(), ["b=two"]);
    assert_eq!(watch.status.report().errors, 0, "the server dropped the version: no failure");
}

#[tokio::test(start_paused = true)]
async fn after_the_server_dropped_the_version_a_list_follows_and_nothing_is_lost_meanwhile() {
    let gone =
        json!({ "code": 410, "message": "too old", "reason": "Expired", "status": "Failure" });
    let script = Script::default()
        .stream([
            line("ADDED", &object("a", 1, "one")),
            line("ADDED", &object("b", 2, "two")),
            list_ends(5),
            line("ERROR", &gone),
        ])
        .stream([line("ADDED", &object("b", 9, "zwei")), list_ends(10)]);
    let watch = start(script);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(watch.objects(), ["a=one", "b=two"], "the last list that was whole");
    wait(5).await;
    assert_eq!(watch.objects(), ["b=zwei"]);
    assert_eq!(watch.calls(), ["sendInitialEvents=true", "sendInitialEvents=true"]);
    assert_eq!(watch.status.report().restarts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_breaks_off_is_not_complete() {
    let script = Script::default()
        .stream_that_ends([line("ADDED", &object("a", 1, "one"))])
        .stream_that_ends([line("ADDED", &object("a", 1, "one")), list_ends(5)]);
    let watch = start(script);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!watch.is_ready());
    assert_eq!(watch.objects(), Vec::<String>::new());
    assert_eq!(watch.status.report().last_error.as_deref(), Some("the list broke off"));
    wait(2).await;
    assert!(watch.is_ready());
    assert_eq!(watch.objects(), ["a=one"]);
}

#[tokio::test(start_paused = true)]
async fn an_undecodable_object_affects_no_other() {
    let script = Script::default().stream([
        line("ADDED", &object("a", 1, "one")),
        line("ADDED", &broken("x", 2)),
        list_ends(5),
        line("ADDED", &object("b", 6, "two")),
        line("MODIFIED", &broken("a", 7)),
        line("DELETED", &broken("b", 8)),
        line("ADDED", &object("c", 9, "three")),
    ]);
    let watch = start(script);
    wait(1).await;
    assert_eq!(watch.objects(), ["a=one", "c=three"]);
    assert_eq!(watch.sink.0.lock().unwrap().undecodable, ["n/x", "n/a"]);
    assert_eq!(watch.status.report().undecodable, 2);
}

#[tokio::test(start_paused = true)]
async fn after_an_event_that_cannot_be_read_a_list_follows() {
    for event in ["no event at all\n".to_owned(), format!("{}\n", "x".repeat(17 << 20))] {
        let script = Script::default()
            .stream([line("ADDED", &object("a", 1, "one")), list_ends(5), event])
            .stream([line("ADDED", &object("b", 7, "two")), list_ends(8)]);
        let watch = start(script);
        wait(5).await;
        assert_eq!(watch.objects(), ["b=two"]);
        assert_eq!(watch.calls(), ["sendInitialEvents=true", "sendInitialEvents=true"]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_a_list_is_not_an_empty_cluster() {
    let answers = ["{}", r#"{"kind": "Status", "metadata": {}}"#, r#"{"items": []}"#, "[]"];
    for answer in answers {
        let watch = start(Script::default().answer(200, answer));
        wait(1).await;
        assert!(!watch.is_ready() && watch.status.report().last_error.is_some(), "{answer}");
    }
    let annotations = json!({ "k8s.io/initial-events-end": "true" });
    let mark = line("BOOKMARK", &json!({ "metadata": { "annotations": annotations } }));
    let watch = start(Script::default().stream([mark]));
    wait(1).await;
    assert!(!watch.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_version_that_the_server_refuses_leads_to_a_list() {
    let refused = status_json(400, "BadRequest", "resourceVersion: Invalid value");
    let script = Script::default()
        .stream_that_ends([line("ADDED", &object("a", 1, "one")), list_ends(5)])
        .answer(400, refused)
        .stream([line("ADDED", &object("b", 2, "two")), list_ends(3)]);
    let watch = start(script);
    wait(10).await;
    assert_eq!(watch.objects(), ["b=two"]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_watch_is_resumed_at_the_same_version_and_then_listed_again() {
    let script = Script::default().stream([list_ends(5)]).stream([]).stream([list_ends(2)]);
    let watch = start(script);
    wait(60).await;
    assert_eq!(watch.calls().len(), 1);
    wait(60).await;
    assert_eq!(watch.calls(), ["sendInitialEvents=true", "resourceVersion=5"]);
    assert_eq!(watch.sink.0.lock().unwrap().lists, 1);
    // It may know nothing of that version, as after its store was restored from a backup.
    wait(100).await;
    assert_eq!(watch.calls()[2], "sendInitialEvents=true");
}

#[tokio::test(start_paused = true)]
async fn the_server_gets_at_most_one_request_a_second() {
    type Reply = fn(Script) -> Script;
    let replies: [(&str, Reply); 5] = [
        ("fails", |script| script.answer(503, status_json(503, "ServiceUnavailable", "no"))),
        ("forbids", |script| script.answer(403, status_json(403, "Forbidden", "no"))),
        ("talks of something else", |script| script.answer(200, "<html></html>\n")),
        ("ends each watch at once", |script| script.stream_that_ends([list_ends(5)])),
        ("drops each version at once", |script| {
            let gone = json!({ "code": 410, "message": "too old", "reason": "Expired" });
            script.stream([list_ends(5), line("ERROR", &gone)])
        }),
    ];
    for (what, reply) in replies {
        let script = (0..1000).fold(Script::default(), |script, _| reply(script));
        let watch = start(script);
        wait(600).await;
        let calls = watch.calls().len();
        assert!((30..=120).contains(&calls), "a server that {what} was called {calls} times");
    }
}
