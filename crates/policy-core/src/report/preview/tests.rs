use proptest::prelude::*;
use serde_json::json;

use super::*;

fn policy(spec: serde_json::Value) -> CompiledPolicy {
    CompiledPolicy::compile(&serde_json::from_value(spec).unwrap()).unwrap()
}

fn pod(name: &str, image: &str, restarts: u32) -> PodFacts {
    let pod = json!({
        "metadata": { "namespace": "shop", "name": name },
        "spec": { "containers": [{ "name": "c", "image": image }] },
        "status": { "containerStatuses": [{ "name": "c", "restartCount": restarts }] },
    });
    PodFacts::of_pod(&serde_json::from_value(pod).unwrap(), "")
}

fn previewed(pods: &[PodFacts], new: &CompiledPolicy, today: &[CurrentPolicy]) -> PolicyPreview {
    let (excluded, now) = (ExcludedNamespaces::default(), Timestamp::UNIX_EPOCH);
    let namespace = &Arc::from("shop");
    let of_namespace = NamespacePods {
        namespace,
        pods,
        custom: &[],
        namespaces: &Arc::default(),
        workloads: &Arc::default(),
        excluded: &excluded,
        now,
    };
    let place = "p.yaml:1".to_owned();
    of_namespace.preview("p".to_owned(), place, new, today)
}

fn todays(name: &str, policy: CompiledPolicy) -> CurrentPolicy {
    CurrentPolicy { name: name.to_owned(), policy: Ok(policy) }
}

#[test]
fn findings_that_come_and_go_are_told_by_check_and_workload() {
    let pods = [pod("a", "nginx", 4), pod("b", "nginx:1", 9)];
    let new = policy(json!({ "requireReadinessProbe": true, "maxRestartCount": 5 }));
    let old = policy(json!({ "forbidLatestTag": true, "maxRestartCount": 3 }));
    let found = previewed(&pods, &new, &[todays("p", old)]);
    let [comparison] = found.comparisons.as_slice() else { panic!("{found:?}") };
    assert!(comparison.is_replaced);
    // (2 * 2 + 6 * 5) / 2 beside (5 + 6 * 9) / 2.
    assert_eq!((found.summary.score, comparison.score_change), (Some(83), Some(12)));
    assert_eq!((comparison.come, comparison.go), (2, 2));
    let row = |f: &ChangedFindings| format!("{} {} {}", f.check, f.workload, f.pods);
    let rows = |list: &[ChangedFindings]| list.iter().map(row).collect::<Vec<_>>();
    assert_eq!(
        rows(&comparison.coming),
        ["missing-readiness Pod/a 1", "missing-readiness Pod/b 1"]
    );
    assert_eq!(rows(&comparison.going), ["latest-tag Pod/a 1", "high-restarts Pod/a 1"]);
    let checks: Vec<_> = comparison
        .checks
        .iter()
        .map(|c| {
            let findings = |side: Option<CheckSide>| side.map(|side| side.findings);
            (c.check.to_string(), findings(c.today), findings(c.then), c.come, c.go)
        })
        .collect();
    let expected = [
        ("latest-tag", Some(1), None, 0, 1),
        ("missing-readiness", None, Some(2), 2, 0),
        ("high-restarts", Some(2), Some(1), 0, 1),
    ];
    let expected =
        expected.map(|(check, today, then, come, go)| (check.to_owned(), today, then, come, go));
    assert_eq!(checks, expected);
}

#[test]
fn where_there_is_no_policy_everything_comes() {
    let new = policy(json!({ "forbidLatestTag": true }));
    let found = previewed(&[pod("a", "nginx", 0)], &new, &[]);
    let [comparison] = found.comparisons.as_slice() else { panic!("{found:?}") };
    assert_eq!((&comparison.today, &comparison.summary), (&None, &None));
    assert_eq!((comparison.score_change, comparison.come, comparison.go), (None, 1, 0));
}

#[test]
fn an_invalid_policy_of_today_harms_only_its_own_row() {
    let new = policy(json!({ "forbidLatestTag": true }));
    let problem = InvalidField { path: "spec.x".to_owned(), problem: "\u{1b}odd".to_owned() };
    let bad = CurrentPolicy { name: "bad".to_owned(), policy: Err(vec![problem]) };
    let today = [bad, todays("same", new.clone())];
    let found = previewed(&[pod("a", "nginx", 0)], &new, &today);
    assert_eq!(found.comparisons[0].summary, None);
    assert_eq!((found.comparisons[1].score_change, found.comparisons[1].come), (Some(0), 0));
    assert!(!found.comparisons[1].is_replaced, "another name");
}

