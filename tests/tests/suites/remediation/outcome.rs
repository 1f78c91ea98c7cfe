//! What a user ends up with: what `policyctl` had said, also under Pod Security *restricted*.

use e2e::{AuditedCall, Owner, Testbed};
use policy_core::remediation::Fields;
use serde_json::{Value, json};

use super::POLICY;
use super::enforced::{Enforced, OPERATOR};
use super::shapes::filled_in;
use super::usage;
use super::workloads::{
    assert_has, assert_succeeded, container, install, list, pods, read, replace_pods, text,
    wait_until_rolled_out, workload,
};
use crate::{cli, operator};

const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

fn label(object: &Value) -> String {
    format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// Applies a workload, and waits until its controllers have written its last status: a plan names
/// the version of the object.
fn apply(testbed: &Testbed, owner: Owner, object: &Value) {
    install(testbed, owner, object);
    let namespace = text(&object["metadata"]["namespace"]);
    let condition = match &*text(&object["kind"]) {
        "Deployment" => {
            "jsonpath={.status.conditions[?(@.type=='Progressing')].reason}=NewReplicaSetAvailable"
        }
        "StatefulSet" => "jsonpath={.status.availableReplicas}=2",
        _ => "jsonpath={.status.numberAvailable}=3",
    };
    let wait = ["wait", &label(object), "-n", &namespace, "--timeout=90s", "--for", condition];
    testbed.kubectl(&wait).unwrap().succeeded().unwrap();
}

#[test]
fn what_is_restricted_stays_restricted_under_both_methods() {
    let enforced = Enforced::shared();
    let testbed = enforced.testbed();
    let namespace = testbed.namespace("restricted").unwrap();
    let enforce = "pod-security.kubernetes.io/enforce=restricted";
    testbed.kubectl(&["label", "namespace", &namespace, enforce]).unwrap().succeeded().unwrap();
    // The label takes effect.
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "namespace": namespace, "name": "bare" },
        "spec": workload("Deployment", &namespace, "web")["spec"]["template"]["spec"],
    });
    let run = testbed.kubectl_stdin(&["create", "-f", "-"], &pod.to_string()).unwrap();
    assert!(run.stderr.contains("violates PodSecurity \"restricted"), "{run:?}");
    let owners = [(Owner::KubectlClientSide, "patched"), (Owner::KubectlServerSide, "injected")];
    let mut all = Vec::new();
    for kind in KINDS {
        for (owner, method) in owners {
            let name = format!("{}-{method}", kind.to_lowercase());
            let mut web = workload(kind, &namespace, &name);
            container(&mut web)["securityContext"] = json!({
                "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
            });
            web["spec"]["template"]["spec"]["securityContext"] =
                json!({ "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } });
            assert_succeeded(&name, &owner.apply(testbed, &web).unwrap());
            all.push((web, method));
        }
    }
    for (web, _) in &all {
        wait_until_rolled_out(testbed, web);
    }
    let number = pods(testbed, &namespace).len();
    usage::report(testbed, &namespace, "100Mi");
    enforced.apply_policy(&namespace, POLICY);
    enforced.wait_until(&namespace, "everything to be remediated", || {
        all.iter().all(|(web, method)| match *method {
            "patched" => enforced.is_patched(&namespace, &label(web)),
            _ => enforced.state(&namespace, &label(web)) == "Injecting",
        })
    });
    for (web, _) in &all {
        wait_until_rolled_out(testbed, web);
    }
    let delete = ["delete", "pod", "--all", "-n", &namespace];
    testbed.kubectl(&delete).unwrap().succeeded().unwrap();
    enforced.wait_until(&namespace, "all pods to be admitted again, with what was missing", || {
        let pods = pods(testbed, &namespace);
        let is_ready = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
            ready.any(|condition| condition["status"] == "True")
        };
        let has_probe = |pod: &Value| pod["spec"]["containers"][0]["livenessProbe"].is_object();
        pods.len() == number && pods.iter().all(|pod| is_ready(pod) && has_probe(pod))
    });
    for pod in pods(testbed, &namespace) {
        let name = text(&pod["metadata"]["name"]);
        assert_has(&pod["spec"]["containers"][0], &filled_in(), &name);
        let by = &pod["metadata"]["annotations"]["devops.stochastic.io/injected-by"];
        assert_eq!(by.is_string(), name.contains("injected"), "{pod:#}");
    }
    let refused = list(testbed, &namespace, "events.events.k8s.io");
    let refused = refused.iter().filter(|event| event["reason"] == "FailedCreate");
    assert_eq!(refused.collect::<Vec<_>>(), Vec::<&Value>::new());
}

/// The request that `policyctl preview -v` prints for a workload, without the spaces and line ends
/// between its tokens, which the audit log drops.
fn printed(preview: &str, namespace: &str, workload: &str) -> String {
    let (_, body) = preview.split_once(&format!("\n{namespace}  {workload}\n")).unwrap();
    let (body, _) = body.split_once("\n}\n").unwrap();
    body.lines().map(str::trim).collect::<String>().replace("\": ", "\":") + "}"
}

/// What the operator has sent to a workload.
fn sent(testbed: &Testbed, object: &Value) -> Vec<AuditedCall> {
    let metadata = &object["metadata"];
    let calls = testbed.audit(OPERATOR).unwrap().into_iter();
    let of_workload = calls.filter(|call| {
        (&call.verb[..], &call.group[..]) == ("patch", "apps")
            && metadata["namespace"] == *call.namespace
            && metadata["name"] == *call.name
    });
    of_workload.collect()
}

