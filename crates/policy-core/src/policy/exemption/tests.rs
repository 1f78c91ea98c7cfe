use proptest::prelude::*;

use super::problems::is_rfc_3339;
use super::*;
use crate::api::DevOpsPolicySpec;
use crate::evaluate::{Direction, Evaluation, evaluate};
use crate::policy::{CompiledPolicy, default_profile_spec};

fn spec(exemptions: serde_json::Value) -> DevOpsPolicySpec {
    let exemptions = serde_json::from_value(exemptions).unwrap();
    DevOpsPolicySpec { exemptions, ..default_profile_spec() }
}

fn compile(exemptions: serde_json::Value) -> Result<CompiledPolicy, Vec<String>> {
    CompiledPolicy::compile(&spec(exemptions))
        .map_err(|invalid| invalid.iter().map(ToString::to_string).collect())
}

/// The default profile with one exemption: that of an image tag of the Deployment web, changed.
fn exempting(change: &serde_json::Value) -> CompiledPolicy {
    let mut exemption = serde_json::json!({
        "checks": ["latest-tag"], "reason": "its registry has no tags",
        "workload": { "kind": "Deployment", "name": "web" },
    });
    for (key, value) in change.as_object().unwrap() {
        exemption[key] = value.clone();
    }
    compile(serde_json::json!([exemption])).unwrap()
}

fn pod(metadata: &str) -> PodFacts {
    let text = format!(
        r#"{{"metadata": {metadata}, "spec": {{"containers": [
            {{"name": "app", "image": "nginx"}}, {{"name": "log", "image": "fluentd"}}]}}}}"#
    );
    PodFacts::of_pod(&serde_json::from_str(&text).unwrap(), "shop")
}

const WEB: &str = r#"{"name": "web-5d8-x", "labels": {"pod-template-hash": "5d8"},
    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d8", "controller": true}]}"#;

fn at(pod: &PodFacts, policy: &CompiledPolicy, second: i64) -> Evaluation {
    evaluate(pod, policy, Timestamp::from_second(second).unwrap())
}

/// How many findings count, how many are exempted, and the score.
fn numbers(pod: &PodFacts, policy: &CompiledPolicy, second: i64) -> (u64, u64, u8) {
    let mut tally = crate::score::Tally::default();
    tally.add(&at(pod, policy, second).tally());
    (tally.total_findings(), tally.total_exempted(), tally.score(policy).value())
}

#[test]
fn an_exempted_finding_is_kept_apart_and_has_no_weight() {
    let pod = pod(WEB);
    assert_eq!(numbers(&pod, &CompiledPolicy::default_profile(), 0), (8, 0, 80));
    let policy = exempting(&serde_json::json!({}));
    assert_eq!(numbers(&pod, &policy, 0), (6, 2, 90));
    let evaluation = at(&pod, &policy, 0);
    let exempted = &evaluation.exempted[0];
    assert_eq!(exempted.finding.check.as_str(), "latest-tag");
    let exemption = policy.exemptions().unwrap().get(exempted.exemption).unwrap();
    assert_eq!(&**exemption.reason(), "its registry has no tags");
    assert!(evaluation.findings.iter().all(|finding| finding.check.as_str() != "latest-tag"));
}

#[test]
fn only_what_the_exemption_names_is_exempted() {
    let web = pod(WEB);
    let exempted =
        |pod: &PodFacts, change: serde_json::Value| numbers(pod, &exempting(&change), 0).1;
    assert_eq!(exempted(&web, serde_json::json!({ "container": "log" })), 1);
    assert_eq!(exempted(&web, serde_json::json!({ "container": "other" })), 0);
    assert_eq!(exempted(&web, serde_json::json!({ "checks": ["pending"] })), 0);
    let workload = |kind: &str, name: &str| {
        exempted(&web, serde_json::json!({ "workload": { "kind": kind, "name": name } }))
    };
    assert_eq!(workload("Deployment", "web"), 2);
    assert_eq!(workload("Pod", "web-5d8-x"), 2, "the pod itself, by its own name");
    for (kind, name) in
        [("Deployment", "we"), ("StatefulSet", "web"), ("Pod", "web"), ("ReplicaSet", "web-5d8")]
    {
        assert_eq!(workload(kind, name), 0, "{kind}/{name}");
    }
    let namespace = |namespace: &str| {
        let workload =
            serde_json::json!({ "kind": "Deployment", "name": "web", "namespace": namespace });
        exempted(&web, serde_json::json!({ "workload": workload }))
    };
    assert_eq!((namespace("shop"), namespace("bank")), (2, 0));
}

