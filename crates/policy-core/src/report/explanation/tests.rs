use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::Timestamp;
use crate::api::DevOpsPolicyStatus;
use crate::custom::CustomResults;
use crate::facts::{PodFacts, Runs};
use crate::namespaces::ExcludedNamespaces;

/// A pod of `Deployment/w<workload>`: its images and restarts, a container each.
fn pod(name: usize, workload: usize, containers: &[(&str, u32)]) -> PodFacts {
    let named = |i: usize| format!("c{i}");
    let spec: Vec<_> = containers
        .iter()
        .enumerate()
        .map(|(i, (image, _))| json!({ "name": named(i), "image": image }))
        .collect();
    let statuses: Vec<_> = containers
        .iter()
        .enumerate()
        .map(|(i, (_, restarts))| json!({ "name": named(i), "restartCount": restarts }))
        .collect();
    let pod = json!({
        "metadata": {
            "namespace": "shop", "name": format!("w{workload}-5d8-{name}"),
            "labels": { "pod-template-hash": "5d8" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
                "name": format!("w{workload}-5d8") }],
        },
        "spec": { "containers": spec }, "status": { "containerStatuses": statuses },
    });
    PodFacts::of_pod(&serde_json::from_value(pod).unwrap(), "")
}

fn source() -> Source {
    Source::Files { paths: vec!["x".to_owned()] }
}

fn assessed<'a>(
    pods: &[PodFacts],
    policy: &'a CompiledPolicy,
    excluded: &'a ExcludedNamespaces,
) -> Assessment<'a> {
    let mut assessment = Assessment::new(policy, excluded, Timestamp::UNIX_EPOCH);
    for pod in pods {
        assessment.pod(pod, &CustomResults::default(), None, None);
    }
    assessment
}

fn explained(pods: &[PodFacts], status: Option<OperatorStatus>) -> Explanation {
    let policy = CompiledPolicy::default_profile();
    let excluded = ExcludedNamespaces::default();
    assessed(pods, &policy, &excluded).explain(source(), "shop/p".to_owned(), status)
}

fn status(json: serde_json::Value, generation: i64) -> OperatorStatus {
    let status: DevOpsPolicyStatus = serde_json::from_value(json).unwrap();
    OperatorStatus::of(Some(&status), Some(generation))
}

fn from_status(status: OperatorStatus) -> Option<Explanation> {
    let policy = CompiledPolicy::default_profile();
    let excluded = ExcludedNamespaces::default();
    assessed(&[], &policy, &excluded).explain_from_status(source(), "shop/p".to_owned(), status)
}

#[test]
fn each_check_and_workload_says_what_it_takes_and_what_mending_it_brings() {
    // Both pods lack both probes: 5. The first is not pinned, the second restarted: 5 and 30.
    let pods = [pod(0, 0, &[("nginx", 0)]), pod(1, 1, &[("nginx:1", 9)]), pod(2, 1, &[])];
    let found = explained(&pods, None);
    assert_eq!(found.arithmetic, "45 points over 3 pods = 15, so 100 − 15 = 85");
    let checks: Vec<_> = found
        .checks
        .iter()
        .map(|c| (c.check.label(), c.count, c.points, c.score_after_fix))
        .collect();
    assert_eq!(
        checks,
        [
            ("high-restarts", Some(5), Some(30), Some(95)),
            ("missing-liveness", Some(2), Some(6), Some(87)),
            ("latest-tag", Some(1), Some(5), Some(87)),
            ("missing-readiness", Some(2), Some(4), Some(87)),
            ("missing-resources", Some(2), Some(0), Some(85)),
            ("pending", Some(0), Some(0), Some(85)),
            ("not-ready", Some(0), Some(0), Some(85)),
        ]
    );
    let workloads = found.worst_workloads.unwrap();
    let workloads: Vec<_> = workloads
        .iter()
        .map(|w| (w.workload.to_string(), w.pods, w.points, w.score_after_fix))
        .collect();
    // (45 - 35) / 3: the pods of the workload stay counted.
    let mended = [("Deployment/w1", 1, 35, 97), ("Deployment/w0", 1, 10, 89)];
    assert_eq!(workloads, mended.map(|(name, a, b, c)| (name.to_owned(), a, b, c)));
    assert_eq!((found.compliant_pods, found.pods_with_findings), (Some(1), Some(2)));
}

#[test]
fn the_arithmetic_is_one_line() {
    for (points, pods, line) in [
        (46, 12, "46 points over 12 pods = 3.83, so 100 − 3 = 97"),
        (1, 1, "1 point over 1 pod = 1, so 100 − 1 = 99"),
        (1, 3, "1 point over 3 pods = 0.33, so 100 − 0 = 100"),
        (299, 100, "299 points over 100 pods = 2.99, so 100 − 2 = 98"),
        (100, 1, "100 points over 1 pod = 100, so 100 − 100 = 0"),
        (1005, 2, "1005 points over 2 pods = 502.50, at most 100, so 100 − 100 = 0"),
        (0, 0, "no pod is counted, so there is no score"),
    ] {
        assert_eq!(arithmetic(points, pods, Score::of(points, pods)), line);
    }
}

#[test]
fn ten_of_each_are_named_and_the_rest_is_counted() {
    let pods: Vec<_> = (0..25).map(|i| pod(i, i / 2, &[("nginx", 0)])).collect();
    let found = explained(&pods, None);
    assert_eq!(found.worst_pods.as_ref().map(Vec::len), Some(10));
    assert_eq!(found.worst_workloads.as_ref().map(Vec::len), Some(10));
    assert_eq!((found.workloads_with_findings, found.pods_with_findings), (Some(13), Some(25)));
}

