use super::*;
use crate::checks::CheckName;
use crate::facts::CheckedFacts;
use crate::workload::ObjectKind;

const LATEST: &str = "latest-tag denied";

fn found_in(review: &Value, policies: &[NamedPolicy]) -> Vec<String> {
    found(&verdict(review, policies))
}

#[test]
fn each_finding_denies_or_warns_by_severity_and_mode() {
    let bad = create(&pod(&[json!({ "name": "web", "image": "nginx" })]));
    let admission = |admission: Value| {
        policy(
            "p",
            json!({ "forbidLatestTag": true, "requireLivenessProbe": true,
            "severityOverrides": { "latestTag": "critical" }, "admission": admission }),
        )
    };
    let both_warned = ["latest-tag warned", "missing-liveness warned"];
    for (settings, expected) in [
        (json!({}), &[LATEST, "missing-liveness warned"][..]),
        (json!({ "denySeverity": "medium" }), &[LATEST, "missing-liveness denied"]),
        (json!({ "denySeverity": "critical" }), &[LATEST, "missing-liveness warned"]),
        (json!({ "mode": "warn", "denySeverity": "low" }), &both_warned),
        (json!({ "mode": "disabled", "denySeverity": "low" }), &[]),
        (json!({ "mode": "off", "denySeverity": "low" }), &[]),
    ] {
        assert_eq!(found_in(&bad, &[admission(settings.clone())]), expected, "{settings}");
    }
    let good = create(&pod(&[container("web", "nginx:1.27")]));
    assert!(found_in(&good, &[admission(json!({}))]).is_empty());
    assert!(found_in(&bad, &[]).is_empty(), "no policy");
}

#[test]
fn all_policies_apply_and_any_denial_denies() {
    let bad = create(&pod(&[container("web", "nginx")]));
    let lenient = policy("lenient", json!({ "forbidLatestTag": true }));
    let verdict = verdict(&bad, &[lenient, strict()]);
    assert_eq!(found(&verdict), [LATEST, "latest-tag warned"]);
    assert!(!verdict.is_allowed());
}

