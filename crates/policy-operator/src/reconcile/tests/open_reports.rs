//! When the Report of a policy is written.

use super::*;
use crate::custom::CustomStanding;

/// A world that wants Reports, in which something is found.
fn world() -> World {
    let mut world = World::new();
    world.reconciler.open_reports = Some(OpenReports::new());
    world.pod("web", "nginx", "Running", 0);
    world
}

fn answer_reports(world: &World, code: u16) {
    world.server.0.lock().reports = code;
}

/// The last Report that was sent.
fn last(world: &World) -> Value {
    let sent = world.server.sent().into_iter().rev();
    sent.into_iter().find(|(path, _)| path.contains("/reports/")).map(|(_, body)| body).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_report_is_written_when_it_changed_and_again_after_ten_minutes() {
    let mut world = world();
    let writes = world.run(9 * MINUTE).await;
    assert_eq!(count("PATCH reports", &writes), 1, "{writes:?}");
    let report = last(&world);
    assert_eq!(report["metadata"]["name"], "dop-strict");
    assert_eq!(report["metadata"]["ownerReferences"][0]["uid"], "u-1");
    assert_eq!(
        report["results"][0]["message"],
        "container c uses :latest image tag (nginx has no tag)"
    );
    assert_eq!(
        report["summary"],
        json!({ "pass": 2, "fail": 1, "warn": 0, "error": 0, "skip": 0 })
    );
    let repeated = world.run(15 * MINUTE / 2).await;
    assert_eq!(count("PATCH reports", &repeated), 1, "{repeated:?}");
    // A pod without findings changes the status and no Report.
    world.pod("good", "nginx:1", "Running", 0);
    let writes = world.run(20 * SECOND).await;
    assert_eq!((count("PATCH status", &writes), count("PATCH reports", &writes)), (1, 0));
    world.pods.deleted("shop", "web");
    let writes = world.run(20 * SECOND).await;
    assert_eq!(count("PATCH reports", &writes), 1, "{writes:?}");
    assert_eq!(last(&world)["results"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn nobody_who_does_not_want_reports_gets_one() {
    let mut world = world();
    world.reconciler.open_reports = None;
    let writes = world.run(2 * MINUTE).await;
    assert_eq!((count("reports", &writes), writes.len()), (0, 3), "{writes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_always_changes_has_four_reports_a_minute_and_the_last_is_right() {
    let mut world = world();
    let mut written = 0;
    for number in 0..120 {
        world.pod(&format!("web-{number}"), "nginx", "Running", 0);
        written += count("PATCH reports", &world.run(SECOND).await);
    }
    assert!((7..=9).contains(&written), "{written} in two minutes");
    world.run(SECOND * 20).await;
    assert_eq!(last(&world)["summary"]["fail"], 121);
}

#[tokio::test(start_paused = true)]
async fn a_missing_definition_disturbs_nothing_and_reports_come_once_it_is_there() {
    let mut world = world();
    answer_reports(&world, 404);
    let reports = world.reconciler.open_reports.clone().unwrap();
    let policies = world.reconciler.policies.clone();
    let follow = tokio::spawn(reports.follow(world.server.client(), policies));
    let writes = world.run(2 * MINUTE).await;
    // The write that was refused, and then only questions.
    assert_eq!(count("PATCH reports", &writes), 1, "{writes:?}");
    let asked = count("GET v1alpha1", &writes);
    assert!((3..=15).contains(&asked), "{asked} questions");
    for write in ["PATCH status", "POST events", "POST policyauditresults"] {
        assert_eq!(count(write, &writes), 1, "{write}: {writes:?}");
    }
    answer_reports(&world, 200);
    let writes = world.run(MINUTE).await;
    assert_eq!(count("PATCH reports", &writes), 1, "{writes:?}");
    let writes = world.run(MINUTE).await;
    assert_eq!(count("v1alpha1", &writes) + count("reports", &writes), 0, "{writes:?}");
    follow.abort();
}

#[tokio::test(start_paused = true)]
async fn a_refused_report_is_tried_again_later_and_disturbs_nothing() {
    let mut world = world();
    answer_reports(&world, 403);
    let mut writes = Vec::new();
    for number in 0..120 {
        world.pod(&format!("good-{number}"), "nginx:1", "Running", 0);
        writes.extend(world.run(SECOND).await);
    }
    let tries = count("PATCH reports", &writes);
    assert!((3..=5).contains(&tries), "{tries} in two minutes: {writes:?}");
    assert!(count("PATCH status", &writes) >= 119, "{writes:?}");
    assert!(count("POST policyauditresults", &writes) >= 1, "{writes:?}");
    answer_reports(&world, 200);
    assert_eq!(count("PATCH reports", &world.run(5 * MINUTE).await), 1);
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_writes_and_each_leader_once() {
    let mut world = world();
    world.gate_control.hold_by("another");
    assert_eq!(count("reports", &world.run(MINUTE).await), 0);
    for term in [2, 3] {
        world.gate_control.open_for_term(term);
        world.reconciler.policies.all_due();
        assert_eq!(count("PATCH reports", &world.run(MINUTE).await), 1, "{term}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_is_refused_has_a_report_that_says_so() {
    let mut world = world();
    world.run(MINUTE).await;
    world.change_policy(|policy| {
        policy["metadata"]["generation"] = json!(2);
        policy["spec"]["maxRestartCount"] = json!(-1);
    });
    world.run(SECOND).await;
    let report = last(&world);
    assert_eq!(
        report["summary"],
        json!({ "pass": 0, "fail": 0, "warn": 0, "error": 1, "skip": 0 })
    );
    let message = report["results"][0]["message"].as_str().unwrap();
    assert!(message.contains("maxRestartCount"), "{message}");
    assert_eq!(report["results"].as_array().unwrap().len(), 1, "what was found is old");
}

#[tokio::test(start_paused = true)]
async fn no_report_is_written_while_pods_wait_for_custom_checks() {
    let world = world();
    let policy = world.view();
    let (_, state) = world.reconciler.policies.get(&key()).unwrap();
    let (mut state, now) = (state.lock().await, (world.reconciler.now)());
    let mut write = async |unjudged: u64| {
        let judgement = world.reconciler.judge_namespace(&policy, &BlockedWorkloads::new(), now);
        let Some(Judgement::Judged(mut judged)) = judgement else { unreachable!() };
        judged.custom = Some(CustomStanding { unjudged, ..CustomStanding::default() });
        let (policy, state, judgement) = (&*policy, &mut *state, Judgement::Judged(judged));
        let (role, report, written) = (Role::Leader, None, None);
        let mut context = ReconcileContext { policy, state, judgement, role, now, report, written };
        world.reconciler.write_open_report(&mut context).await;
        count("PATCH reports", &world.server.writes())
    };
    assert_eq!(write(1).await, 0);
    assert_eq!(write(0).await, 1);
}
