//! Owners who begin to apply on the server what was patched.

use super::*;

/// The owner applies the workload on the server from now on.
fn take_over(cluster: &Cluster) {
    let mut state = cluster.0.lock();
    let web = state.workloads.get_mut("web").unwrap();
    let theirs = json!({ "f:spec": { "f:template": { "f:spec": { "f:containers": {
        "k:{\"name\":\"web\"}": { ".": {}, "f:name": {}, "f:image": {} } } } } } });
    web["metadata"]["managedFields"].as_array_mut().unwrap().push(json!({ "manager": "helm",
        "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": theirs }));
}

fn probe(cluster: &Cluster) -> Value {
    let state = cluster.0.lock();
    state.workloads["web"]["spec"]["template"]["spec"]["containers"][0]["readinessProbe"].clone()
}

#[tokio::test(start_paused = true)]
async fn the_patch_is_taken_back_once_the_webhook_has_heard_that_it_injects() {
    for observed in [Duration::ZERO, 5 * MINUTE] {
        let cluster = cluster(&["web"]);
        let operator = Operator::start(&cluster, RemediationConfig::default());
        operator.reconcile().await;
        operator.run(observed).await;
        cluster.writes();
        take_over(&cluster);
        let mut pause = Duration::ZERO;
        while operator.states() != [RemediationState::Injecting] {
            pause = operator.next_turn().await;
        }
        // The webhook hears of the status by its watch.
        assert!((Duration::from_secs(1)..Duration::from_secs(5)).contains(&pause), "{pause:?}");
        assert_eq!(of_workloads(&cluster.writes()), [""; 0]);
        assert!(probe(&cluster).is_object());
        assert_eq!(of_workloads(&operator.run(Duration::ZERO).await), ["apply web"]);
        assert_eq!(operator.states(), [RemediationState::Injecting]);
        assert_eq!(probe(&cluster), Value::Null);
        assert_eq!(of_workloads(&operator.run(30 * MINUTE).await), [""; 0]);
        assert_eq!(operator.states(), [RemediationState::Injecting]);
    }
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_a_window_as_any_other_rollout() {
    // The first one is open for an hour from now on, and again a day later.
    let window = json!({ "schedule": "0 8 * * *", "durationSeconds": 3600 });
    let cluster = cluster(&["web"]);
    cluster.0.lock().policy["spec"]["remediation"] = json!({ "windows": [window] });
    let operator = Operator::start(&cluster, RemediationConfig::default());
    operator.run(59 * MINUTE).await;
    assert_eq!(operator.states(), [RemediationState::Patched]);
    operator.run(30 * MINUTE).await;
    take_over(&cluster);
    let writes = operator.run(60 * MINUTE).await;
    assert_eq!(of_workloads(&writes), [""; 0]);
    let workload = &operator.status().remediation.unwrap().workloads[0];
    assert_eq!(workload.reason, "Window", "{workload:?}");
    let writes = operator.run(24 * 60 * MINUTE).await;
    assert_eq!(of_workloads(&writes), ["apply web"]);
    assert_eq!(operator.states(), [RemediationState::Injecting]);
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_opted_out_keeps_its_patch() {
    let cluster = cluster(&["web"]);
    let operator = Operator::start(&cluster, RemediationConfig::default());
    operator.run(5 * MINUTE).await;
    take_over(&cluster);
    cluster.0.lock().workloads.get_mut("web").unwrap()["metadata"]["annotations"]["devops.stochastic.io/remediation"] =
        "disabled".into();
    assert_eq!(of_workloads(&operator.run(60 * MINUTE).await), [""; 0]);
    assert!(probe(&cluster).is_object());
}
