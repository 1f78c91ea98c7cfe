//! A workload that vanishes, and clocks that jump.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_workload_that_vanishes_while_it_is_patched_is_told_and_forgotten() {
    let cluster = cluster(&["web"]);
    cluster.0.lock().vanishes = true;
    let operator = Operator::start(&cluster, RemediationConfig::default());
    operator.reconcile().await;
    let workloads = operator.status().remediation.unwrap().workloads;
    assert_eq!(workloads[0].state, RemediationState::Failed);
    assert_eq!(workloads[0].reason, "Conflict");
    assert!(workloads[0].message.starts_with("it was deleted while"), "{workloads:?}");
    let counts =
        |status: &DevOpsPolicyStatus| (status.remediations_applied, status.remediations_failed);
    assert_eq!(counts(&operator.status()), (Some(0), Some(1)));
    assert_eq!(of_workloads(&cluster.writes()), ["dry web", "apply web"]);
    // Its pods are still there.
    assert_eq!(of_workloads(&operator.run(5 * MINUTE).await), [""; 0]);
    assert_eq!(operator.states(), []);
    assert_eq!(counts(&operator.status()), (Some(0), Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_time_in_the_future_in_the_status_is_taken_for_now() {
    let cluster = cluster(&["web"]);
    let operator = Operator::start(&cluster, RemediationConfig::default());
    operator.reconcile().await;
    // The clock of the control plane was ahead for a day, and is right again.
    let tomorrow = "2027-01-16T08:00:00Z";
    {
        let mut state = cluster.0.lock();
        state.policy["status"]["remediation"]["workloads"][0]["since"] = tomorrow.into();
        let reverts = json!([tomorrow, tomorrow]);
        state.policy["status"]["remediation"]["reverts"] = reverts;
    }
    let mut next = Operator::start(&cluster, RemediationConfig::default());
    next.reconcile().await;
    assert_eq!(next.condition(), ("False".to_owned(), "Reverts".to_owned()));
    let remediation = next.status().remediation.unwrap();
    let now = Timestamp::from_second(1_800_000_000 + 60).unwrap();
    assert!(remediation.workloads[0].since.0 < now, "{remediation:?}");
    assert!(remediation.reverts.iter().all(|at| at.0 < now), "{remediation:?}");
    // A pod that is created after that is a new one, and hurts.
    tokio::time::sleep(MINUTE / 4).await;
    let mut late = json!(pod_json("web"));
    late["metadata"]["creationTimestamp"] = "2027-01-15T08:00:10Z".into();
    late["status"] = json!({ "phase": "Running", "containerStatuses": [
        { "name": "web", "restartCount": 1, "lastState": { "terminated": { "reason": "Error" } } }
    ] });
    next.pods.applied(serde_json::from_value(late).unwrap());
    next.run(MINUTE / 4).await;
    assert_eq!(next.states(), [RemediationState::Reverted]);
    // The circuit breaker counts from now on, not from tomorrow on.
    next.run(11 * MINUTE).await;
    assert_eq!(next.condition(), ("True".to_owned(), "Remediating".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_observation_lasts_as_long_whatever_the_wall_clock_says() {
    for jump in [-86_400_i64, 86_400] {
        let cluster = cluster(&["web"]);
        let mut operator = Operator::start(&cluster, RemediationConfig::default());
        operator.reconcile().await;
        let start = Instant::now();
        operator.reconciler.now = Box::new(move || {
            let elapsed = i64::try_from(start.elapsed().as_secs()).unwrap();
            Timestamp::from_second(1_800_000_000 + jump + elapsed).unwrap()
        });
        operator.run(MINUTE / 2).await;
        assert_eq!(operator.states(), [RemediationState::Observing], "{jump}");
        operator.run(MINUTE).await;
        assert_eq!(operator.states(), [RemediationState::Patched], "{jump}");
    }
}