#[test]
fn long_lists_are_cut_and_the_rest_is_counted() {
    let pods: Vec<_> = (0..1200).map(|i| pod(&format!("{i:04}"), "x", 9)).collect();
    let new = CompiledPolicy::default_profile();
    let found = previewed(&pods, &new, &[todays("p", policy(json!({})))]);
    let comparison = &found.comparisons[0];
    assert_eq!((comparison.coming.len(), comparison.coming_cut), (1000, 5000));
    assert_eq!((comparison.workloads.len(), comparison.workloads_cut), (1000, 200));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What comes and goes is the whole difference, and the other way round it is the same.
    #[test]
    fn what_is_there_and_comes_less_what_goes_is_what_will_be(
        pods in proptest::collection::vec((any::<bool>(), 0..9_u32), 0..10),
        limits in (0..6, 0..6), latest in (any::<bool>(), any::<bool>()),
    ) {
        let pods: Vec<_> = pods
            .iter()
            .enumerate()
            .map(|(i, (latest, n))| pod(&i.to_string(), if *latest { "x" } else { "x:1" }, *n))
            .collect();
        let spec = |limit, latest| policy(json!({ "maxRestartCount": limit, "forbidLatestTag": latest }));
        let (a, b) = (spec(limits.0, latest.0), spec(limits.1, latest.1));
        let there = previewed(&pods, &b, &[todays("a", a.clone())]);
        let back = previewed(&pods, &a, &[todays("b", b)]);
        let (forth, back_again) = (&there.comparisons[0], &back.comparisons[0]);
        let today = forth.summary.as_ref().unwrap();
        prop_assert_eq!(today, &back.summary);
        prop_assert_eq!(
            today.total_violations + forth.come, there.summary.total_violations + forth.go);
        prop_assert_eq!((forth.come, forth.go), (back_again.go, back_again.come));
        prop_assert_eq!(&forth.coming, &back_again.going);
        let change = i16::from(there.summary.score.unwrap()) - i16::from(today.score.unwrap());
        prop_assert_eq!(forth.score_change, Some(change));
    }
}

/// The preview of pods with that image and controller.
fn admission(
    policy: &CompiledPolicy,
    pods: &[(&str, &str, serde_json::Value)],
) -> AdmissionPreview {
    let pods = pods.iter().map(|(name, image, owner)| {
        let pod = json!({
            "metadata": { "namespace": "shop", "name": name, "ownerReferences": [owner],
                "labels": { "pod-template-hash": "5d8" } },
            "spec": {
                "containers": [{ "name": "c", "image": image }],
                "ephemeralContainers": [{ "name": "debug", "image": "busybox" }],
            },
        });
        PodFacts::of_pod(&serde_json::from_value(pod).unwrap(), "")
    });
    let pods: Vec<_> = pods.collect();
    let of_namespace = NamespacePods {
        namespace: &"shop".into(),
        pods: &pods,
        custom: &[],
        namespaces: &Arc::default(),
        workloads: &Arc::default(),
        excluded: &ExcludedNamespaces::default(),
        now: Timestamp::UNIX_EPOCH,
    };
    AdmissionPreview::of(of_namespace, "p", policy)
}

fn owner(api_version: &str, kind: &str, name: &str) -> serde_json::Value {
    json!({ "apiVersion": api_version, "kind": kind, "name": name, "controller": true })
}

#[test]
fn denied_workloads_are_separate_from_denied_pods_of_controllers() {
    let deny = json!({ "forbidLatestTag": true, "requireResources": true,
        "admission": { "denySeverity": "medium" } });
    let new = policy(deny.clone());
    let web = owner("apps/v1", "ReplicaSet", "web-5d8");
    let pods = [
        ("web-5d8-a", "nginx", web.clone()),
        ("web-5d8-b", "nginx", web.clone()),
        ("db-0", "db:1", owner("apps/v1", "StatefulSet", "db")),
        ("game", "x:1", owner("example.com/v1", "Fleet", "game")),
        ("bare", "x", json!({})),
    ];
    let found = admission(&new, &pods);
    let denied = |d: &DeniedWorkload| format!("{} {}", d.workload, d.pods);
    let names: Vec<String> = found.denied.iter().map(denied).collect();
    // A template may lack resources: a LimitRange fills them in. A pod that exists may not.
    assert_eq!(names, ["Pod/bare 1", "Deployment/web 2", "Fleet/game 1"]);
    assert_eq!(
        found.denied[1].message,
        "denied by policy shop/p: container c: image nginx is not pinned \
         (check latest-tag, medium); use a fixed tag or digest"
    );
    let pods_denied: Vec<&str> = found.denied_pods.iter().map(|pod| &*pod.name).collect();
    assert_eq!(pods_denied, ["db-0", "web-5d8-a", "web-5d8-b"]);
    let mut off = deny;
    off["admission"]["mode"] = json!("warn");
    let found = admission(&policy(off), &pods);
    assert_eq!((found.denied, found.denied_pods), (vec![], vec![]));
}

/// The controller creates a Job for each run, so only the `CronJob` would be applied again.
#[test]
fn a_cron_job_is_denied_once_and_its_jobs_are_not() {
    let new = policy(json!({ "forbidLatestTag": true, "admission": { "denySeverity": "medium" } }));
    let job = |name| owner("batch/v1", "Job", name);
    let pods = [
        ("report-29672011-x7k2p", "nginx", job("report-29672011")),
        ("report-29672012-b9fzq", "nginx", job("report-29672012")),
        ("pinned-29672012-c5wtl", "nginx:1", job("pinned-29672012")),
    ];
    let denied = |d: &DeniedWorkload| format!("{} {}", d.workload, d.pods);
    let found: Vec<String> = admission(&new, &pods).denied.iter().map(denied).collect();
    assert_eq!(found, ["CronJob/report 2"]);
}
