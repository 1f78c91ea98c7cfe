//! An exemption in all places: files, webhook, operator and watcher say the same, from the moment in
//! which it is applied to the second at which it ends.

use std::fs;
use std::time::{Duration, Instant};

use e2e::{Parts, Service, Testbed};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{AdmissionTestbed, SURELY, program};
use crate::{cli, operator, watcher};

/// How long the exemption lasts: long enough to see it in all places on a busy machine.
const LASTS: i64 = 40;
/// Within a second, on an idle machine.
const SOON: Duration = Duration::from_secs(30);

pub(super) fn spec(exemptions: &Value) -> Value {
    json!({ "forbidLatestTag": true, "severityOverrides": { "latestTag": "critical" },
        "exemptions": exemptions })
}

pub(super) fn policy(namespace: &str, spec: &Value) -> String {
    json!({ "apiVersion": "devops.stochastic.io/v1", "kind": "DevOpsPolicy",
        "metadata": { "name": "strict", "namespace": namespace }, "spec": spec })
    .to_string()
}

pub(super) fn deployment(namespace: &str, name: &str) -> Value {
    let labels = json!({ "app": name });
    json!({ "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "selector": { "matchLabels": labels }, "template": {
            "metadata": { "labels": labels },
            "spec": { "containers": [{ "name": "c", "image": "nginx" }] } } } })
}

/// A pod as the Deployment web would have it.
pub(super) fn pod_of_web(namespace: &str, name: &str) -> String {
    json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": namespace,
            "labels": { "app": "web", "pod-template-hash": "5d8" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
                "name": "web-5d8", "uid": "9a8b7c6d-0000-0000-0000-000000000000" }] },
        "spec": { "containers": [{ "name": "c", "image": "nginx" }] } })
    .to_string()
}

/// Everybody who judges, and the namespace.
struct World<'a> {
    testbed: &'a Testbed,
    shop: &'a str,
    webhook: Service<'a>,
    operator: Service<'a>,
    watcher: Service<'a>,
}

impl World<'_> {
    /// Whether the webhook would let the Deployment web in.
    fn webhook_exempts(&self) -> bool {
        let object = deployment(self.shop, "web");
        let review = super::agreement::review(&object).to_string();
        let (status, body) = self.webhook.post("/validate", &review).unwrap();
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        answer["response"]["allowed"] == true
    }

    fn status(&self) -> Value {
        operator::policy(self.testbed, self.shop, "strict")["status"].take()
    }

    fn operator_exempts(&self) -> bool {
        let status = self.status();
        status["exemptedViolations"] == 1 && status["totalViolations"] == 1
    }

    fn watcher_exempts(&self) -> bool {
        let cluster = watcher::json_of(&self.watcher, "/scores")["cluster"].take();
        cluster["exemptedViolations"] == 1 && cluster["totalViolations"] == 1
    }

    /// Waits until everybody exempts, each of them soon.
    fn wait_until_all_exempt(&self, since: Instant) {
        type Place = (&'static str, fn(&World<'_>) -> bool);
        let mut waiting: Vec<Place> = vec![
            ("webhook", |world| world.webhook_exempts()),
            ("watcher", |world| world.watcher_exempts()),
            ("operator", |world| world.operator_exempts()),
        ];
        let all = self.testbed.wait_for("all to exempt", SURELY, || {
            waiting.retain(|(name, exempts)| {
                let is_done = exempts(self);
                let took = since.elapsed();
                assert!(!is_done || took < SOON, "the {name} took {took:?}");
                !is_done
            });
            Ok(waiting.is_empty())
        });
        assert!(all.is_ok(), "{all:?}\n{:#}\n{}", self.status(), self.operator.logs().unwrap());
    }

    /// Watches until the exemption has ended for that place: never before its second, and, where
    /// the place is asked at that second or later, at once.
    fn assert_ends_at(&self, end: i64, name: &str, exempts: fn(&Self) -> bool) {
        let deadline = Instant::now() + SURELY;
        loop {
            assert!(Instant::now() < deadline, "the {name} exempts for ever");
            let asked = Timestamp::now().as_second();
            let is_exempted = exempts(self);
            let answered = Timestamp::now().as_second();
            assert!(is_exempted || answered >= end, "the {name} ended it too early");
            assert!(!is_exempted || asked < end, "the {name} exempts at second {asked} of {end}");
            if !is_exempted {
                return;
            }
        }
    }
}