#[test]
fn a_kind_of_another_project_is_another_kind() {
    let owned = |api_version: &str, kind: &str| {
        pod(&format!(
            r#"{{"name": "p", "ownerReferences": [{{"apiVersion": "{api_version}", "kind": "{kind}", "name": "web", "controller": true}}]}}"#
        ))
    };
    let exempted = |kind: &str, pod: &PodFacts| {
        let workload = serde_json::json!({ "kind": kind, "name": "web" });
        numbers(pod, &exempting(&serde_json::json!({ "workload": workload })), 0).1
    };
    assert_eq!(exempted("StatefulSet", &owned("apps/v1", "StatefulSet")), 2);
    assert_eq!(exempted("StatefulSet", &owned("apps.kruise.io/v1beta1", "StatefulSet")), 0);
    assert_eq!(exempted("Rollout", &owned("argoproj.io/v1alpha1", "Rollout")), 2);
}

#[test]
fn nothing_that_whoever_writes_a_pod_adds_to_it_exempts_it() {
    let policy = exempting(&serde_json::json!({}));
    let pod = pod(
        r#"{"name": "p", "labels": {"app": "web", "exempt": "true", "pod-template-hash": "5d8"},
        "annotations": {"devops.stochastic.io/exempt": "latest-tag"}, "generateName": "web-"}"#,
    );
    assert_eq!(numbers(&pod, &policy, 0).1, 0);
}

#[test]
fn an_exemption_ends_at_its_second_without_an_event() {
    let pod = pod(WEB);
    let policy = exempting(&serde_json::json!({ "expires": "1970-01-01T00:01:00Z" }));
    assert_eq!(numbers(&pod, &policy, 59), (6, 2, 90));
    assert_eq!(numbers(&pod, &policy, 60), (8, 0, 80));
    let before = at(&pod, &policy, 59);
    assert_eq!(before.next_change(), Some(60));
    let changes: Vec<_> = before.changes.iter().map(|c| (c.direction, c.is_exempted)).collect();
    assert_eq!(changes[..2], [(Direction::Goes, true), (Direction::Comes, false)]);
    assert_eq!(at(&pod, &policy, 60).changes, []);
    let exemptions = policy.exemptions().unwrap();
    let ended: Vec<bool> = [59, 60]
        .into_iter()
        .map(|now| exemptions.iter().all(|(_, one)| one.has_ended(now)))
        .collect();
    assert_eq!(ended, [false, true]);
}

#[test]
fn of_several_the_one_that_lasts_longest_exempts() {
    let exemption = |reason: &str, expires: Option<&str>| {
        serde_json::json!({ "checks": ["latest-tag"], "reason": reason, "expires": expires,
            "workload": { "kind": "Deployment", "name": "web" } })
    };
    let (short, long) = (Some("1970-01-01T00:01:00Z"), Some("1970-01-01T00:02:00Z"));
    let first = |exemptions| {
        let policy = compile(serde_json::Value::Array(exemptions)).unwrap();
        let exempted = at(&pod(WEB), &policy, 0).exempted[0].exemption;
        policy.exemptions().unwrap().get(exempted).unwrap().reason().to_string()
    };
    assert_eq!(first(vec![exemption("short", short), exemption("long", long)]), "long");
    assert_eq!(first(vec![exemption("ever", None), exemption("long", long)]), "ever");
    assert_eq!(first(vec![exemption("one", long), exemption("other", long)]), "one");
}

#[test]
fn a_time_is_one_of_rfc_3339_with_an_offset() {
    for (text, is_time) in [
        ("2027-01-31T00:00:00Z", true),
        ("2027-01-31T00:00:00.5+01:00", true),
        ("2027-01-31T00:00:00", false),
        ("2027-01-31 00:00:00Z", false),
        ("2027-01-31T00:00Z", false),
        ("2027-01-31T00:00:00z", false),
        ("2027-02-31T00:00:00Z", false),
        ("2027-01-31T00:00:00+01:00[Europe/Berlin]", false),
        ("2027-01-31", false),
        ("", false),
    ] {
        assert_eq!(is_rfc_3339(text), is_time, "{text}");
    }
}

