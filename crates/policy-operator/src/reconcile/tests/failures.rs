//! Writes that are refused, fail or take long.

use super::*;

#[tokio::test(start_paused = true)]
async fn failures_have_a_class_and_are_retried() {
    let mut world = World::new();
    for (code, class) in [
        (409, ErrorClass::Conflict),
        (403, ErrorClass::Forbidden),
        (422, ErrorClass::Invalid),
        (429, ErrorClass::Transient),
        (500, ErrorClass::Transient),
    ] {
        world.server.refuse(&[code]);
        let (policy, status) = (world.view(), DevOpsPolicyStatus::default());
        let failed = world.reconciler.writer.status(&policy, &status).await.unwrap_err();
        assert_eq!(failed.class(), class);
        let message = "cannot write the status of policy shop/strict: refused";
        assert_eq!(failed.to_string(), message);
    }
    world.server.writes();
    world.server.refuse(&[409, 429, 500]);
    // With all of their jitter the three delays take 6.2 s.
    let writes = world.run(10 * SECOND).await;
    assert_eq!(count("PATCH status", &writes), 4, "{writes:?}");
    // The policy is deleted while it is judged: nothing is left to write.
    world.pod("web", "nginx", "Running", 0);
    world.server.refuse(&[404]);
    let writes = world.run(5 * SECOND).await;
    assert_eq!(count("PATCH status", &writes), 1, "{writes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_always_changes_does_not_hurry_a_refused_write() {
    let mut world = World::new();
    world.server.refuse(&[403; 100]);
    let mut tries = 0;
    for number in 0..600 {
        world.pod(&format!("web-{number}"), "nginx", "Running", 0);
        tries += world.run(SECOND / 10).await.len();
    }
    assert!((2..=4).contains(&tries), "{tries} tries in a minute");
    world.change_policy(|policy| policy["metadata"]["generation"] = json!(2));
    assert_eq!(world.run(SECOND / 10).await.len(), 1, "a changed spec is tried at once");
}

#[tokio::test(start_paused = true)]
async fn a_verdict_whose_minute_is_taken_is_written_in_the_next() {
    let mut world = World::new();
    world.run(MINUTE / 2).await;
    // Another replica wrote another verdict of this minute.
    world.server.refuse(&[409]);
    let writes = world.run(3 * MINUTE).await;
    assert_eq!(count("POST policyauditresults", &writes), 2, "{writes:?}");
}

/// Otherwise what changes during a slow write would be late by the time of that write.
#[tokio::test(start_paused = true)]
async fn the_pause_after_a_status_counts_from_the_judgement() {
    let mut world = World::new();
    world.run(2 * MINUTE).await;
    world.pod("web", "nginx", "Running", 0);
    world.server.0.lock().delay = PACE / 4;
    let outcome = world.reconciler.reconcile(&key()).await;
    assert_eq!(outcome.pause, PACE * 3 / 4);
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_is_refused_is_told_once_in_an_event() {
    let mut world = World::new();
    world.run(MINUTE).await;
    let set = |world: &mut World, generation: i64, schedule: &str| {
        world.change_policy(|policy| {
            policy["metadata"]["generation"] = generation.into();
            let window = json!({ "schedule": schedule, "durationSeconds": 3_600 });
            policy["spec"]["remediation"] = json!({ "windows": [window] });
        });
    };
    set(&mut world, 2, "0 25 * * *");
    let writes = world.run(30 * MINUTE).await;
    assert_eq!(count("POST events", &writes), 1, "{writes:?}");
    let message = world.policy()["status"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("spec.remediation.windows[0].schedule: hour `25`"), "{message}");
    set(&mut world, 3, "0 26 * * *");
    assert_eq!(count("POST events", &world.run(MINUTE).await), 1, "that is another fault");
    set(&mut world, 4, "0 2 * * *");
    world.run(MINUTE).await;
    let status = &world.policy()["status"];
    assert_eq!(status["conditions"][0]["status"], "True", "{status:#}");
}

#[tokio::test(start_paused = true)]
async fn a_terminating_namespace_is_no_error() {
    let world = World::new();
    let terminating = json!({
        "status": "Failure", "code": 403, "reason": "Forbidden", "message": "it is terminating",
        "details": { "causes": [{ "reason": "NamespaceTerminating", "message": "it is" }] },
    });
    let service = tower::service_fn(move |_: Request<Body>| {
        let mut response =
            Response::new(Full::new(hyper::body::Bytes::from(terminating.to_string())));
        *response.status_mut() = http::StatusCode::FORBIDDEN;
        async move { Ok::<_, Infallible>(response) }
    });
    let (gate_control, gate) = GateControl::for_test();
    gate_control.open();
    let writer = Writer::new(Client::new(service, "default"), gate, WriteBudget::default());
    let verdict = crate::audit_result::samples::waiting(7);
    let result = crate::audit_result::object(&world.view(), "shop", &verdict);
    assert!(writer.audit_result(&key(), &result).await.unwrap());
    let status = writer.status(&world.view(), &DevOpsPolicyStatus::default()).await.unwrap();
    assert!(status.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_status_of_a_policy_that_cannot_be_decoded_has_no_old_numbers() {
    let mut world = World::new();
    world.pod("web", "nginx", "Running", 0);
    world.run(SECOND).await;
    assert_eq!(world.policy()["status"]["healthScore"], 95);
    world.change_policy(|policy| {
        policy["spec"] = json!({ "maxRestartCount": "many" });
        policy["metadata"]["generation"] = json!(2);
    });
    world.run(SECOND).await;
    let status = &world.policy()["status"];
    assert_eq!([&status["healthScore"], &status["violations"]], [&Value::Null; 2]);
    assert!(status.as_object().unwrap().contains_key("healthScore"), "removed by name");
    assert_eq!(status["conditions"][0]["reason"], "Undecodable");
}
