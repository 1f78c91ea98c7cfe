use super::*;

/// Denies images that are not pinned, but for those of a workload until second 60.
fn exempting(kind: &str, name: &str) -> NamedPolicy {
    policy(
        "strict",
        json!({
            "forbidLatestTag": true, "requireReadinessProbe": true,
            "severityOverrides": { "latestTag": "critical" },
            "admission": { "controllerPods": "deny" },
            "exemptions": [{
                "checks": ["latest-tag"], "workload": { "kind": kind, "name": name },
                "reason": "its registry has no tags", "expires": "1970-01-01T00:01:00Z",
            }],
        }),
    )
}

fn of(review: &Value, policy: NamedPolicy) -> Vec<String> {
    found(&verdict(review, &[policy]))
}

/// A pod that names that owner, and whatever else could be taken for it.
fn owned_pod(owner: &Value, hash: &str) -> Value {
    let mut object = pod(&[container("app", "nginx")]);
    object["metadata"]["ownerReferences"] = json!([owner]);
    object["metadata"]["labels"] = json!({ "pod-template-hash": hash, "app": "web" });
    let mut review = create(&object);
    review["request"]["name"] = json!("web-5d8-x");
    review
}

fn replica_set(name: &str) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "controller": true, "uid": "u" })
}

#[test]
fn an_exempted_finding_denies_nothing_warns_of_nothing_and_is_recorded() {
    let review = create(&workload("apps/v1", "Deployment", &[container("app", "nginx")]));
    assert_eq!(of(&review, strict()), ["latest-tag denied"]);
    let verdict = verdict(&review, &[exempting("Deployment", "web")]);
    assert_eq!(found(&verdict), ["latest-tag exempted"]);
    assert!(verdict.is_allowed() && verdict.warnings().is_empty() && verdict.message().is_none());
    assert_eq!(
        verdict.annotations(),
        [(
            EXEMPTED,
            "policy production/strict: container app: image nginx is not pinned (latest-tag, \
             critical), exempted: its registry has no tags"
                .to_owned()
        )]
        .into()
    );
}

#[test]
fn an_exemption_ends_at_its_second() {
    let review = create(&workload("apps/v1", "Deployment", &[container("app", "nginx")]));
    let at = |second| found(&verdict_at(second, &review, &[exempting("Deployment", "web")]));
    assert_eq!(at(59), ["latest-tag exempted"]);
    assert_eq!(at(60), ["latest-tag denied"]);
}

#[test]
fn an_exemption_is_of_its_policy_and_of_its_workload_only() {
    let review = create(&workload("apps/v1", "Deployment", &[container("app", "nginx")]));
    let both = verdict(&review, &[exempting("Deployment", "web"), strict()]);
    assert_eq!(found(&both), ["latest-tag denied", "latest-tag exempted"]);
    assert_eq!(of(&review, exempting("Deployment", "other")), ["latest-tag denied"]);
    assert_eq!(of(&review, exempting("StatefulSet", "web")), ["latest-tag denied"]);
    // Another object of the name in the object, which the request does not have.
    let mut forged = review.clone();
    forged["request"]["name"] = json!("other");
    assert_eq!(of(&forged, exempting("Deployment", "web")), ["latest-tag denied"]);
}

/// Who writes a pod cannot exempt it: its owner and its labels are the user's word.
#[test]
fn a_pod_that_a_user_makes_is_exempted_by_its_own_name_alone() {
    let web = || exempting("Deployment", "web");
    let forged = owned_pod(&replica_set("web-5d8"), "5d8");
    assert_eq!(of(&forged, web()), ["latest-tag denied"]);
    let of_controller = by(REPLICA_SETS, forged.clone());
    assert_eq!(of(&of_controller, web()), ["latest-tag exempted"]);
    let node = by("system:node:n", forged.clone());
    assert_eq!(of(&node, web()), ["latest-tag recorded"]);
    assert_eq!(of(&forged, exempting("Pod", "web-5d8-x")), ["latest-tag exempted"]);
    let other = by(REPLICA_SETS, owned_pod(&replica_set("other-5d8"), "5d8"));
    assert_eq!(of(&other, web()), ["latest-tag denied"]);
}

/// The same for a `ReplicaSet` with the name of a Deployment's, and a Job with that of a `CronJob`'s.
#[test]
fn a_replica_set_or_job_that_a_user_makes_is_only_itself() {
    let mut object = workload("apps/v1", "ReplicaSet", &[container("app", "nginx")]);
    object["metadata"] = json!({ "name": "web-5d8", "labels": { "pod-template-hash": "5d8" } });
    let mut review = create(&object);
    review["request"]["name"] = json!("web-5d8");
    assert_eq!(of(&review, exempting("Deployment", "web")), ["latest-tag denied"]);
    assert_eq!(of(&review, exempting("ReplicaSet", "web-5d8")), ["latest-tag exempted"]);
    let deployments = "system:serviceaccount:kube-system:deployment-controller";
    assert_eq!(
        of(&by(deployments, review), exempting("Deployment", "web")),
        ["latest-tag exempted"]
    );
    let mut job = workload("batch/v1", "Job", &[container("app", "nginx")]);
    job["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "batch/v1", "kind": "CronJob", "name": "web", "controller": true }]);
    assert_eq!(of(&create(&job), exempting("CronJob", "web")), ["latest-tag denied"]);
}

#[test]
fn a_change_that_brings_in_an_exempted_finding_is_allowed() {
    let old = workload("apps/v1", "Deployment", &[container("app", "nginx:1")]);
    let new = workload("apps/v1", "Deployment", &[container("app", "nginx")]);
    assert_eq!(of(&update(&old, &new), strict()), ["latest-tag denied"]);
    assert_eq!(of(&update(&old, &new), exempting("Deployment", "web")), ["latest-tag exempted"]);
}

/// What is known of an object by its facts alone, as from a file, is judged in the same way.
#[test]
fn facts_of_a_pod_are_exempted_by_its_own_name_alone() {
    let object = owned_pod(&replica_set("web-5d8"), "5d8")["request"]["object"].take();
    let view = serde_json::from_value(object).unwrap();
    let facts = crate::facts::PodFacts::of_pod(&view, "production");
    assert_eq!(facts.workload.to_string(), "Deployment/web");
    let admitted = |user, policy: NamedPolicy| {
        let creation = Creation { user, ..Creation::of(&facts) };
        found(&creation.admit(&policy.into(), Timestamp::UNIX_EPOCH))
    };
    assert_eq!(admitted("", exempting("Deployment", "web")), ["latest-tag denied"]);
    assert_eq!(admitted("", exempting("Pod", "web")), ["latest-tag exempted"]);
    assert_eq!(admitted(REPLICA_SETS, exempting("Deployment", "web")), ["latest-tag exempted"]);
}
