//! An exemption whose workloads a selector selects: files, webhook, operator and policyctl of a cluster
//! say the same, and follow the labels of the workload.

use std::fs;
use std::time::{Duration, Instant};

use e2e::Parts;
use serde_json::{Value, json};

use super::exemptions::{deployment, pod_of_web, policy, spec};
use super::{AdmissionTestbed, SURELY, program};
use crate::{cli, operator};

/// Within a second, on an idle machine.
const SOON: Duration = Duration::from_secs(30);

fn labelled(mut object: Value) -> String {
    object["metadata"]["labels"]["tier"] = "legacy".into();
    object.to_string()
}

/// A pod that nothing controls.
fn bare_pod(namespace: &str, name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": namespace },
        "spec": { "containers": [{ "name": "c", "image": "nginx" }] } })
}

#[test]
fn a_selector_follows_the_labels_of_the_workload() {
    let admission = AdmissionTestbed::new(&Parts::new("exemptions-by-labels"));
    let testbed = &admission.testbed;
    let shop = testbed.namespace("shop").unwrap();
    // The template and the pods have the label; the Deployment has not.
    let mut web = deployment(&shop, "web");
    web["spec"]["selector"]["matchLabels"]["tier"] = "legacy".into();
    web["spec"]["template"]["metadata"]["labels"]["tier"] = "legacy".into();
    let of_web = serde_json::from_str(&pod_of_web(&shop, "web-5d8-a")).unwrap();
    for object in [web.to_string(), labelled(of_web), labelled(bare_pod(&shop, "other"))] {
        testbed.apply(&object).unwrap();
    }
    let exempting = policy(
        &shop,
        &spec(&json!([{ "checks": ["latest-tag"], "reason": "its registry has no tags",
            "selector": { "matchLabels": { "tier": "legacy" } } }])),
    );
    let operators = testbed.account_kubeconfig("kube-devops", "policy-operator").unwrap();
    let webhook = admission.start("webhook", program(), &[]);
    let running = operator::start(testbed, "operator", &operators);
    testbed.apply(&exempting).unwrap();
    admission.install(&webhook);
    admission.wait_until_denied(&shop);
    let wait_for = |counted: u64, exempted: u64| {
        let since = Instant::now();
        let mut status = Value::Null;
        let found = testbed.wait_for("the status", SURELY, || {
            status = operator::policy(testbed, &shop, "strict")["status"].take();
            Ok(status["totalViolations"] == counted && status["exemptedViolations"] == exempted)
        });
        assert!(found.is_ok(), "{found:?}\n{status:#}\n{}", running.logs().unwrap());
        (since.elapsed(), status)
    };
    let condition = |status: &Value| {
        let conditions = status["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|condition| condition["type"] == "Exemptions").unwrap();
        [&found["reason"], &found["message"]].map(|part| part.as_str().unwrap().to_owned())
    };
    let file = testbed.folder().join("policy.yaml");
    fs::write(&file, &exempting).unwrap();
    let file = file.to_str().unwrap();
    let analyzed = || {
        let summary = cli::analysis(testbed, &["--policy", file])["summary"].take();
        [summary["totalViolations"].clone(), summary["exemptedViolations"].clone()]
    };
    let (_, status) = wait_for(2, 0);
    let unused =
        "spec.exemptions[0] (selector tier=legacy) exempts nothing: there is no such finding";
    assert_eq!(condition(&status), ["Unused", unused], "neither pods nor templates exempt");
    assert_eq!(analyzed(), [json!(2), Value::Null]);

    let label = |label: &str| {
        let run = testbed.kubectl(&["label", "deployment/web", label, "-n", &shop]).unwrap();
        run.succeeded().unwrap();
    };
    let mut times = Vec::new();
    for _ in 0..5 {
        label("tier=legacy");
        let (took, status) = wait_for(1, 1);
        assert!(took < SOON, "{took:?}");
        assert_eq!(condition(&status), ["InUse", "1 exemption in use"]);
        assert_eq!(
            status["exempted"],
            json!([
                "Deployment/web: uses :latest image tag (container c, 1 pod); exempted: its registry has no tags"
            ])
        );
        times.push(took);
        if times.len() == 1 {
            assert_eq!(analyzed(), [json!(1), json!(1)]);
            let explained = cli::json(testbed, &["explain", "strict", "-n", &shop], "");
            assert_eq!(explained["exempted"].as_array().unwrap().len(), 1, "{explained:#}");
        }
        label("tier-");
        let (took, _) = wait_for(2, 0);
        assert!(took < SOON, "{took:?}");
        times.push(took);
    }
    times.sort();
    let (median, longest) = (times[times.len() / 2], times.last());
    e2e::say(&format!("label to status: median {median:?}, longest {longest:?}"));

    // Webhook and files judge an object by its own labels.
    let template = {
        let mut template = deployment(&shop, "template");
        template["spec"]["template"]["metadata"]["labels"]["tier"] = "legacy".into();
        template.to_string()
    };
    for (object, is_exempted) in [
        (labelled(deployment(&shop, "next")), true),
        (deployment(&shop, "plain").to_string(), false),
        (template, false),
        (labelled(bare_pod(&shop, "bare")), false),
    ] {
        let run = admission.create(&object, &["--dry-run=server"]);
        assert_eq!(run.code == Some(0), is_exempted, "{object}: {run:?}");
        let code = i32::from(!is_exempted);
        cli::expect(testbed, code, &["admit", "-f", "-", "--policy", file], &object);
        let report = cli::json(testbed, &["analyze", "-f", "-", "--policy", file], &object);
        let exempted = report["summary"]["exemptedViolations"].as_u64().unwrap_or_default();
        assert_eq!(exempted == 1, is_exempted, "{object}: {report:#}");
    }
}
