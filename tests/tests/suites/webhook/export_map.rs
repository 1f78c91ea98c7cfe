//! `policyctl export-map`: the API server takes the objects, and pods get what `/mutate` gives.

use e2e::Parts;
use serde_json::{Value, json};

use super::mutate::{dry_run, list_injection, pod_of, wait_until_injected};
use super::{AdmissionTestbed, SURELY, policy, program};
use crate::cli;

/// With an exemption for a container of one workload, and another for a workload that is not there.
const ENFORCE: &str = "{requireReadinessProbe: true, requireLivenessProbe: true, exemptions: [\
    {checks: [missing-readiness, missing-liveness, missing-resources], container: exempted, \
    workload: {kind: Deployment, name: web}, reason: r}, \
    {checks: [missing-readiness], workload: {kind: StatefulSet, name: web-abc}, reason: r}], \
    enforcementMode: enforce, defaultProbe: {tcpPort: 8080}, \
    defaultResources: {cpuRequest: 100m, cpuLimit: 500m, memoryRequest: 64Mi, memoryLimit: 1Gi}}";
const PROBES: &str = "livenessProbe=tcp:9000,delay=5,period=10,failures=9 \
    readinessProbe=tcp:9000,delay=5,period=10,failures=3";
const AMOUNTS: &str = "requests.cpu=100m requests.memory=64Mi limits.cpu=500m";

/// A pod of three containers and two init containers, some of which have some of it.
fn pod(namespace: &str) -> Value {
    let mut pod = pod_of(namespace, "web-abc");
    let http = json!([{ "containerPort": 53, "protocol": "UDP" }, { "containerPort": 9000 }]);
    let own =
        json!({ "httpGet": { "port": 9000 }, "periodSeconds": 60, "initialDelaySeconds": 30 });
    pod["spec"]["containers"] = json!([
        { "name": "web", "image": "web:1", "ports": http },
        { "name": "own", "image": "own:1", "ports": http, "readinessProbe": own,
            "resources": { "requests": { "cpu": "2" }, "limits": { "memory": "1Gi" } } },
        { "name": "exempted", "image": "exempted:1", "ports": http },
        { "name": "silent", "image": "silent:1", "resources": { "limits": { "cpu": "50m" } } },
    ]);
    pod["spec"]["initContainers"] = json!([
        { "name": "setup", "image": "setup:1", "ports": http },
        { "name": "proxy", "image": "proxy:1", "ports": http, "restartPolicy": "Always" },
    ]);
    pod
}

/// What each container has of what is filled in.
fn fields(pod: &Value) -> Vec<Value> {
    let lists = ["containers", "initContainers"].map(|list| pod["spec"][list].as_array().unwrap());
    let fields = ["name", "readinessProbe", "livenessProbe", "resources"];
    let of = |container: &Value| fields.map(|field| container[field].clone()).to_vec().into();
    lists.into_iter().flatten().map(of).collect()
}

#[test]
fn a_pod_gets_the_same_as_from_the_webhook() {
    if e2e::selected_release().as_deref() == Some("1.34") {
        // The kind is served since 1.36.
        return;
    }
    let admission = AdmissionTestbed::new(&Parts::new("export-map"));
    let testbed = &admission.testbed;
    let webhook = admission.start("webhook", program(), &[]);
    admission.install_mutating(&webhook);
    let [by_webhook, by_map] = ["webhook", "map"].map(|name| testbed.namespace(name).unwrap());
    for namespace in [&by_webhook, &by_map] {
        testbed.apply(&policy(namespace, "fill", ENFORCE)).unwrap();
    }
    // What the planner decides on for these containers.
    let own = "own: livenessProbe=tcp:9000,delay=30,period=10,failures=54";
    let lines = [
        format!("web: {PROBES} {AMOUNTS}"),
        own.to_owned(),
        "silent: requests.memory=64Mi".to_owned(),
        format!("proxy: {PROBES} {AMOUNTS}"),
    ];
    list_injection(testbed, &by_webhook, "Injecting", &lines.each_ref().map(String::as_str));
    wait_until_injected(&admission, &by_webhook, true);

    let printed = cli::expect(testbed, 0, &["export-map", "fill", "-n", &by_map], "");
    let comments = printed.replace("\n#   ", " ");
    for remark in ["# What ", "autoscalers", "memoryLimit is left out", "no TCP port"] {
        assert!(comments.contains(remark), "{remark}: {printed}");
    }
    testbed.kubectl_stdin(&["apply", "-f", "-"], &printed).unwrap().succeeded().unwrap();
    let expected = fields(&dry_run(&admission, &pod(&by_webhook)));
    let mut found = Vec::new();
    // The API server needs a moment to serve a new admission policy.
    let is_same = || {
        found = fields(&dry_run(&admission, &pod(&by_map)));
        Ok(found == expected)
    };
    let same = testbed.wait_for("the same fields", SURELY, is_same);
    assert!(same.is_ok(), "{:#}\n{:#}", Value::from(expected), Value::from(found));
    // The exemption is of that workload alone.
    let mut another = pod(&by_map);
    another["metadata"]["ownerReferences"][0]["name"] = json!("other-abc");
    for (pod, is_exempted) in [(pod(&by_map), true), (another, false)] {
        let stored = dry_run(&admission, &pod);
        let container = &stored["spec"]["containers"][2];
        assert_eq!(container["readinessProbe"].is_null(), is_exempted, "{stored:#}");
        assert_eq!(container["resources"]["requests"].is_null(), is_exempted, "{stored:#}");
    }
    // Only pods of workloads, and only in its namespace.
    let mut bare = pod(&by_map);
    bare["metadata"].as_object_mut().unwrap().remove("ownerReferences");
    let other = testbed.namespace("other").unwrap();
    for untouched in [bare, pod(&other)] {
        let stored = dry_run(&admission, &untouched);
        assert!(stored["spec"]["containers"][0]["readinessProbe"].is_null(), "{stored:#}");
    }
}

#[test]
fn files_need_no_cluster_and_audit_mode_fills_in_nothing() {
    let run = |spec: &str| {
        let arguments = ["export-map", "-n", "shop", "-f", "-"];
        cli::run(std::path::Path::new("/nonexistent"), &arguments, &policy("shop", "fill", spec))
    };
    let printed = run(ENFORCE);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    assert!(printed.stdout.contains("kind: MutatingAdmissionPolicyBinding"), "{printed:?}");
    let audit = run("{requireReadinessProbe: true, defaultProbe: {tcpPort: 8080}}");
    assert!(audit.code == Some(2) && audit.stderr.contains("is in audit mode"), "{audit:?}");
    let nothing = run("{requireReadinessProbe: true, enforcementMode: enforce}");
    assert!(nothing.code == Some(2) && nothing.stderr.contains("fills in nothing"), "{nothing:?}");
}
