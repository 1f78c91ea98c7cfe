//! Replicas of one workload that run different images under the same name.

use std::time::Duration;

use e2e::{Parts, Service, Testbed};
use serde_json::{Value, json};

use super::cluster::apply_cluster_policy;
use super::{apply_policy, deploy_web, installed, start, wait_for_status};
use crate::cli;

/// A Deployment of two pods, once both run: their names.
fn deploy(testbed: &Testbed, namespace: &str) -> Vec<String> {
    deploy_web(testbed, namespace);
    let names = || {
        let running =
            "jsonpath={range .items[?(@.status.phase==\"Running\")]}{.metadata.name} {end}";
        let names =
            testbed.kubectl(&["get", "pods", "-n", namespace, "-o", running])?.succeeded()?;
        let names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
        Ok((names.len() == 2).then_some(names))
    };
    e2e::wait_for("two pods", Duration::from_secs(60), names).unwrap()
}

/// The node of a pod says which image it pulled.
fn pull(testbed: &Testbed, namespace: &str, pod: &str, digit: &str) {
    let status = json!({ "status": { "containerStatuses": [{
        "name": "c", "image": "nginx:1.27", "ready": true, "restartCount": 0,
        "imageID": format!("docker.io/library/nginx@sha256:{}", digit.repeat(64)),
    }] } });
    let status = status.to_string();
    let patch = ["patch", "pod", pod, "-n", namespace, "--subresource=status", "-p", &status];
    testbed.kubectl(&patch).unwrap().succeeded().unwrap();
}

/// The notes of a policy once there are so many.
fn wait_for_notes(
    testbed: &Testbed,
    operator: &Service<'_>,
    place: (&str, &str),
    notes: usize,
) -> Value {
    let of = |status: &Value| status["notes"].as_array().map_or(0, Vec::len);
    let is_there = |status: &Value| status["podsEvaluated"] == 2 && of(status) == notes;
    wait_for_status(testbed, operator, place, is_there)["status"]["notes"].take()
}

#[test]
fn replicas_that_run_different_images_are_noted_until_they_run_the_same() {
    let (testbed, kubeconfig) = installed(&Parts::new("images").with_controllers().with_nodes(1));
    let operator = start(&testbed, "operator", &kubeconfig);
    let shop = testbed.namespace("shop").unwrap();
    apply_policy(&testbed, &shop, "health", "{forbidLatestTag: true}");
    apply_cluster_policy(&testbed, "platform", "{forbidLatestTag: true}");
    let (own, of_cluster) = ((&*shop, "health"), ("", "platform"));
    let pods = deploy(&testbed, &shop);
    let analysis = || cli::analysis(&testbed, &["-n", &shop])["coverage"]["notes"].clone();
    for pod in &pods {
        pull(&testbed, &shop, pod, "a");
    }
    assert_eq!(analysis(), Value::Null, "both run the same");

    pull(&testbed, &shop, &pods[1], "b");
    let differ = "Deployment/web: container c: the pods run different images as nginx:1.27:";
    for (place, prefix) in [(own, String::new()), (of_cluster, format!("{shop}/"))] {
        let notes = wait_for_notes(&testbed, &operator, place, 1);
        let text = notes[0].as_str().unwrap();
        assert!(text.starts_with(&format!("{prefix}{differ} sha256:")), "{text}");
        assert!(
            text.contains(" sha256:aaaaaaaaaaaa, ") && text.contains("pin nginx@sha256:"),
            "{text}"
        );
    }
    // policyctl says the same, with the number of pods.
    let found = analysis();
    assert_eq!(found[0]["source"], format!("{shop} Deployment/web"));
    let text = found[0]["message"].as_str().unwrap();
    for part in
        ["sha256:aaaaaaaaaaaa in 1 pod,", "sha256:bbbbbbbbbbbb in 1 pod,", "pin nginx@sha256:"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    let table = cli::expect(&testbed, 0, &["analyze", "-n", &shop], "");
    assert!(table.contains(&format!("{shop} {differ}")), "{table}");

    pull(&testbed, &shop, &pods[0], "b");
    for place in [own, of_cluster] {
        wait_for_notes(&testbed, &operator, place, 0);
    }
    assert_eq!(analysis(), Value::Null);
}
