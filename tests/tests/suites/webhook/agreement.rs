//! One verdict: what the webhook says, `policyctl admit`, `policyctl analyze -f` and the operator
//! say as well, of a namespaced policy with exemptions and of a cluster policy beside it, both with custom
//! checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use e2e::{Parts, Run, service_binary};
use serde_json::{Value, json};

use super::workload_kinds::CONFIGURED;
use super::{AdmissionTestbed, KINDS, SURELY, policy, program};
use crate::cli;

const SPEC: &str = "{forbidLatestTag: true, requireLivenessProbe: true, \
    requireReadinessProbe: true, requireResources: true, maxRestartCount: 3, \
    severityOverrides: {latestTag: critical, missingLiveness: high}, exemptions: [\
    {checks: [latest-tag], workload: {kind: Pod, name: pod-1}, reason: a pod}, \
    {checks: [latest-tag, missing-liveness], workload: {kind: Deployment, name: deployment-2}, \
     container: first, reason: one of its containers}, \
    {checks: [custom/own-registry], workload: {kind: Pod, name: pod-4}, reason: a custom check}, \
    {checks: [missing-resources], workload: {kind: Rollout, name: rollout-3}, reason: a kind of our own}], custom: [\
    {name: own-registry, severity: high, \
     expression: \"object.spec.containers.all(c, c.image.startsWith('reg:5000/'))\", \
     messageExpression: \"'the first image is ' + object.spec.containers[0].image\"}, \
    {name: few-containers, severity: low, \
     expression: \"object.spec.containers.size() < 2 || !has(object.spec.initContainers)\"}]}";

/// Denies more than the other policy, and exempts less.
const CLUSTER_SPEC: &str = "{requireLivenessProbe: true, requireResources: true, \
    severityOverrides: {missingResources: high, missingLiveness: low}, exemptions: [\
    {checks: [missing-liveness], workload: {kind: ScaledJob, name: scaledjob-5, namespace: elsewhere}, \
     reason: another namespace}], custom: [\
    {name: no-sidecar, severity: critical, expression: \"!has(object.spec.initContainers) || \
     object.spec.initContainers.all(c, !has(c.restartPolicy) || c.restartPolicy != 'Always')\"}]}";

/// A container for each combination of image, probes and resources.
fn containers() -> Vec<Value> {
    let probe = json!({ "tcpSocket": { "port": 80 } });
    let images = ["nginx", "nginx:latest", "reg:5000/nginx:1.27", "nginx@sha256:12"];
    let probes = [
        json!({}),
        json!({ "livenessProbe": probe }),
        json!({ "livenessProbe": probe, "readinessProbe": probe }),
    ];
    let resources = [
        json!({}),
        json!({ "limits": { "cpu": "1" } }),
        json!({ "limits": { "cpu": "1", "memory": "64Mi" } }),
        json!({ "requests": { "cpu": "1", "memory": "64Mi" } }),
        json!({ "requests": { "cpu": "0" }, "limits": { "memory": "0" } }),
    ];
    let mut all = Vec::new();
    for image in images {
        for probes in &probes {
            for resources in &resources {
                let mut container = probes.clone();
                container["image"] = json!(image);
                container["resources"] = resources.clone();
                all.push(container);
            }
        }
    }
    all
}

/// An object of each kind for some of the containers, alone and beside another.
pub(super) fn corpus(namespace: &str, kinds: &[&str]) -> Vec<Value> {
    let containers = containers();
    let mut corpus = Vec::new();
    for (number, container) in containers.iter().enumerate() {
        for kind in kinds {
            let mut first = container.clone();
            first["name"] = json!("first");
            let mut pod = json!({ "containers": [first] });
            let mut other = containers[number * 7 % containers.len()].clone();
            other["name"] = json!("other");
            match number % 4 {
                1 => pod["containers"] = json!([first, other]),
                2 => {
                    // The API server takes no probes of what runs to its end.
                    other.as_object_mut().unwrap().retain(|field, _| !field.ends_with("Probe"));
                    pod["initContainers"] = json!([other]);
                }
                3 => {
                    other["restartPolicy"] = json!("Always");
                    pod["initContainers"] = json!([other]);
                }
                // The feature is off by default before Kubernetes 1.35.
                _ if e2e::selected_release().as_deref() == Some("1.34") => {}
                _ => {
                    let image = json!({ "reference": other["image"] });
                    pod["volumes"] = json!([
                        { "name": "models", "image": image },
                        { "name": "scratch", "emptyDir": {} },
                    ]);
                }
            }
            corpus.push(object(kind, namespace, number, pod));
        }
    }
    corpus
}