#[test]
fn a_status_that_differs_is_told_plainly() {
    let pods = [pod(0, 0, &[("nginx", 0)])];
    let same = json!({ "healthScore": 90, "podsEvaluated": 1, "totalViolations": 4,
        "observedGeneration": 3, "lastEvaluated": "2026-01-02T03:04:05Z",
        "violationsByCheck": { "latest-tag": 1, "missing-liveness": 1, "missing-readiness": 1,
            "missing-resources": 1 } });
    let compared = |status| explained(&pods, Some(status)).status.unwrap();
    assert_eq!(compared(status(same.clone(), 3)).differences, Some(Vec::new()));

    let mut other = same;
    other["healthScore"] = json!(95);
    other["violationsByCheck"]["latest-tag"] = json!(0);
    other["violationsByCheck"]["pending"] = json!(2);
    let found = compared(status(other, 4));
    assert!(found.is_behind);
    let differences = [
        "score: 95 in the status, 90 now",
        "latest-tag: 0 in the status, 1 now",
        "pending: 2 in the status, 0 now",
    ];
    assert_eq!(found.differences.unwrap(), differences);
    assert_eq!(compared(OperatorStatus::of(None, Some(1))).differences, None);
}

#[test]
fn a_status_alone_explains_what_it_can() {
    let written = |restarts: i64| {
        let by_check =
            json!({ "latest-tag": 4, "missing-readiness": 5, "high-restarts": restarts });
        json!({ "healthScore": 97, "podsEvaluated": 10, "totalViolations": 9,
            "violationsByCheck": by_check })
    };
    // 4 * 5 + 5 * 2 over 10.
    let known = from_status(status(written(0), 1)).unwrap();
    assert_eq!(known.arithmetic, "30 points over 10 pods = 3, so 100 − 3 = 97");
    assert_eq!((known.basis, known.points), (Basis::Status, Some(30)));
    assert_eq!(known.checks[0].score_after_fix, Some(99));
    assert_eq!((&known.worst_workloads, &known.worst_pods), (&None, &None));

    let unknown = from_status(status(written(1), 1)).unwrap();
    assert_eq!((unknown.points, unknown.checks[0].score_after_fix), (None, None));
    let restarts = unknown.checks.iter().find(|c| c.check.as_str() == "high-restarts").unwrap();
    assert_eq!((restarts.findings, restarts.count, restarts.points), (1, None, None));
    let restarts = "how often containers restarted, so what high-restarts takes";
    assert!(unknown.unknown.iter().any(|text| text == restarts), "{:?}", unknown.unknown);

    // Weights of another policy: the sum would not be the score.
    let mut other = written(0);
    other["healthScore"] = json!(50);
    let other = from_status(status(other, 1)).unwrap();
    assert_eq!(
        (other.score, other.points, other.checks[0].score_after_fix),
        (Some(50), None, None)
    );
    assert!(other.arithmetic.contains("the score would be 97"), "{}", other.arithmetic);

    assert_eq!(from_status(OperatorStatus::of(None, Some(1))), None);
    let odd = json!({ "healthScore": 300, "podsEvaluated": -1 });
    assert_eq!(from_status(status(odd, 1)), None, "no score");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn points_add_up_and_no_fix_lowers_the_score(
        pods in proptest::collection::vec(
            (0..4_usize, proptest::collection::vec((0..3_usize, 0..9_u32), 0..4)), 0..14),
    ) {
        let facts: Vec<PodFacts> = pods
            .iter()
            .enumerate()
            .map(|(name, (workload, containers))| {
                let image = |i: &usize| ["nginx", "nginx:1", "::"][*i];
                let containers: Vec<_> = containers.iter().map(|(i, n)| (image(i), *n)).collect();
                pod(name, *workload, &containers)
            })
            .collect();
        let found = explained(&facts, None);
        let points = found.points.unwrap();
        prop_assert_eq!(found.checks.iter().map(|c| c.points.unwrap()).sum::<u64>(), points);
        let workloads = found.worst_workloads.unwrap();
        prop_assert_eq!(workloads.iter().map(|w| w.points).sum::<u64>(), points, "four at most");
        prop_assert!(found.checks.iter().all(|c| c.score_after_fix >= found.score));
        prop_assert!(workloads.iter().all(|w| Some(w.score_after_fix) >= found.score));
        let count = facts.len() as u64;
        prop_assert_eq!(Score::of(points - found.checks.iter().filter_map(|c| c.points).sum::<u64>(), count).value(), 100);

        // What is promised is what the engine says once the check is off, or the workload mended.
        for share in &found.checks {
            let mut weights = json!({});
            weights[share.check.registered().unwrap().meta().severity_key] = json!(0);
            let mut spec = crate::policy::default_profile_spec();
            spec.weights = Some(serde_json::from_value(weights).unwrap());
            let without = CompiledPolicy::compile(&spec).unwrap();
            let excluded = ExcludedNamespaces::default();
            let parts = assessed(&facts, &without, &excluded).finish_parts(false);
            prop_assert_eq!(share.score_after_fix, Some(parts.tally.score(&without).value()));
        }
        for share in &workloads {
            let mended: Vec<PodFacts> = facts
                .iter()
                .cloned()
                .map(|mut facts| {
                    if *facts.workload == share.workload {
                        facts.checked.containers = Arc::default();
                        facts.checked.runs = Runs::default();
                    }
                    facts
                })
                .collect();
            prop_assert_eq!(Some(share.score_after_fix), explained(&mended, None).score);
        }
    }
}
