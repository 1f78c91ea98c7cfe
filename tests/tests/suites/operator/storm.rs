//! After any storm, and after faults of the API server, the status is what `policyctl analyze`
//! finds.

use std::thread::sleep;
use std::time::Duration;

use e2e::{Parts, Service, Signal, Testbed};
use serde_json::{Value, json};

use super::{SURELY, apply_policy, installed, is_leader, policy, start};
use crate::cli;
use crate::watcher::storm::{client, storm};

const SPEC: &str = "{forbidLatestTag: true, requireLivenessProbe: true, requireResources: true, \
                    maxRestartCount: 2, restartWindow: 20, forbidPendingDuration: 3, \
                    forbidNotReadyDuration: 20, weights: {missingResources: 2}}";

/// Waits until the status of each policy is what an analysis of its namespace finds.
fn assert_agree(testbed: &Testbed, namespaces: &[String], operators: &[&Service<'_>]) {
    let file = testbed.folder().join("strict.yaml");
    let text = format!(
        "{{apiVersion: devops.stochastic.io/v1, kind: DevOpsPolicy, metadata: {{name: strict}}, \
         spec: {SPEC}}}"
    );
    std::fs::write(&file, text).unwrap();
    for namespace in namespaces {
        let both = || {
            let arguments = ["--policy", file.to_str().unwrap(), "-n", namespace];
            let found = cli::analysis(testbed, &arguments)["summary"].clone();
            let status = policy(testbed, namespace, "strict")["status"].clone();
            let reported = json!({
                "pods": status["podsEvaluated"],
                "score": status["healthScore"],
                "total": status["totalViolations"],
                "checks": status["violationsByCheck"],
            });
            let found = json!({
                "pods": found["pods"],
                "score": found["score"],
                "total": found["totalViolations"],
                "checks": found["violationsByCheck"],
            });
            (reported, found)
        };
        // What is found changes from second to second: both are asked until they agree.
        let mut last = (Value::Null, Value::Null);
        let agree = testbed.wait_for("both to agree", 2 * SURELY, || {
            last = both();
            Ok(last.0 == last.1)
        });
        let (reported, found) = last;
        let logs: Vec<String> = operators.iter().map(|operator| operator.logs().unwrap()).collect();
        assert_eq!(reported, found, "{agree:?}\n{}", logs.join("\n"));
    }
}

#[test]
fn the_status_is_what_an_analysis_finds_after_any_storm() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (testbed, kubeconfig) = installed(&Parts::new("statuses"));
    let namespaces: Vec<String> = (0..4).map(|_| testbed.namespace("storm").unwrap()).collect();
    for namespace in &namespaces {
        apply_policy(&testbed, namespace, "strict", SPEC);
    }
    let client = runtime.block_on(client(&testbed));
    let [a, b] = ["operator-a", "operator-b"].map(|name| start(&testbed, name, &kubeconfig));
    let storm_of = |changes: usize, seed: u64| {
        let accepted = runtime.block_on(storm(client.clone(), &namespaces, changes, seed));
        assert!(accepted > changes / 5, "{accepted} of {changes} changes were accepted");
    };
    storm_of(2_000, 11);
    assert_agree(&testbed, &namespaces, &[&a, &b]);

    // The leader crashes during a storm; only its successor exports scores.
    testbed.wait_for("a leader", SURELY, || Ok(is_leader(&a) || is_leader(&b))).unwrap();
    let (leader, successor) = if is_leader(&a) { (a, b) } else { (b, a) };
    let scores = |operator: &Service<'_>| {
        operator.metrics().is_ok_and(|metrics| metrics.has("devopspolicy_health_score"))
    };
    assert!(scores(&leader) && !scores(&successor));
    std::thread::scope(|threads| {
        let storm = threads.spawn(|| storm_of(2_000, 12));
        sleep(Duration::from_secs(2));
        leader.signal(Signal::Kill).unwrap();
        storm.join().unwrap();
    });
    testbed
        .wait_for("the successor to become the leader", SURELY, || Ok(is_leader(&successor)))
        .unwrap();
    assert_agree(&testbed, &namespaces, &[&successor]);
    assert!(scores(&successor));

    // The API server is killed during a storm, and started again.
    std::thread::scope(|threads| {
        let storm = threads.spawn(|| storm_of(2_000, 13));
        sleep(Duration::from_secs(2));
        testbed.kill_api_server().unwrap();
        testbed.restart_api_server().unwrap();
        storm.join().unwrap();
    });
    assert_agree(&testbed, &namespaces, &[&successor]);
    // What failed meanwhile was retried some times, not some thousand.
    let metrics = successor.metrics().unwrap();
    for class in ["conflict", "forbidden", "invalid", "transient"] {
        let errors = metrics.value("devopspolicy_reconcile_errors_total", &[("class", class)]);
        assert!(errors.is_some_and(|errors| errors < 200.0), "{class}: {errors:?}");
    }
    let states: Value = serde_json::from_str(&successor.get("/debug/state").unwrap().1).unwrap();
    assert_eq!(states["policies"], 4, "{states}");
}
