//! When an audit result is written.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_changed_verdict_is_three_writes_and_the_excess_is_deleted() {
    let mut world = World::new();
    assert_eq!(world.run(2 * MINUTE).await.len(), 3);
    for number in 0..3 {
        world.pod(&format!("web-{number}"), "nginx", "Running", 5);
        let writes = world.run(2 * MINUTE).await;
        assert_eq!(count("PATCH status", &writes), 1, "{number}: {writes:?}");
        assert_eq!(count("POST policyauditresults", &writes), 1, "{number}: {writes:?}");
        let deleted = usize::from(number > 0);
        assert_eq!(count("DELETE policyauditresults", &writes), deleted, "{writes:?}");
    }
}

/// Otherwise a `CronJob` that runs each minute would write an audit result each minute.
#[tokio::test(start_paused = true)]
async fn the_next_job_of_a_cron_job_is_the_same_workload_and_causes_no_audit_result() {
    let mut world = World::new();
    world.pod_of_job("report-29672011");
    // Both runs end before the earliest heartbeat, after 240 seconds.
    let writes = world.run(3 * MINUTE / 2).await;
    assert_eq!(count("POST policyauditresults", &writes), 1, "{writes:?}");
    world.pods.deleted("shop", "report-29672011-x7k2p");
    world.pod_of_job("report-29672012");
    let writes = world.run(3 * MINUTE / 2).await;
    assert_eq!(writes, [""; 0], "the text names the CronJob, not its pods");
    assert_eq!(
        world.policy()["status"]["violations"],
        json!(["CronJob/report: uses :latest image tag (container c, 1 pod)"])
    );
    world.pods.deleted("shop", "report-29672012-x7k2p");
    world.pod_of_job("import-29672013");
    let writes = world.run(2 * MINUTE).await;
    assert_eq!(count("POST policyauditresults", &writes), 1, "another CronJob: {writes:?}");
}
