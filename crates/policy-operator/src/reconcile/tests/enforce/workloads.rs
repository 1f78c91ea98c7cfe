//! Odd workloads, and those that change.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_name_that_no_object_can_have_is_no_part_of_a_request() {
    let cluster = cluster(&[]);
    let mut operator = Operator::start(&cluster, RemediationConfig::default());
    let names = ["../../../bank/statefulsets/db", "db?watch=true", "db/status", "", "a b", "d%62"];
    for (number, name) in names.into_iter().enumerate() {
        let mut forged = pod("web", &json!({ "phase": "Running" }));
        forged.metadata.name = Some(format!("web-{number}"));
        let owner = &mut forged.metadata.owner_references.as_mut().unwrap()[0];
        (owner.kind, owner.name) = ("StatefulSet".to_owned(), name.to_owned());
        operator.pods.applied(forged);
    }
    operator.run(30 * MINUTE).await;
    let paths = std::mem::take(&mut cluster.0.lock().paths);
    assert!(
        !paths.is_empty() && !paths.iter().any(|path| path.contains("statefulsets")),
        "{paths:?}"
    );
    let workloads = operator.status().remediation.unwrap().workloads;
    assert!(workloads.iter().all(|workload| workload.reason == "Unreadable"), "{workloads:?}");
}

#[tokio::test(start_paused = true)]
async fn an_injection_follows_its_policy_and_its_workload() {
    let cluster = cluster(&["web"]);
    {
        let mut state = cluster.0.lock();
        state.policy["spec"]["requireLivenessProbe"] = true.into();
        let web = state.workloads.get_mut("web").unwrap();
        web["metadata"]["annotations"] = json!({ "meta.helm.sh/release-name": "web" });
    }
    let mut operator = Operator::start(&cluster, RemediationConfig::default());
    operator.reconcile().await;
    let injected = |operator: &Operator| {
        let mut status = operator.status();
        let workload = status.remediation.as_mut().unwrap().workloads.remove(0);
        assert_eq!(workload.state, RemediationState::Injecting);
        (workload.fields.join(""), status.remediations_applied)
    };
    let (fields, applied) = injected(&operator);
    assert!(fields.contains("livenessProbe=") && fields.contains("readinessProbe="), "{fields}");
    assert_eq!(applied, Some(1));
    // The policy no longer asks for one of the probes, and for another port of the other.
    let mut policy = cluster.0.lock().policy.clone();
    policy["spec"]["requireLivenessProbe"] = false.into();
    policy["spec"]["defaultProbe"] = json!({ "tcpPort": 8080, "periodSeconds": 20 });
    policy["metadata"]["generation"] = 2.into();
    cluster.0.lock().policy = policy.clone();
    operator.policies.applied(serde_json::from_value(policy).unwrap());
    operator.run(MINUTE).await;
    let line = "web: readinessProbe=tcp:8080,delay=5,period=20,failures=3";
    assert_eq!(injected(&operator), (line.to_owned(), Some(1)));
    // Another workload of that name is injected into by a decision of its own.
    cluster.0.lock().workloads.get_mut("web").unwrap()["metadata"]["uid"] = "u-other".into();
    operator.run(30 * MINUTE).await;
    assert_eq!(injected(&operator), (line.to_owned(), Some(2)));
}