fn object(kind: &str, namespace: &str, number: usize, mut pod: Value) -> Value {
    let name = format!("{}-{number}", kind.to_lowercase());
    if kind.ends_with("Job") {
        pod["restartPolicy"] = json!("Never");
    }
    let template = json!({ "metadata": { "labels": { "app": name } }, "spec": pod });
    let (api_version, spec) = match kind {
        "Pod" => ("v1", pod),
        "ReplicationController" => ("v1", json!({ "template": template })),
        "Job" => ("batch/v1", json!({ "template": template })),
        "Rollout" => ("argoproj.io/v1alpha1", json!({ "template": template })),
        "ScaledJob" => {
            let spec = json!({ "jobTargetRef": { "template": template } });
            ("keda.sh/v1alpha1", spec)
        }
        "CronJob" => ("batch/v1", json!({ "jobTemplate": { "spec": { "template": template } } })),
        _ => ("apps/v1", json!({ "template": template })),
    };
    json!({ "apiVersion": api_version, "kind": kind,
        "metadata": { "name": name, "namespace": namespace }, "spec": spec })
}

pub(super) fn review(object: &Value) -> Value {
    let api_version = object["apiVersion"].as_str().unwrap();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": object["metadata"]["name"], "operation": "CREATE",
        "namespace": object["metadata"]["namespace"], "name": object["metadata"]["name"],
        "kind": { "group": group, "version": version, "kind": object["kind"] },
        "userInfo": { "username": "alice" }, "object": object } })
}

/// How many findings of checks that judge at admission each object has, by kind and name.
fn findings(analysis: &Value) -> BTreeMap<String, usize> {
    let at_admission = ["latest-tag", "missing-liveness", "missing-readiness", "missing-resources"];
    let mut counts = BTreeMap::new();
    for finding in analysis["findings"].as_array().unwrap() {
        let check = finding["check"].as_str().unwrap();
        let key = format!("{} {}", finding["kind"], finding["name"]);
        let counts_there = at_admission.contains(&check) || check.starts_with("custom/");
        *counts.entry(key).or_default() += usize::from(counts_there);
    }
    counts
}

/// Each policy and check by which an answer denies an object. A file does not say what a `LimitRange`
/// fills in, so missing resources deny nothing there.
fn denied_by(said: &Value) -> BTreeSet<(String, String, String)> {
    let lines = said["message"].as_str().unwrap_or_default().lines();
    let denied = lines.map(|line| {
        let policy = line.strip_prefix("denied by policy ").unwrap().split(": ").next().unwrap();
        let check = line.rsplit_once("(check ").unwrap().1.split(',').next().unwrap();
        let object = format!("{} {}", said["kind"], said["name"]);
        (policy.to_owned(), object, check.to_owned())
    });
    denied.filter(|(.., check)| check != "missing-resources").collect()
}

/// The same of a report by one policy.
fn reported(policy: &str, report: &Value) -> BTreeSet<(String, String, String)> {
    let objects = report["denied"]["objects"].as_array().unwrap();
    assert_eq!(report["denied"]["total"], objects.len());
    let checks = objects.iter().flat_map(|object| {
        let checks = object["checks"].as_array().unwrap().iter();
        checks.map(move |check| {
            let name = format!("{} {}", object["kind"], object["name"]);
            (policy.to_owned(), name, check.as_str().unwrap().to_owned())
        })
    });
    checks.collect()
}

