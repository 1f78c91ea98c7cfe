//! What is filled in, in workloads of every kind and shape.

use e2e::{Owner, Testbed};
use serde_json::{Value, json};

use super::POLICY;
use super::enforced::Enforced;
use super::usage;
use super::workloads::{
    assert_has, assert_succeeded, container, list, read, replace_pods, text, wait_until_rolled_out,
    workload,
};

/// What the policy fills in for a container that has nothing.
pub(crate) fn filled_in() -> Value {
    let probe = |failures: u32| {
        json!({
            "tcpSocket": { "port": 8080 }, "initialDelaySeconds": 1, "periodSeconds": 1,
            "failureThreshold": failures,
        })
    };
    json!({
        "readinessProbe": probe(3), "livenessProbe": probe(9),
        "resources": {
            "requests": { "cpu": "100m", "memory": "64Mi" }, "limits": { "memory": "256Mi" },
        },
    })
}

fn apply(testbed: &Testbed, object: &Value) {
    let run = Owner::KubectlClientSide.apply(testbed, object).unwrap();
    assert_succeeded(&text(&object["metadata"]["name"]), &run);
}

#[test]
fn each_kind_is_patched_once_and_stays_as_it_is() {
    let enforced = Enforced::shared();
    let testbed = enforced.testbed();
    let namespace = testbed.namespace("kinds").unwrap();
    let all = ["Deployment", "StatefulSet", "DaemonSet"]
        .map(|kind| workload(kind, &namespace, &kind.to_lowercase()));
    for object in &all {
        apply(testbed, object);
        wait_until_rolled_out(testbed, object);
    }
    usage::report(testbed, &namespace, "100Mi");
    enforced.apply_policy(&namespace, POLICY);
    let label =
        |object: &Value| format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]));
    enforced.wait_until(&namespace, "all kinds to be patched", || {
        all.iter().all(|object| enforced.is_patched(&namespace, &label(object)))
    });
    for object in &all {
        wait_until_rolled_out(testbed, object);
        let live = read(testbed, object);
        let first = &live["spec"]["template"]["spec"]["containers"][0];
        assert_has(first, &filled_in(), &label(object));
        assert!(first["resources"]["limits"]["cpu"].is_null(), "{first:#}");
        let mark = &live["metadata"]["annotations"]["devops.stochastic.io/patched-by"];
        assert_eq!(text(mark), format!("{namespace}/p"), "{live:#}");
        assert!(live["spec"]["template"]["metadata"]["annotations"].is_null(), "{live:#}");
        assert_eq!(live["metadata"]["generation"], 2, "one patch");
    }
    let sets = list(testbed, &namespace, "replicasets");
    assert_eq!(sets.len(), 2, "the first revision, and the patched one");
    let revisions = list(testbed, &namespace, "controllerrevisions");
    assert_eq!(revisions.len(), 4, "two of each of the other kinds");
}

#[test]
fn every_container_gets_what_it_lacks_and_keeps_what_it_has() {
    let enforced = Enforced::shared();
    let testbed = enforced.testbed();
    let namespace = testbed.namespace("shapes").unwrap();
    let mut web = workload("Deployment", &namespace, "web");
    let full = container(&mut web).clone();
    let one_of = |name: &str, more: Value| {
        let mut one = full.clone();
        one["name"] = json!(name);
        for (key, value) in more.as_object().unwrap() {
            one[key] = value.clone();
        }
        one
    };
    let http = json!({ "httpGet": { "path": "/", "port": 8080 } });
    web["spec"]["template"]["spec"]["containers"] = json!([
        one_of("zulu", json!({})),
        one_of("probed", json!({ "livenessProbe": http, "readinessProbe": http })),
        one_of(
            "sized",
            json!({ "resources": {
            "requests": { "cpu": "1", "memory": "1Gi" }, "limits": { "memory": "2Gi" } } })
        ),
        one_of("alpha", json!({ "resources": { "limits": { "cpu": "50m", "memory": "48Mi" } } })),
    ]);
    web["spec"]["template"]["spec"]["initContainers"] = json!([
        { "name": "prepare", "image": "registry.example.com/prepare:v1" },
        one_of("sidecar", json!({ "restartPolicy": "Always" })),
    ]);
    apply(testbed, &web);
    wait_until_rolled_out(testbed, &web);
    let before = read(testbed, &web);
    usage::report(testbed, &namespace, "1Mi");
    enforced.apply_policy(&namespace, POLICY);
    enforced.wait_until(&namespace, "the Deployment to be patched", || {
        enforced.is_patched(&namespace, "Deployment/web")
    });
    let live = read(testbed, &web);
    let [old, new] = [&before, &live].map(|object| &object["spec"]["template"]["spec"]);
    // Everything that the owner has, in the same order.
    assert_has(new, old, "the template");
    for field in ["containers", "initContainers"] {
        let names = |spec: &Value| {
            let all = spec[field].as_array().unwrap().iter();
            all.map(|one| text(&one["name"])).collect::<Vec<_>>()
        };
        assert_eq!(names(new), names(old));
    }
    let new = |field: &str, name: &str| {
        let found = new[field].as_array().unwrap().iter().find(|one| one["name"] == name);
        found.unwrap().clone()
    };
    let filled = filled_in();
    assert_has(&new("containers", "zulu"), &filled, "zulu");
    assert_has(&new("containers", "probed")["resources"], &filled["resources"], "probed");
    assert!(new("containers", "probed")["livenessProbe"]["tcpSocket"].is_null());
    assert_has(&new("containers", "sized")["livenessProbe"], &filled["livenessProbe"], "sized");
    // A limit without a request is the request: nothing is filled in above it.
    let alpha = new("containers", "alpha");
    let wanted = json!({ "limits": { "cpu": "50m", "memory": "48Mi" } });
    assert_has(&alpha["resources"], &wanted, "alpha");
    for resource in ["cpu", "memory"] {
        let request = text(&alpha["resources"]["requests"][resource]);
        assert!(["", "50m", "48Mi"].contains(&&*request), "{alpha:#}");
    }
    assert_has(&new("initContainers", "sidecar")["resources"], &filled["resources"], "sidecar");
    let prepare = new("initContainers", "prepare");
    assert!(prepare["resources"] == json!({}) && prepare["livenessProbe"].is_null(), "{prepare:#}");
}