#[test]
fn every_kind_with_a_pod_template_is_judged() {
    for (api_version, kind) in [
        ("apps/v1", "Deployment"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("apps/v1", "ReplicaSet"),
        ("v1", "ReplicationController"),
        ("batch/v1", "Job"),
        ("batch/v1", "CronJob"),
    ] {
        let object = workload(api_version, kind, &[container("web", "nginx")]);
        assert_eq!(found_in(&create(&object), &[strict()]), [LATEST], "{kind}");
    }
    let other = workload("serving.example.com/v1", "Deployment", &[container("web", "nginx")]);
    assert!(found_in(&create(&other), &[strict()]).is_empty(), "not one that is judged");
}

#[test]
fn only_what_makes_or_changes_a_pod_is_judged() {
    let bad = pod(&[container("web", "nginx")]);
    let asked = |field: &str, value: &str| {
        let mut review = create(&bad);
        review["request"][field] = json!(value);
        found_in(&review, &[strict()])
    };
    assert_eq!(asked("subResource", ""), [LATEST]);
    for subresource in ["status", "binding", "eviction", "resize", "scale", "exec"] {
        assert!(asked("subResource", subresource).is_empty(), "{subresource}");
    }
    for operation in ["DELETE", "CONNECT"] {
        assert!(asked("operation", operation).is_empty(), "{operation}");
    }
    let mut debugged = bad.clone();
    debugged["spec"]["ephemeralContainers"] = json!([{ "name": "debug", "image": "busybox" }]);
    let mut review = update(&bad, &debugged);
    review["request"]["subResource"] = json!("ephemeralcontainers");
    assert_eq!(found_in(&review, &[strict()]), [LATEST], "the ephemeral container");
}

#[test]
fn run_time_checks_and_the_status_play_no_part() {
    let mut ended = pod(&[container("web", "nginx")]);
    ended["status"] = json!({ "phase": "Succeeded",
        "containerStatuses": [{ "name": "web", "restartCount": 99 }] });
    let policy = policy(
        "p",
        json!({ "forbidLatestTag": true, "maxRestartCount": 0,
        "forbidPendingDuration": 0, "admission": { "denySeverity": "low" } }),
    );
    assert_eq!(found_in(&create(&ended), std::slice::from_ref(&policy)), [LATEST]);
    ended["metadata"]["creationTimestamp"] = json!("1960-01-01T00:00:00Z");
    for phase in ["Pending", "Failed", "Running"] {
        ended["status"]["phase"] = json!(phase);
        assert_eq!(found_in(&create(&ended), std::slice::from_ref(&policy)), [LATEST], "{phase}");
    }
}

#[test]
fn what_a_template_lacks_may_still_be_filled_in() {
    let wanting = [policy(
        "p",
        json!({ "requireResources": true,
        "severityOverrides": { "missingResources": "critical" } }),
    )];
    let bare = [json!({ "name": "web", "image": "nginx:1" })];
    assert_eq!(found_in(&create(&pod(&bare)), &wanting), ["missing-resources denied"]);
    let deployment = workload("apps/v1", "Deployment", &bare);
    let warned = verdict(&create(&deployment), &wanting);
    assert_eq!(found(&warned), ["missing-resources warned"]);
    let text = "policy production/p: container web: may be filled in by a LimitRange: missing ";
    assert!(warned.warnings()[0].starts_with(text), "{:?}", warned.warnings());
    let from_file = |is_before_limit_ranges| {
        let spec = serde_json::from_value(pod(&bare)["spec"].clone()).unwrap();
        let (kind, namespace, name, user) = (ObjectKind::Pod, "production", "web", "");
        let facts = &CheckedFacts::of_spec(kind, &spec).unwrap();
        let workload = None;
        let labels = None;
        let pod = Creation {
            kind,
            namespace,
            name,
            workload,
            labels,
            user,
            facts,
            is_before_limit_ranges,
        };
        found(&pod.admit(
            &NamespacePolicies { judged: wanting.to_vec(), ..NamespacePolicies::default() },
            Timestamp::UNIX_EPOCH,
        ))
    };
    assert_eq!(from_file(true), ["missing-resources warned"]);
    assert_eq!(from_file(false), ["missing-resources denied"]);
}

#[test]
fn mirrors_of_static_pods_are_allowed_and_recorded() {
    let bare = create(&pod(&[json!({ "name": "web", "image": "nginx" })]));
    let policies = [policy(
        "deny",
        json!({ "forbidLatestTag": true,
        "admission": { "denySeverity": "low", "controllerPods": "deny" } }),
    )];
    let mirror = verdict(&by("system:node:node-0", bare.clone()), &policies);
    assert_eq!(found(&mirror), ["latest-tag recorded"]);
    assert!(mirror.is_allowed() && mirror.annotations().contains_key(RECORDED));
    let mut annotated = by(ANN, bare);
    annotated["request"]["object"]["metadata"]["annotations"] =
        json!({ "kubernetes.io/config.mirror": "abc" });
    assert!(!verdict(&annotated, &policies).is_allowed(), "metadata proves nothing");
}

#[test]
fn of_an_update_only_what_it_brings_in_counts() {
    let of = |containers: &[Value]| workload("apps/v1", "Deployment", containers);
    let old = of(&[container("web", "nginx"), container("log", "fluentd:1")]);
    let after = |new: &Value| found_in(&update(&old, new), &[strict()]);
    assert!(after(&old).is_empty(), "untouched");
    let mut scaled = old.clone();
    scaled["spec"]["replicas"] = json!(7);
    scaled["metadata"]["labels"] = json!({ "a": "b" });
    assert!(after(&scaled).is_empty(), "scaled and labelled");
    let other_image = of(&[container("web", "nginx:latest"), container("log", "fluentd:1")]);
    assert_eq!(after(&other_image), [LATEST], "another image that is not pinned");
    let one_more = of(&[container("web", "nginx"), container("log", "fluentd")]);
    assert_eq!(after(&one_more), [LATEST], "the other container");
    let renamed = of(&[container("www", "nginx")]);
    assert_eq!(after(&renamed), [LATEST], "a new container");
    let mut no_probe = old.clone();
    no_probe["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = json!({});
    assert_eq!(after(&no_probe), ["missing-readiness warned"]);
    assert!(found_in(&update(&no_probe, &old), &[strict()]).is_empty(), "mended");
    let mut moved = old.clone();
    moved["spec"]["template"]["spec"]["initContainers"] = json!([container("web", "nginx")]);
    assert_eq!(after(&moved), [LATEST], "the same name in another role");
}

/// An update that fixes a part of an old finding does not introduce the rest of it.
#[test]
fn a_finding_is_the_same_by_check_container_and_field() {
    let resources = [policy("p", json!({ "requireResources": true, "forbidLatestTag": true }))];
    let of = |image: &str, resources: Value| {
        pod(&[json!({ "name": "web", "image": image, "resources": resources })])
    };
    let after = |old: &Value, new: &Value| found_in(&update(old, new), &resources);
    let none = of("app:1", json!({}));
    let limit = of("app:1", json!({ "limits": { "memory": "1Gi" } }));
    let cpu = of("app:1", json!({ "requests": { "cpu": 1 } }));
    assert!(after(&none, &limit).is_empty(), "a memory limit is added");
    assert_eq!(after(&limit, &none), ["missing-resources warned"], "it is removed");
    assert_eq!(after(&limit, &cpu), ["missing-resources warned"], "another field is missing");
    assert!(after(&of("app", json!({})), &of("app", json!({}))).is_empty());
    assert_eq!(after(&of("app", json!({})), &of("web", json!({}))), ["latest-tag warned"]);
}

#[test]
fn a_create_and_an_update_without_old_object_are_judged_whole() {
    let bad = pod(&[container("web", "nginx")]);
    let mut review = update(&bad, &bad);
    review["request"]["oldObject"] = Value::Null;
    assert_eq!(found_in(&review, &[strict()]), [LATEST]);
    review = update(&bad, &bad);
    review["request"]["operation"] = json!("CREATE");
    assert_eq!(found_in(&review, &[strict()]), [LATEST]);
}

#[test]
fn pods_of_the_clusters_controllers_come_back_unless_the_policy_denies_them() {
    let bare = create(&pod(&[json!({ "name": "web", "image": "nginx" })]));
    let deny = policy(
        "deny",
        json!({ "forbidLatestTag": true, "requireReadinessProbe": true,
        "severityOverrides": { "latestTag": "critical" }, "admission": { "controllerPods": "deny" } }),
    );
    let as_controller = by(REPLICA_SETS, bare.clone());
    let recorded = verdict(&as_controller, &[strict()]);
    assert_eq!(found(&recorded), ["latest-tag recorded", "missing-readiness recorded"]);
    assert!(recorded.is_allowed() && recorded.warnings().is_empty());
    assert_eq!(
        recorded.annotations()[RECORDED],
        "policy production/strict: container web: image nginx is not pinned (latest-tag, critical); \
         policy production/strict: container web: missing readiness probe (missing-readiness, medium)"
    );
    let denied = verdict(&as_controller, std::slice::from_ref(&deny));
    assert_eq!(found(&denied), [LATEST, "missing-readiness warned"]);
    let both = verdict(&as_controller, &[strict(), deny]);
    assert!(!both.is_allowed(), "each policy speaks for itself");
    for user in [ANN, "system:serviceaccount:production:replicaset-controller"] {
        assert!(!verdict(&by(user, bare.clone()), &[strict()]).is_allowed(), "{user}");
    }
    let changed = update(&pod(&[container("web", "nginx:1")]), &pod(&[container("web", "nginx")]));
    assert!(
        !verdict(&by(REPLICA_SETS, changed), &[strict()]).is_allowed(),
        "not made, but changed"
    );
}

#[test]
fn replica_sets_and_jobs_of_the_controllers_were_judged_before() {
    let deny = || {
        policy(
            "deny",
            json!({ "forbidLatestTag": true,
        "admission": { "denySeverity": "low", "controllerPods": "deny" } }),
        )
    };
    let account = |name: &str| format!("system:serviceaccount:kube-system:{name}");
    for (api_version, kind, controller) in [
        ("apps/v1", "ReplicaSet", "deployment-controller"),
        ("batch/v1", "Job", "cronjob-controller"),
    ] {
        let object = create(&workload(api_version, kind, &[container("web", "nginx")]));
        for user in [&account(controller), "system:kube-controller-manager"] {
            let verdict = verdict(&by(user, object.clone()), &[deny()]);
            assert_eq!(found(&verdict), ["latest-tag recorded"], "{kind} by {user}");
            assert!(verdict.annotations().contains_key(RECORDED));
        }
        for user in [ANN, &account("namespace-controller"), REPLICA_SETS] {
            let verdict = verdict(&by(user, object.clone()), &[deny()]);
            assert_eq!(found(&verdict), [LATEST], "{kind} by {user}");
        }
    }
}

#[test]
fn an_invalid_policy_is_left_out_and_the_others_deny() {
    let bad = NamedPolicy {
        name: "bad".into(),
        rules: Err("spec.weights.pending: must be 0 to 100, not 101".to_owned()),
    };
    let good = create(&pod(&[container("web", "nginx:1")]));
    let in_doubt = verdict(&good, std::slice::from_ref(&bad));
    assert!(in_doubt.is_allowed());
    assert_eq!(in_doubt.fail_open_reason(), Some(FailOpenReason::InvalidPolicy));
    assert_eq!(
        in_doubt.warnings(),
        [
            "policy production/bad is invalid and was not applied: spec.weights.pending: must be 0 to 100, not 101"
        ]
    );
    assert_eq!(
        in_doubt.annotations()[FAIL_OPEN],
        "invalid_policy: policy production/bad is invalid and was not applied: spec.weights.pending: must be 0 to 100, not 101"
    );
    let denied = verdict(&create(&pod(&[container("web", "nginx")])), &[bad.clone(), strict()]);
    assert!(!denied.is_allowed() && denied.fail_open_reason().is_some());
    let mut deleted = good;
    deleted["request"]["operation"] = json!("DELETE");
    assert_eq!(verdict(&deleted, &[bad]).fail_open_reason(), None, "not judged anyway");
}

#[test]
fn findings_are_counted_by_check_and_decision() {
    let bare = json!({ "name": "a", "image": "x" });
    let pod = pod(&[bare, json!({ "name": "b", "image": "x" })]);
    let verdict = verdict(&create(&pod), &[strict()]);
    let counts: Vec<_> = verdict.counts().collect();
    let check = |id: &str| id.parse::<CheckName>().unwrap();
    let expected = [
        (&check("latest-tag"), Decision::Denied, 2),
        (&check("missing-readiness"), Decision::Warned, 2),
    ];
    assert_eq!(counts, expected);
}

/// A check that counts how often it is asked, and says no after so many times.
fn times(most: usize) -> (std::rc::Rc<std::cell::Cell<usize>>, impl Fn() -> bool) {
    let asked = std::rc::Rc::new(std::cell::Cell::new(0));
    let counter = std::rc::Rc::clone(&asked);
    (asked, move || {
        counter.set(counter.get() + 1);
        counter.get() <= most
    })
}

/// The findings that are told of when time is up after so many policies; the reason where none are.
fn judged_for(times_in_time: usize, policies: &[NamedPolicy]) -> Vec<String> {
    let text = create(&pod(&[container("web", "nginx")])).to_string();
    let request = Review::decode(text.as_bytes()).unwrap().request.unwrap();
    let policies = NamespacePolicies { judged: policies.to_vec(), ..NamespacePolicies::default() };
    let (asked, is_in_time) = times(times_in_time);
    let verdict = admit(request, &policies, Timestamp::UNIX_EPOCH, is_in_time);
    assert!(asked.get() <= times_in_time + 1, "it goes on after the time is over");
    verdict.map_or_else(|reason| vec![reason.as_str().to_owned()], |verdict| found(&verdict))
}

#[test]
fn time_is_up_between_policies_and_a_denial_stands() {
    let lenient = || policy("lenient", json!({ "forbidLatestTag": true }));
    let policies = [lenient(), strict(), lenient()];
    assert_eq!(judged_for(0, &policies), ["deadline"]);
    assert_eq!(judged_for(1, &policies), ["deadline"]);
    assert_eq!(judged_for(2, &policies), [LATEST, "latest-tag warned"]);
    assert_eq!(judged_for(3, &policies), [LATEST, "latest-tag warned", "latest-tag warned"]);
}

#[test]
fn a_check_is_evaluated_once_and_counts_for_every_policy() {
    let bad = pod(&[container("web", "nginx"), container("proxy", "envoy")]);
    let mut old = bad.clone();
    old["spec"]["containers"][0]["image"] = json!("nginx:1");
    let named = |number: usize| NamedPolicy { name: format!("p-{number}").into(), ..strict() };
    let policies: Vec<_> = (0..64).map(named).collect();
    let verdict = verdict(&update(&old, &bad), &policies);
    let counts: Vec<_> = verdict.counts().map(|(check, _, count)| (check.label(), count)).collect();
    assert_eq!(counts, [("latest-tag", 64)], "the proxy was there before");
    let message = verdict.message().unwrap();
    assert!(message.starts_with("denied by policy production/p-0: container web: "), "{message}");
    assert!(message.ends_with("\nand 54 more"), "{message}");
}

#[test]
fn policies_over_the_limit_are_told_of() {
    let text = create(&pod(&[container("web", "nginx:1")])).to_string();
    let request = Review::decode(text.as_bytes()).unwrap().request.unwrap();
    let policies =
        NamespacePolicies { judged: vec![strict()], excess: 936, ..NamespacePolicies::default() };
    let verdict = admit(request, &policies, Timestamp::UNIX_EPOCH, || true).unwrap();
    assert_eq!(verdict.excess_policies(), 936);
    assert_eq!(
        verdict.warnings(),
        ["policies not applied in production: 936 (only 64 are, the oldest first)"]
    );
    assert!(verdict.is_allowed() && verdict.fail_open_reason().is_none());
}