#[test]
fn an_exemption_counts_and_ends_in_all_places_alike() {
    let admission = AdmissionTestbed::new(&Parts::new("exemptions"));
    let testbed = &admission.testbed;
    let shop = testbed.namespace("shop").unwrap();
    testbed.apply(&policy(&shop, &spec(&json!([])))).unwrap();
    for pod in [pod_of_web(&shop, "web-5d8-a"), super::pod(&shop, "other", "nginx")] {
        testbed.apply(&pod).unwrap();
    }
    let operators = testbed.account_kubeconfig("kube-devops", "policy-operator").unwrap();
    let watchers = testbed.account_kubeconfig("kube-devops", "policy-watcher").unwrap();
    let world = World {
        testbed,
        shop: &shop,
        webhook: admission.start("webhook", program(), &[]),
        operator: operator::start(testbed, "operator", &operators),
        watcher: watcher::start_with(testbed, &watchers, &spec(&json!([])).to_string()),
    };
    admission.install(&world.webhook);
    admission.wait_until_denied(&shop);
    testbed.wait_for("the status", SURELY, || Ok(world.status()["totalViolations"] == 2)).unwrap();
    assert!(!world.webhook_exempts() && !world.watcher_exempts());

    // It is applied: the file of the watcher is changed as a user's editor does.
    let end = Timestamp::now().as_second() + LASTS;
    let exempting = spec(&json!([
        { "checks": ["latest-tag"], "workload": { "kind": "Deployment", "name": "web" },
            "reason": "its registry has no tags",
            "expires": Timestamp::from_second(end).unwrap().to_string() },
        { "checks": ["latest-tag"], "workload": { "kind": "StatefulSet", "name": "gone" },
            "reason": "nobody knows" },
    ]));
    let changed = policy(&shop, &exempting);
    testbed.apply(&changed).unwrap();
    let since = Instant::now();
    let file = testbed.folder().join("policy.yaml");
    fs::write(testbed.folder().join("policy.new"), &changed).unwrap();
    fs::rename(testbed.folder().join("policy.new"), &file).unwrap();
    world.wait_until_all_exempt(since);
    let status = world.status();
    assert_eq!(
        status["exempted"],
        json!([
            "Deployment/web: uses :latest image tag (container c, 1 pod); exempted: its registry has no tags"
        ])
    );
    let condition = |status: &Value| {
        let conditions = status["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|condition| condition["type"] == "Exemptions").unwrap();
        [&found["status"], &found["reason"], &found["message"]]
            .map(|part| part.as_str().unwrap().to_owned())
    };
    let unused = "spec.exemptions[1] (StatefulSet/gone) exempts nothing: there is no such finding";
    assert_eq!(condition(&status), ["False", "Unused", unused]);
    let file = file.to_str().unwrap();
    let analyzed = || {
        let summary = cli::analysis(testbed, &["--policy", file])["summary"].take();
        (summary["totalViolations"].clone(), summary.get("exemptedViolations").cloned())
    };
    assert_eq!(analyzed(), (json!(1), Some(json!(1))));

    // Who writes a pod cannot exempt it; who changes the Deployment may.
    let create = |manifest: &str| admission.create(manifest, &["--dry-run=server"]);
    let forged = create(&pod_of_web(&shop, "web-5d8-b"));
    assert_eq!(forged.code, Some(1), "{forged:?}");
    assert!(forged.stderr.contains("latest-tag, critical"), "{forged:?}");
    assert_eq!(create(&deployment(&shop, "other").to_string()).code, Some(1));
    let web = create(&deployment(&shop, "web").to_string());
    assert_eq!((web.code, &*web.stderr), (Some(0), ""), "neither denied nor warned of");

    // It ends at its second.
    assert!(Timestamp::now().as_second() < end, "the machine is too slow for this test");
    world.assert_ends_at(end, "webhook", World::webhook_exempts);
    world.assert_ends_at(end, "watcher", World::watcher_exempts);
    let ended = testbed
        .wait_for("the operator to end it", SURELY, || Ok(world.status()["totalViolations"] == 2));
    let late = Timestamp::now().as_second() - end;
    assert!(ended.is_ok() && late <= 10, "{late} s late: {:#}", world.status());
    let [is_in_use, reason, message] = condition(&world.status());
    assert_eq!([&*is_in_use, &*reason], ["False", "Expired"]);
    assert!(message.starts_with("spec.exemptions[0] (Deployment/web) ended at "), "{message}");
    assert_eq!(analyzed(), (json!(2), None));
    assert_eq!(create(&deployment(&shop, "web").to_string()).code, Some(1));
}

/// A policy with a bad exemption is refused by the API server, with a sentence.
#[test]
fn a_bad_exemption_is_refused_with_a_sentence() {
    let testbed = crate::policies::testbed();
    let shop = testbed.namespace("refused").unwrap();
    let good = json!({ "checks": ["pending"], "reason": "r",
        "workload": { "kind": "Deployment", "name": "web" } });
    let apply = |field: &str, value: Value| {
        let mut exemption = good.clone();
        exemption.as_object_mut().unwrap().remove(field);
        if !value.is_null() {
            exemption[field] = value;
        }
        let policy = policy(&shop, &spec(&json!([exemption])));
        testbed.kubectl_stdin(&["create", "--dry-run=server", "-f", "-"], &policy).unwrap()
    };
    assert_eq!(apply("container", json!("c")).code, Some(0));
    assert_eq!(apply("expires", json!("2027-01-31T00:00:00+01:00")).code, Some(0));
    for (field, value, said) in [
        ("checks", json!([]), "should have at least 1 items"),
        ("checks", json!(["latest"]), "should match '^(latest-tag|missing-liveness|"),
        ("checks", json!(["pending", "pending"]), "Duplicate value"),
        ("checks", Value::Null, "Required value"),
        ("workload", Value::Null, "names its workloads either by workload or by selector"),
        (
            "workload",
            json!({ "kind": "deployment", "name": "web" }),
            "must be a kind such as Deployment or Pod",
        ),
        (
            "workload",
            json!({ "kind": "Deployment", "name": "web-*" }),
            "must be the full name of a workload, such as web",
        ),
        ("reason", Value::Null, "Required value"),
        ("reason", json!(" \n"), "must say why the findings are accepted"),
        ("expires", json!("tomorrow"), "must be a time such as 2027-01-31T00:00:00Z"),
        ("expires", json!("2027-01-31"), "must be a time such as 2027-01-31T00:00:00Z"),
        (
            "selector",
            json!({ "matchLabels": { "app": "web" } }),
            "names its workloads either by workload or by selector",
        ),
        (
            "selector",
            json!({}),
            "must have a requirement; an empty one would exempt every workload",
        ),
        ("selector", json!({ "matchLabels": { "a b": "c" } }), "each key must be a label key"),
        (
            "selector",
            json!({ "matchExpressions": [{ "key": "app", "operator": "In" }] }),
            "In and NotIn need values",
        ),
    ] {
        let run = apply(field, value.clone());
        assert_eq!(run.code, Some(1), "{field}: {value}");
        assert!(run.stderr.contains(said), "{field}: {value}: {}", run.stderr);
    }
}