#[test]
fn the_operator_sends_the_bytes_that_preview_prints() {
    let enforced = Enforced::shared();
    let testbed = enforced.testbed();
    let namespace = testbed.namespace("bytes").unwrap();
    let patched = KINDS.map(|kind| workload(kind, &namespace, &kind.to_lowercase()));
    let injected = workload("Deployment", &namespace, "injected");
    for object in &patched {
        apply(testbed, Owner::KubectlClientSide, object);
    }
    apply(testbed, Owner::KubectlServerSide, &injected);
    usage::report(testbed, &namespace, "100Mi");
    let policy = cli::policy(&namespace, "p", POLICY);
    let preview = cli::expect(testbed, 0, &["preview", "-", "-n", &namespace, "-v"], &policy);
    let planned = cli::json(testbed, &["preview", "-", "-n", &namespace], &policy);
    let planned = planned["policies"][0]["remediation"]["workloads"].as_array().unwrap().clone();
    let planned = planned.iter().find(|planned| planned["workload"] == label(&injected)).unwrap();
    assert_eq!(planned["plan"], "inject", "{planned:#}");
    enforced.apply_policy(&namespace, POLICY);
    enforced.wait_until(&namespace, "everything to be remediated", || {
        patched.iter().all(|object| enforced.is_patched(&namespace, &label(object)))
            && enforced.state(&namespace, &label(&injected)) == "Injecting"
    });
    for object in &patched {
        // The log is written after the response.
        enforced.wait_until(&namespace, "both requests to be logged", || {
            sent(testbed, object).len() >= 2
        });
        let requests = sent(testbed, object);
        let is_dry = requests.iter().map(|call| call.url.contains("dryRun=All"));
        assert_eq!(is_dry.collect::<Vec<_>>(), [true, false], "{requests:#?}");
        let expected = printed(&preview, &namespace, &label(object));
        for call in &requests {
            assert!(!call.url.contains("force=true"), "{}", call.url);
            assert_eq!(call.body.as_ref(), Some(&expected), "{}", label(object));
        }
    }
    // Of an injection preview prints the fields.
    let lines: Vec<&str> =
        planned["fields"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    enforced.wait_until_injected(&injected, true);
    let new = replace_pods(testbed, &injected);
    let fields = Fields::parse(lines.iter().copied());
    let mut expected = container(&mut injected.clone()).clone();
    for (field, value) in fields.of("web").unwrap().json().as_object().unwrap() {
        expected[field] = value.clone();
    }
    for pod in &new {
        let note = &pod["metadata"]["annotations"]["devops.stochastic.io/injected-fields"];
        assert_eq!(*note, lines.join("\n"), "{pod:#}");
        let live = &pod["spec"]["containers"][0];
        assert_has(live, &expected, "the container");
        assert_eq!(live["resources"], expected["resources"]);
    }
    assert_eq!(sent(testbed, &injected), [], "the workload itself is never written to");
}

#[test]
fn the_score_rises_as_explain_had_said() {
    let enforced = Enforced::shared();
    let testbed = enforced.testbed();
    let namespace = testbed.namespace("score").unwrap();
    let web = workload("Deployment", &namespace, "web");
    // It is proposed, and keeps its findings.
    let mut db = workload("StatefulSet", &namespace, "db");
    db["spec"]["replicas"] = json!(1);
    for object in [&web, &db] {
        let applied = Owner::KubectlClientSide.apply(testbed, object).unwrap();
        assert_succeeded(&label(object), &applied);
        wait_until_rolled_out(testbed, object);
    }
    let weighted = POLICY.replace(
        "{enforcementMode",
        "{weights: {missingLiveness: 25, missingReadiness: 20}, enforcementMode",
    );
    enforced.apply_policy(&namespace, &weighted.replace("Mode: enforce", "Mode: audit"));
    let explain = || cli::json(testbed, &["explain", "p", "-n", &namespace], "");
    let before = explain();
    assert_eq!(before["score"], 55, "{before:#}");
    let workloads = before["worstWorkloads"].as_array().unwrap();
    let of_web = workloads.iter().find(|found| found["workload"]["name"] == "web").unwrap();
    let said = of_web["scoreAfterFix"].clone();
    assert_eq!(said, 85, "{before:#}");
    enforced.apply_policy(&namespace, &weighted);
    enforced.wait_until(&namespace, "web to be patched", || {
        enforced.is_patched(&namespace, "Deployment/web")
    });
    wait_until_rolled_out(testbed, &web);
    enforced.wait_until(&namespace, "the score that explain had said", || {
        operator::policy(testbed, &namespace, "p")["status"]["healthScore"] == said
    });
    assert_eq!(enforced.state(&namespace, "StatefulSet/db"), "Proposed");
    let after = explain();
    assert_eq!((&after["score"], &after["status"]["score"]), (&said, &said), "{after:#}");
    let labels = [("namespace", &*namespace), ("policy", "p")];
    let gauge = enforced.operator().metrics().unwrap().value("devopspolicy_health_score", &labels);
    assert_eq!(gauge, said.as_f64());
    let live = read(testbed, &db);
    assert_eq!(live["metadata"]["generation"], 1, "{live:#}");
}
