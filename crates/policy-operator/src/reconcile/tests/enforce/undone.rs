//! What was taken back, or undone by the owner.

use super::*;

/// As `rollout undo` does: an update of the template, which leaves to the operator the keys of the
/// containers and its annotation.
fn undo(cluster: &Cluster, probe: &Value) {
    let mut state = cluster.0.lock();
    let web = state.workloads.get_mut("web").unwrap();
    web["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = probe.clone();
    for entry in web["metadata"]["managedFields"].as_array_mut().unwrap() {
        let ours = "/fieldsV1/f:spec/f:template/f:spec/f:containers/k:{\"name\":\"web\"}";
        let ours = entry.pointer_mut(ours).and_then(Value::as_object_mut).unwrap();
        ours.remove("f:readinessProbe");
    }
}

#[tokio::test(start_paused = true)]
async fn who_undoes_the_patch_has_the_last_word_and_gets_the_empty_keys() {
    let cluster = cluster(&["web"]);
    let operator = Operator::start(&cluster, RemediationConfig::default());
    operator.reconcile().await;
    let filled_in = &cluster.0.lock().workloads["web"]["spec"]["template"]["spec"]["containers"][0]
        ["readinessProbe"]
        .clone();
    cluster.writes();
    undo(&cluster, &Value::Null);
    let writes = operator.run(MINUTE / 4).await;
    assert_eq!(of_workloads(&writes), ["apply web"], "the release of the keys");
    assert_eq!(cluster.0.lock().workloads["web"]["metadata"]["managedFields"], json!([]));
    assert_eq!(operator.states(), [RemediationState::Withdrawn]);
    // Undone twice more: the patch is back, and gone.
    undo(&cluster, filled_in);
    assert_eq!(of_workloads(&operator.run(30 * MINUTE).await), [""; 0]);
    undo(&cluster, &Value::Null);
    assert_eq!(of_workloads(&operator.run(30 * MINUTE).await), [""; 0]);
    assert_eq!(operator.states(), [RemediationState::Withdrawn]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_and_a_scale_to_zero_make_nothing_forgotten() {
    let cluster = cluster(&["web"]);
    let mut operator = Operator::start(&cluster, RemediationConfig::default());
    operator.reconcile().await;
    operator.pods.applied(restarted("web"));
    operator.run(MINUTE / 4).await;
    // Paused, and scaled to zero, in between.
    for (field, value, back) in
        [("paused", json!(true), json!(false)), ("replicas", json!(0), json!(2))]
    {
        for value in [value, back] {
            cluster.0.lock().workloads.get_mut("web").unwrap()["spec"][field] = value;
            let writes = operator.run(30 * MINUTE).await;
            assert_eq!(of_workloads(&writes), [""; 0]);
            assert_eq!(operator.states(), [RemediationState::Reverted]);
        }
    }
}
