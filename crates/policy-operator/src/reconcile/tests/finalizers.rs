//! The finalizer, and the finalizers of others.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_finalizer_is_added_before_the_first_write_and_removed_at_the_end() {
    let mut world = World::new();
    let finalizers = |world: &World| world.policy()["metadata"]["finalizers"].clone();
    world.change_policy(|policy| policy["metadata"]["finalizers"] = json!(["example.com/other"]));
    let writes = world.run(SECOND).await;
    assert_eq!(writes, ["PATCH policy", "PATCH status", "POST events"]);
    assert_eq!(finalizers(&world), json!(["example.com/other", FINALIZER]));
    assert_eq!(world.reconciler.policies.gauges().len(), 1);
    world.change_policy(|policy| {
        policy["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        // As the API server does it with the deletion.
        policy["metadata"]["generation"] = json!(2);
    });
    assert_eq!(world.run(2 * MINUTE).await, ["PATCH policy"], "no audit result");
    assert_eq!(finalizers(&world), json!(["example.com/other"]));
    assert_eq!(world.reconciler.policies.gauges(), [], "the series end with it");
}

#[tokio::test(start_paused = true)]
async fn a_policy_with_too_many_finalizers_costs_one_status_until_it_has_fewer() {
    let mut world = World::new();
    let others =
        |number: usize| (0..number).map(|n| format!("example.com/{n}")).collect::<Vec<_>>();
    let set = |world: &mut World, others: Vec<String>| {
        world.change_policy(|policy| policy["metadata"]["finalizers"] = json!(others));
    };
    set(&mut world, others(33));
    world.pod("web", "nginx", "Running", 0);
    assert_eq!(world.run(10 * MINUTE).await, ["PATCH status"]);
    assert_eq!(world.policy()["status"]["conditions"][0]["reason"], "TooManyFinalizers");
    set(&mut world, others(32));
    let writes = world.run(SECOND).await;
    assert_eq!(writes, ["PATCH policy", "PATCH status", "POST events"]);
    assert_eq!(world.policy()["status"]["totalViolations"], 1);
    // Ours is removed from among any number of them.
    world.change_policy(|policy| {
        let all = policy["metadata"]["finalizers"].as_array_mut().unwrap();
        all.extend(others(2_000).into_iter().map(Value::from));
        policy["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    });
    assert_eq!(world.run(SECOND).await, ["PATCH policy"]);
    let finalizers = world.policy()["metadata"]["finalizers"].clone();
    assert_eq!(finalizers.as_array().unwrap().len(), 2_032);
    assert!(!finalizers.as_array().unwrap().contains(&json!(FINALIZER)));
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_that_another_changed_meanwhile_is_tried_again_at_once() {
    let mut world = World::new();
    world.change_policy(|policy| policy["metadata"]["finalizers"] = json!(["example.com/other"]));
    // As the API server answers where the test of a JSON patch fails.
    world.server.refuse(&[422]);
    let writes = world.run(SECOND).await;
    assert_eq!(writes, ["PATCH policy", "PATCH policy", "PATCH status", "POST events"]);
}