/// The controller of a workload writes its status after the last event of a pod, and nothing tells of it.
#[tokio::test(start_paused = true)]
async fn a_workload_that_was_about_to_be_ready_is_patched_soon() {
    let cluster = cluster(&["web"]);
    let ready = |number: i64| {
        let mut state = cluster.0.lock();
        state.workloads.get_mut("web").unwrap()["status"]["readyReplicas"] = number.into();
    };
    ready(1);
    let operator = Operator::start(&cluster, RemediationConfig::default());
    operator.run(MINUTE / 6).await;
    assert_eq!(operator.states(), [RemediationState::Proposed]);
    ready(2);
    operator.run(MINUTE / 2).await;
    assert_eq!(operator.states(), [RemediationState::Observing]);
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_stays_unready_is_read_ever_less_often() {
    let cluster = cluster(&["web"]);
    {
        let mut state = cluster.0.lock();
        state.workloads.get_mut("web").unwrap()["status"]["readyReplicas"] = 1.into();
    }
    let operator = Operator::start(&cluster, RemediationConfig::default());
    operator.run(10 * MINUTE).await;
    let before = cluster.0.lock().reads;
    operator.run(60 * MINUTE).await;
    let reads = cluster.0.lock().reads - before;
    assert!((25..=75).contains(&reads), "{reads} in an hour");
    assert_eq!(operator.states(), [RemediationState::Proposed]);
}

#[tokio::test(start_paused = true)]
async fn many_starts_in_a_namespace_do_not_use_up_the_time_of_its_observations() {
    let names: Vec<String> = (0..300).map(|number| format!("web-{number:03}")).collect();
    let cluster = cluster(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let config = RemediationConfig {
        max_concurrent_per_policy: 1_000,
        max_concurrent: 1_000,
        max_started: 1_000,
        canary: false,
        ..RemediationConfig::default()
    };
    let operator = Operator::start(&cluster, config);
    operator.reconcile().await;
    let written = of_workloads(&cluster.writes()).len();
    // 128 at once, and those of ten seconds, with a few that had begun.
    assert!((220..260).contains(&written), "{written}");
    let workloads = operator.status().remediation.unwrap().workloads;
    let waiting = workloads.iter().filter(|w| w.state == RemediationState::Waiting);
    assert!(waiting.clone().count() > 100);
    assert!(waiting.clone().all(|workload| workload.reason == "WriteBudget"));
    let writes = operator.run(2 * MINUTE).await;
    let applied = of_workloads(&writes).iter().filter(|w| w.starts_with("apply")).count();
    assert_eq!(applied, 300 - written / 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_filled_in_is_remembered_where_managed_fields_were_cleared() {
    let cluster = cluster(&["web"]);
    let mut operator = Operator::start(&cluster, RemediationConfig::default());
    operator.reconcile().await;
    let clear = || {
        let mut state = cluster.0.lock();
        state.workloads.get_mut("web").unwrap()["metadata"]["managedFields"] = json!([]);
    };
    clear();
    operator.run(MINUTE / 2).await;
    assert_eq!(operator.states(), [RemediationState::Observing], "its rollout is observed on");
    operator.pods.applied(restarted("web"));
    let writes = operator.run(MINUTE / 2).await;
    assert_eq!(operator.states(), [RemediationState::Reverted], "{writes:?}");
    // The owner changes the template: it is patched again, and that does well.
    operator.pods.applied(pod("web", &json!({ "phase": "Running" })));
    {
        let mut state = cluster.0.lock();
        let web = state.workloads.get_mut("web").unwrap();
        let container = web.pointer_mut("/spec/template/spec/containers/0").unwrap();
        container.as_object_mut().unwrap().remove("readinessProbe");
        container["image"] = "nginx:2".into();
    }
    operator.run(40 * MINUTE).await;
    assert_eq!(operator.states(), [RemediationState::Patched]);
    clear();
    operator.run(60 * MINUTE).await;
    let workload = &operator.status().remediation.unwrap().workloads[0];
    assert_eq!(workload.state, RemediationState::Patched);
    assert_eq!(workload.fields.len(), 1, "revert has no other record");
}

#[tokio::test(start_paused = true)]
async fn what_the_owner_has_as_well_stays_where_managed_fields_were_cleared() {
    let cluster = cluster(&["web"]);
    let mut operator = Operator::start(&cluster, RemediationConfig::default());
    operator.reconcile().await;
    let probe = {
        let mut state = cluster.0.lock();
        let web = state.workloads.get_mut("web").unwrap();
        web["metadata"]["managedFields"] = json!([]);
        let containers = web["spec"]["template"]["spec"]["containers"].clone();
        let manifest = json!({ "spec": { "template": { "spec": { "containers": containers } } } });
        web["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
            manifest.to_string().into();
        containers[0]["readinessProbe"].clone()
    };
    assert!(probe.is_object());
    operator.pods.applied(restarted("web"));
    operator.run(MINUTE / 2).await;
    let web = cluster.0.lock().workloads["web"].clone();
    assert_eq!(web["spec"]["template"]["spec"]["containers"][0]["readinessProbe"], probe);
}