#[test]
fn the_webhook_says_what_everybody_says() {
    let admission = AdmissionTestbed::new(&Parts::new("agreement"));
    let testbed = &admission.testbed;
    let shop = testbed.namespace("shop").unwrap();
    let strict = policy(&shop, "strict", SPEC);
    testbed.apply(&strict).unwrap();
    let fleet = format!(
        "{{apiVersion: devops.stochastic.io/v1, kind: ClusterDevOpsPolicy, \
         metadata: {{name: fleet}}, spec: {CLUSTER_SPEC}}}"
    );
    testbed.apply(&fleet).unwrap();
    let write = |name: &str, text: String| {
        let path = testbed.folder().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let kinds = [&KINDS[..], &["Rollout", "ScaledJob"]].concat();
    let corpus = corpus(&shop, &kinds);
    assert!(corpus.len() >= 600 && kinds.len() >= 10, "{} of {}", corpus.len(), kinds.len());
    let list = |objects: &[&Value]| json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    let file = write("corpus.json", list(&corpus.iter().collect::<Vec<_>>()).to_string());
    let policy_files = [write("strict.yaml", strict), write("fleet.yaml", fleet)];
    let policies = ["DevOpsPolicy", "ClusterDevOpsPolicy"].into_iter().zip(["strict", "fleet"]);
    let analyses = |file: &str| {
        let by = |policy: &String| {
            let analyze = ["analyze", "-f", file, "--policy", policy, "--fail-on", "denied"];
            let more = ["-o", "json", "--workload-kind", CONFIGURED];
            let run = cli::run(testbed.kubeconfig(), &[&analyze[..], &more].concat(), "");
            assert_eq!(run.code, Some(1), "{run:?}");
            serde_json::from_str(&run.stdout).unwrap()
        };
        policy_files.iter().map(by).collect::<Vec<Value>>()
    };

    // policyctl, by the policies of the cluster.
    let admit = ["admit", "-f", &file, "-o", "json", "--workload-kind", CONFIGURED];
    let Run { stdout, .. } = cli::run(testbed.kubeconfig(), &admit, "");
    let said: Value = serde_json::from_str(&stdout).unwrap();
    let said = said["objects"].as_array().unwrap();
    assert_eq!(said.len(), corpus.len());
    let webhook = admission.start("webhook", program(), &[("GOV_WORKLOAD_KINDS", CONFIGURED)]);
    for (object, said) in corpus.iter().zip(said) {
        assert_eq!(said["name"], object["metadata"]["name"]);
        let (status, body) = webhook.post("/validate", &review(object).to_string()).unwrap();
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        let answer = &answer["response"];
        assert_eq!(answer["allowed"], json!(said["outcome"] != "denied"), "{object}\n{said}");
        assert_eq!(answer["status"]["message"], said["message"], "{object}");
        let warnings = answer.get("warnings").cloned().unwrap_or_else(|| json!([]));
        assert_eq!(warnings, said["warnings"], "{object}");
        let annotations = answer.get("auditAnnotations").cloned().unwrap_or_else(|| json!({}));
        assert_eq!(annotations, said["auditAnnotations"], "{object}");
    }

    // The reports of the same file, finding by finding.
    let reports = analyses(&file);
    let mut found = findings(&reports[0]);
    for (object, number) in findings(&reports[1]) {
        *found.entry(object).or_default() += number;
    }
    let exempted: Vec<_> =
        reports.iter().map(|report| &report["summary"]["exemptedViolations"]).collect();
    assert!(exempted[0].as_u64() >= Some(4) && exempted[1].is_null(), "{exempted:?}");
    for said in said {
        let lines = said["message"].as_str().map_or(0, |message| message.lines().count());
        let lines = lines + said["warnings"].as_array().unwrap().len();
        let key = format!("{} {}", said["kind"], said["name"]);
        assert_eq!(lines, found.get(&key).copied().unwrap_or(0), "{said}");
    }
    let denied: BTreeSet<_> = said.iter().flat_map(denied_by).collect();
    let names = [format!("{shop}/strict"), "ClusterDevOpsPolicy/fleet".to_owned()];
    let reported = names.iter().zip(&reports).flat_map(|(policy, report)| reported(policy, report));
    assert_eq!(reported.collect::<BTreeSet<_>>(), denied);
    assert!(denied.len() > 1000, "{}", denied.len());

    // The operator, of the pods that are really there.
    let pods: Vec<_> = corpus.iter().filter(|object| object["kind"] == "Pod").collect();
    testbed.apply(&list(&pods).to_string()).unwrap();
    let pods_file = write("pods.json", list(&pods).to_string());
    let reports = analyses(&pods_file);
    let kubeconfig = testbed.account_kubeconfig("kube-devops", "policy-operator").unwrap();
    let operator = testbed
        .service("operator", &service_binary("policy-operator").unwrap())
        .kubeconfig(&kubeconfig)
        .start()
        .unwrap();
    for ((kind, name), report) in policies.zip(&reports) {
        let summary = &report["summary"];
        let mut status = Value::Null;
        let agrees = testbed.wait_for("the operator to agree", SURELY, || {
            let get = ["get", kind, name, "-n", &shop, "-o", "json"];
            let judged: Value = serde_json::from_str(&testbed.kubectl(&get)?.succeeded()?)?;
            status = judged["status"].clone();
            let exempted = |of: &Value| of["exemptedViolations"].as_u64().unwrap_or_default();
            Ok(status["violationsByCheck"] == summary["violationsByCheck"]
                && status["podsEvaluated"] == summary["pods"]
                && exempted(&status) == exempted(summary))
        });
        assert!(agrees.is_ok(), "{summary:#}\n{status:#}\n{}", operator.logs().unwrap());
    }
}