#[test]
fn probes_and_resources_are_filled_in_alone_too() {
    let enforced = Enforced::shared();
    let testbed = enforced.testbed();
    let cases = [
        (
            "probe",
            "{enforcementMode: enforce, requireReadinessProbe: true, defaultProbe: {tcpPort: 8080}}",
            vec!["web: readinessProbe=tcp:8080,delay=5,period=10,failures=3"],
        ),
        (
            "request",
            "{enforcementMode: enforce, requireResources: true, defaultResources: {cpuRequest: 50m}}",
            vec!["web: requests.cpu=50m"],
        ),
    ];
    for (name, spec, fields) in cases {
        let namespace = testbed.namespace(name).unwrap();
        let web = workload("Deployment", &namespace, "web");
        apply(testbed, &web);
        wait_until_rolled_out(testbed, &web);
        enforced.apply_policy(&namespace, spec);
        enforced.wait_until(&namespace, "the Deployment to be patched", || {
            enforced.is_patched(&namespace, "Deployment/web")
        });
        assert_eq!(enforced.entry(&namespace, "Deployment/web")["fields"], json!(fields));
        let live = read(testbed, &web);
        let first = &live["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(first["readinessProbe"].is_object(), name == "probe", "{first:#}");
        assert_eq!(first["resources"] != json!({}), name == "request", "{first:#}");
        assert!(first["livenessProbe"].is_null(), "{first:#}");
    }
}

#[test]
fn a_new_deployment_under_a_policy_ends_with_one_replica_set() {
    let enforced = Enforced::shared();
    let testbed = enforced.testbed();
    let namespace = testbed.namespace("new").unwrap();
    enforced.apply_policy(
        &namespace,
        "{enforcementMode: enforce, requireReadinessProbe: true, defaultProbe: {tcpPort: 8080}}",
    );
    // The webhook knows the policy when it is in effect; a Deployment of an applier that is
    // injected into keeps its only ReplicaSet.
    for owner in [Owner::Helm, Owner::KubectlClientSide] {
        let web = workload("Deployment", &namespace, owner.name());
        assert_succeeded(owner.name(), &owner.apply(testbed, &web).unwrap());
        let label = format!("Deployment/{}", owner.name());
        enforced.wait_until(&namespace, "the Deployment to be remediated", || {
            ["Injecting", "Patched"].contains(&&*enforced.state(&namespace, &label))
        });
        wait_until_rolled_out(testbed, &web);
        let with_pods = || {
            let sets = list(testbed, &namespace, "replicasets");
            let its = |set: &&Value| set["metadata"]["labels"]["app"] == owner.name();
            let alive = |set: &&Value| set["spec"]["replicas"] != 0;
            sets.iter().filter(its).filter(alive).count()
        };
        assert_eq!(with_pods(), 1, "{owner:?}");
        // Injection changes the next pods, and no ReplicaSet.
        if owner == Owner::Helm {
            enforced.wait_until_injected(&web, true);
        }
        let new = replace_pods(testbed, &web);
        assert_eq!(with_pods(), 1, "{owner:?}");
        for pod in new {
            let probe = &pod["spec"]["containers"][0]["readinessProbe"]["tcpSocket"];
            assert_eq!(probe["port"], 8080, "{owner:?} {pod:#}");
        }
        let sets = list(testbed, &namespace, "replicasets");
        let number = sets.iter().filter(|set| set["metadata"]["labels"]["app"] == owner.name());
        let expected = if owner == Owner::Helm { 1 } else { 2 };
        assert_eq!(number.count(), expected, "{owner:?}");
    }
}
