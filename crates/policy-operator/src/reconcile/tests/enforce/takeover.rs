//! A leader that takes over from another one.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_leader_that_was_killed_after_the_patch_leaves_nothing_to_patch_again() {
    let cluster = cluster(&["web"]);
    let operator = Operator::start(&cluster, RemediationConfig::default());
    operator.reconcile().await;
    // Killed before the status that says so.
    cluster.0.lock().policy["status"]["remediation"]["workloads"][0]["state"] = "Waiting".into();
    cluster.writes();
    let next = Operator::start(&cluster, RemediationConfig::default());
    let after = next.reconcile().await.requeue_after.unwrap();
    assert!(after <= 2 * PACE, "{after:?}: its rollout is observed from now on");
    let writes = next.run(MINUTE / 2).await;
    assert_eq!(of_workloads(&writes), [""; 0]);
    assert_eq!(next.states(), [RemediationState::Observing], "it is still observed");
    next.run(3 * MINUTE).await;
    assert_eq!(next.states(), [RemediationState::Patched]);
}

#[tokio::test(start_paused = true)]
async fn a_killed_leader_is_also_succeeded_where_a_field_is_withheld() {
    let cluster = cluster(&["web"]);
    // metrics.k8s.io does not answer, so that the memory limit is withheld.
    cluster.0.lock().policy["spec"]["defaultResources"] = json!({ "memoryLimit": "1Gi" });
    let operator = Operator::start(&cluster, RemediationConfig::default());
    operator.reconcile().await;
    assert_eq!(operator.states(), [RemediationState::Observing]);
    let workload = &operator.status().remediation.unwrap().workloads[0];
    assert_eq!(workload.reason, "UnknownMemoryUse", "{workload:?}");
    cluster.0.lock().policy["status"]["remediation"]["workloads"][0]["state"] = "Waiting".into();
    cluster.writes();
    let next = Operator::start(&cluster, RemediationConfig::default());
    assert_eq!(of_workloads(&next.run(MINUTE / 2).await), [""; 0]);
    assert_eq!(next.states(), [RemediationState::Observing]);
    next.run(3 * MINUTE).await;
    assert_eq!(next.states(), [RemediationState::Patched]);
    let workload = &next.status().remediation.unwrap().workloads[0];
    assert_eq!(workload.reason, "UnknownMemoryUse", "{workload:?}");
    assert_eq!(workload.fields.len(), 1, "{workload:?}");
    // What was filled in is remembered where nothing more can be.
    cluster.0.lock().workloads.get_mut("web").unwrap()["spec"]["paused"] = true.into();
    next.run(30 * MINUTE).await;
    let workload = &next.status().remediation.unwrap().workloads[0];
    assert_eq!((workload.state, &*workload.reason), (RemediationState::Patched, "Paused"));
    assert_eq!(workload.fields.len(), 1, "{workload:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_was_deposed_in_between_forgets_what_it_knew() {
    let cluster = cluster(&["web"]);
    let mut first = Operator::start(&cluster, RemediationConfig::default());
    first.reconcile().await;
    assert_eq!(first.states(), [RemediationState::Observing]);
    // It is not reconciled as a standby.
    first.gate.hold_by("second");
    let mut second = Operator::start(&cluster, RemediationConfig::default());
    second.pods.applied(restarted("web"));
    second.run(MINUTE / 4).await;
    assert_eq!(second.states(), [RemediationState::Reverted]);
    second.gate.hold_by("first");
    first.gate.open_for_term(2);
    let policy = cluster.0.lock().policy.clone();
    first.policies.applied(serde_json::from_value(policy).unwrap());
    cluster.writes();
    assert_eq!(of_workloads(&first.run(30 * MINUTE).await), [""; 0]);
    assert_eq!(first.states(), [RemediationState::Reverted]);
}