#[test]
fn an_invalid_exemption_makes_the_policy_invalid_and_says_where() {
    let invalid = serde_json::json!([
        { "checks": [], "workload": { "kind": "Deployment", "name": "web" }, "reason": "r" },
        { "checks": ["latest", "pending", "pending"], "container": "", "expires": "tomorrow",
          "workload": { "kind": "deployment", "name": "web-*", "namespace": "a/b" }, "reason": " \n" },
    ]);
    assert_eq!(
        compile(invalid).unwrap_err(),
        [
            "spec.exemptions[0].checks: must name 1 to 24 checks, not 0",
            "spec.exemptions[1].checks[0]: there is no check `latest`; choose latest-tag, missing-liveness, missing-readiness, missing-resources, high-restarts, pending, not-ready, drain-blocked, or custom/NAME",
            "spec.exemptions[1].checks[2]: names `pending` again",
            "spec.exemptions[1].workload.kind: must be a kind such as Deployment or Pod, not `deployment`",
            "spec.exemptions[1].workload.name: must be the full name of a workload, such as web, not `web-*`",
            "spec.exemptions[1].workload.namespace: must be the name of a namespace, not `a/b`",
            "spec.exemptions[1].container: must be the name of a container; omit it for the pod and all of them",
            "spec.exemptions[1].reason: must say in 1 to 256 characters why the findings are accepted",
            "spec.exemptions[1].expires: must be a time such as 2027-01-31T00:00:00Z, not `tomorrow`",
        ]
    );
    let one = serde_json::json!({ "checks": ["pending"], "reason": "r",
        "workload": { "kind": "Pod", "name": "p" } });
    let many = |number| compile(serde_json::Value::Array(vec![one.clone(); number]));
    assert!(many(MAX_EXEMPTIONS).is_ok());
    assert_eq!(
        many(MAX_EXEMPTIONS + 1).unwrap_err(),
        ["spec.exemptions: must have at most 100 exemptions, not 101"]
    );
}

proptest! {
    /// Whatever is exempted until when: what is found at a second, and what an evaluation before it
    /// foretells for that second, are the same.
    #[test]
    fn time_alone_leads_to_what_a_later_evaluation_finds(
        ends in proptest::collection::vec(proptest::option::of(0_i64..1_000), 0..4),
        finished in 0_i64..600, (now, later) in (0_i64..1_000, 0_i64..1_000),
    ) {
        let exemptions: Vec<_> = ends.iter().map(|ends| {
            let expires = ends.map(|second| Timestamp::from_second(second).unwrap().to_string());
            serde_json::json!({ "checks": ["high-restarts", "pending", "latest-tag"], "reason": "r",
                "expires": expires, "workload": { "kind": "Pod", "name": "p" } })
        }).collect();
        let spec = DevOpsPolicySpec {
            restart_window: Some(200),
            exemptions: serde_json::from_value(serde_json::Value::Array(exemptions)).unwrap(),
            ..default_profile_spec()
        };
        let policy = CompiledPolicy::compile(&spec).unwrap();
        let ended = Timestamp::from_second(finished).unwrap();
        let pod = serde_json::json!({
            "metadata": { "name": "p", "creationTimestamp": ended },
            "spec": { "containers": [{ "name": "c", "image": "nginx" }] },
            "status": { "phase": "Pending", "containerStatuses": [{ "name": "c", "restartCount": 9,
                "lastState": { "terminated": { "finishedAt": ended } } }] },
        });
        let pod = PodFacts::of_pod(&serde_json::from_value(pod).unwrap(), "shop");
        let (now, later) = (now.min(later), now.max(later));
        let mut tally = at(&pod, &policy, now).tally();
        for change in at(&pod, &policy, now).changes.iter().filter(|change| change.at <= later) {
            match (change.direction, change.is_exempted) {
                (Direction::Comes, false) => tally.add(&change.check, change.count),
                (Direction::Comes, true) => tally.exempt(&change.check),
                _ => {}
            }
        }
        for change in at(&pod, &policy, now).changes.iter().filter(|change| change.at <= later) {
            match (change.direction, change.is_exempted) {
                (Direction::Goes, false) => tally.subtract(&change.check, change.count),
                (Direction::Goes, true) => tally.subtract_exempted(&change.check),
                _ => {}
            }
        }
        prop_assert_eq!(tally, at(&pod, &policy, later).tally());
    }
}
