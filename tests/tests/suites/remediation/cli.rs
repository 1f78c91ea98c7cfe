//! `policyctl remediations` and `revert`, without an operator.

use e2e::{Owner, Testbed};
use policy_core::remediation::{Fields, Target, apply_body};
use serde_json::{Value, json};

use super::POLICY;
use super::enforced::Enforced;
use super::workloads::{
    assert_succeeded, container, install, managers, read, text, wait_until_rolled_out, workload,
};
use crate::cli;
use crate::policies::{policy, testbed};

const LINE: &str = "web: readinessProbe=tcp:8080,delay=1,period=1,failures=3 \
    livenessProbe=tcp:8080,delay=1,period=1,failures=9 requests.cpu=100m";
const PARTS: [&str; 3] = [
    "web: readinessProbe=tcp:8080,delay=1,period=1,failures=3",
    "web: livenessProbe=tcp:8080,delay=1,period=1,failures=9",
    "web: requests.cpu=100m",
];

/// Creates a workload, then fills in as the operator. Gives it as it was in between.
fn patched(testbed: &Testbed, object: &Value) -> Value {
    // Not by kubectl apply, whose fields a later `kubectl apply --server-side` takes over whole
    // (<https://github.com/kubernetes/kubernetes/pull/112905>); the operator sends no such request.
    let run = testbed.kubectl_stdin(&["create", "-f", "-"], &object.to_string()).unwrap();
    assert_succeeded("the owner", &run);
    let before = read(testbed, object);
    let target = Target::read(&before).unwrap();
    let owner = format!("{}/p", target.namespace);
    let mut body = apply_body(&target, &Fields::parse([LINE]), &owner);
    // A controller may have written the status since.
    body["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let apply = ["apply", "--server-side", "--field-manager=policy-operator", "-f", "-"];
    assert_succeeded("patch", &testbed.kubectl_stdin(&apply, &body.to_string()).unwrap());
    before
}

/// Makes a policy whose status says what the operator did with workloads.
fn remember(testbed: &Testbed, namespace: &str, workloads: &Value) {
    cli::expect(testbed, 0, &["import", "-"], &policy(namespace, "p", POLICY));
    let status = json!({ "status": { "remediation": { "workloads": workloads } } });
    let patch = format!("-p={status}");
    let arguments =
        ["patch", "devopspolicy", "p", "-n", namespace, "--subresource=status", "--type=merge"];
    let run = testbed.kubectl(&[&arguments[..], &[&patch]].concat()).unwrap();
    assert_succeeded("status", &run);
}

fn entry(live: &Value, state: &str) -> Value {
    let workload = format!("{}/{}", text(&live["kind"]), text(&live["metadata"]["name"]));
    json!({ "workload": workload, "uid": live["metadata"]["uid"], "state": state,
        "since": "2026-05-01T12:00:00Z", "fields": [LINE] })
}

fn template(live: &Value) -> &Value {
    &live["spec"]["template"]
}

#[test]
fn revert_takes_back_what_the_operator_filled_in_and_nothing_else() {
    let testbed = testbed();
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        let namespace = testbed.namespace("revert").unwrap();
        let web = workload(kind, &namespace, "web");
        let before = patched(testbed, &web);
        let now = read(testbed, &web);
        assert_ne!(template(&now), template(&before));
        let name = format!("{}/web", kind.to_lowercase());
        let revert = ["revert", &name, "-n", &namespace];
        let lines = |outcome: &str| {
            let mut parts = PARTS;
            parts.sort_unstable();
            let removed: String = parts.map(|part| format!("  removed: {part}\n")).concat();
            format!("{outcome:<18}  {namespace}  {kind}/web\n{removed}")
        };
        let dry = cli::expect(testbed, 0, &[&revert[..], &["--dry-run"]].concat(), "");
        assert_eq!(dry, lines("would be released"));
        assert_eq!(template(&read(testbed, &web)), template(&now), "a dry run stores nothing");
        let run = cli::run(testbed.kubeconfig(), &revert, "");
        assert_eq!((run.code, run.stdout.as_str()), (Some(0), lines("released").as_str()));
        assert!(run.stderr.contains("devops.stochastic.io/remediation=disabled"), "{run:?}");
        let after = read(testbed, &web);
        assert_eq!(template(&after), template(&before));
        assert!(after["metadata"]["annotations"]["devops.stochastic.io/patched-by"].is_null());
        assert!(managers(&after).iter().all(|(manager, _)| manager != "policy-operator"));
        let again = cli::expect(testbed, 0, &revert, "");
        assert_eq!(again, format!("nothing to release  {namespace}  {kind}/web\n"));
    }
}

#[test]
fn what_the_owner_applies_too_stays_and_becomes_the_owners() {
    let testbed = testbed();
    let namespace = testbed.namespace("adopted").unwrap();
    let mut web = workload("Deployment", &namespace, "web");
    patched(testbed, &web);
    patched(testbed, &workload("StatefulSet", &namespace, "db"));
    let plain = workload("Deployment", &namespace, "plain");
    assert_succeeded("plain", &Owner::KubectlClientSide.apply(testbed, &plain).unwrap());
    container(&mut web)["resources"]["requests"]["cpu"] = json!("100m");
    assert_succeeded("adopt", &Owner::KubectlClientSide.apply(testbed, &web).unwrap());
    let all = ["revert", "--all", "-n", &namespace];
    let dry = cli::json(testbed, &[&all[..], &["--dry-run"]].concat(), "");
    let rows = cli::json(testbed, &all, "");
    let find = |rows: &Value, workload: &str| {
        let rows = rows.as_array().unwrap().clone();
        assert_eq!(rows.len(), 2, "{rows:#?}");
        rows.into_iter().find(|row| row["workload"] == workload).unwrap()
    };
    for (rows, outcome) in [(&dry, "wouldBeReleased"), (&rows, "released")] {
        let row = find(rows, "Deployment/web");
        assert_eq!(row["outcome"], outcome);
        assert_eq!(row["handedOver"], json!([PARTS[2]]), "{row:#}");
        assert_eq!(row["removed"], json!([PARTS[1], PARTS[0]]), "{row:#}");
        assert_eq!(find(rows, "StatefulSet/db")["removed"].as_array().unwrap().len(), 3);
    }
    let live = read(testbed, &web);
    let found = &template(&live)["spec"]["containers"][0];
    assert_eq!(found["resources"], json!({ "requests": { "cpu": "100m" } }));
    assert!(found["readinessProbe"].is_null() && found["livenessProbe"].is_null(), "{found:#}");
    assert!(managers(&live).iter().all(|(manager, _)| manager != "policy-operator"), "{live:#}");
    let run = cli::run(testbed.kubeconfig(), &all, "");
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""));
    assert!(run.stderr.contains("no workload has anything of the operator"), "{run:?}");
}

#[test]
fn revert_also_works_where_the_managed_fields_are_of_no_use() {
    let testbed = testbed();
    let namespace = testbed.namespace("cleared").unwrap();
    let web = workload("Deployment", &namespace, "web");
    let before = patched(testbed, &web);
    let clear = ["patch", "deployment", "web", "-n", &namespace, "--type=merge"];
    let cleared = r#"-p={"metadata":{"managedFields":[{}]}}"#;
    testbed.kubectl(&[&clear[..], &[cleared]].concat()).unwrap().succeeded().unwrap();
    let revert = ["revert", "deploy/web", "-n", &namespace];
    let run = cli::run(testbed.kubeconfig(), &revert, "");
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains(&format!("there is no policy {namespace}/p")), "{run:?}");
    remember(testbed, &namespace, &json!([entry(&before, "Patched")]));
    let row = &cli::json(testbed, &revert, "")[0];
    assert_eq!(row["removed"].as_array().unwrap().len(), 3, "{row:#}");
    assert_eq!(template(&read(testbed, &web)), template(&before));

    // An empty object beside our probe is invalid without it.
    let namespace = testbed.namespace("empty").unwrap();
    let web = workload("Deployment", &namespace, "web");
    let before = patched(testbed, &web);
    let empty = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": web["metadata"],
        "spec": { "template": { "spec": { "containers": [{ "name": "web", "livenessProbe": {} }] } } },
    });
    let apply = ["apply", "--server-side", "--field-manager=tool", "-f", "-"];
    assert_succeeded("tool", &testbed.kubectl_stdin(&apply, &empty.to_string()).unwrap());
    let row = &cli::json(testbed, &["revert", "deploy/web", "-n", &namespace], "")[0];
    assert_eq!(row["removed"].as_array().unwrap().len(), 3, "{row:#}");
    assert!(row["notes"][0].as_str().unwrap().contains("JSON patch"), "{row:#}");
    let after = read(testbed, &web);
    assert_eq!(template(&after), template(&before));
    assert!(managers(&after).iter().all(|(manager, _)| manager != "policy-operator"), "{after:#}");
}

#[test]
fn remediations_shows_the_status_beside_the_workloads() {
    let testbed = testbed();
    let namespace = testbed.namespace("listed").unwrap();
    let [web, was] = ["web", "was"].map(|name| workload("Deployment", &namespace, name));
    let list = ["remediations", "-n", &namespace];
    let run = cli::run(testbed.kubeconfig(), &list, "");
    assert!(run.code == Some(0) && run.stderr.contains("no policy is in enforce mode"), "{run:?}");
    let entries = [&web, &was].map(|object| entry(&patched(testbed, object), "Patched"));
    let gone = json!({ "workload": "DaemonSet/gone", "state": "Failed", "uid": "0",
        "since": "2026-05-01T12:00:00Z", "reason": "Refused", "message": "quota" });
    let bare = json!({ "workload": "Pod/bare", "state": "NotPatchable",
        "since": "2026-05-01T12:00:00Z", "reason": "UnpatchableKind", "message": "a pod" });
    remember(testbed, &namespace, &json!([entries[0], entries[1], gone, bare]));
    cli::expect(testbed, 0, &["revert", "deployment/was", "-n", &namespace], "");
    let found = cli::json(testbed, &list, "");
    assert_eq!(found["policies"][0]["method"], "auto");
    let live = |workload: &str| {
        let all = found["workloads"].as_array().unwrap().iter();
        all.clone().find(|found| found["workload"] == workload).unwrap()["live"].clone()
    };
    assert_eq!(live("Deployment/web")["fields"], json!([LINE]));
    assert_eq!(live("Deployment/web")["patchedBy"], format!("{namespace}/p"));
    assert_eq!(live("Deployment/was")["fields"], json!([]));
    assert_eq!(live("DaemonSet/gone")["isGone"], true);
    assert_eq!(live("Pod/bare"), Value::Null);
    let table = cli::expect(testbed, 0, &list, "");
    for part in [
        "Workloads                  : 2 Patched, 1 Failed, 1 NotPatchable\n",
        "now: the operator owns no field of it\n",
        "now: there is no such workload, or another one\n",
        "Refused: quota\n",
    ] {
        assert!(table.contains(part), "{part} in {table}");
    }
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
}

#[test]
fn preview_shows_the_request_that_the_operator_would_send() {
    let testbed = testbed();
    let namespace = testbed.namespace("planned").unwrap();
    let web = workload("Deployment", &namespace, "web");
    let run = testbed.kubectl_stdin(&["create", "-f", "-"], &web.to_string()).unwrap();
    assert_succeeded("create", &run);
    let mut stopped = workload("Deployment", &namespace, "stopped");
    stopped["spec"]["replicas"] = json!(0);
    assert_succeeded("stopped", &Owner::KubectlClientSide.apply(testbed, &stopped).unwrap());
    wait_until_rolled_out(testbed, &web);
    let policy = policy(&namespace, "p", POLICY);
    // Who may not read whether the webhook is installed plans as if it were.
    let rules = r#"[{apiGroups: [""], resources: [pods, limitranges], verbs: [list]},
        {apiGroups: [apps], resources: [deployments, statefulsets, daemonsets], verbs: [list]},
        {apiGroups: [devops.stochastic.io], resources: [devopspolicies], verbs: [list]}]"#;
    let user = testbed.limited_user(&namespace, rules).unwrap();
    let preview = ["preview", "-", "-n", &namespace, "-o", "json"];
    let run = cli::run(&user, &preview, &policy);
    assert_eq!(run.code, Some(0), "{run:?}");
    let found: Value = serde_json::from_str(&run.stdout).unwrap();
    let planned = &found["policies"][0]["remediation"];
    let assumptions = planned["assumptions"].to_string();
    for part in ["the mutating webhook is installed", "there are no HorizontalPodAutoscalers"] {
        assert!(assumptions.contains(part), "{part} in {assumptions}");
    }
    let find = |name: &str| {
        let all = planned["workloads"].as_array().unwrap().iter();
        all.clone().find(|planned| planned["workload"] == name).unwrap().clone()
    };
    assert_eq!(find("Deployment/stopped")["reason"], "ScaledToZero");
    let planned = find("Deployment/web");
    assert_eq!(planned["plan"], "patch", "{planned:#}");
    let lines: Vec<&str> =
        planned["fields"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let live = read(testbed, &web);
    let target = Target::read(&live).unwrap();
    let body = apply_body(&target, &Fields::parse(lines), &format!("{namespace}/p"));
    assert_eq!(planned["body"], body);
    let table = cli::run(&user, &["preview", "-", "-n", &namespace, "-v"], &policy).stdout;
    let request = format!("\n{namespace}  Deployment/web\n{body:#}\n");
    assert!(table.ends_with(&request), "{table}");
    let apply = ["apply", "--server-side", "--field-manager=policy-operator", "-f", "-"];
    let run = testbed.kubectl_stdin(&apply, &planned["body"].to_string()).unwrap();
    assert_succeeded("the request", &run);
    let run = cli::run(&user, &preview, &policy);
    let again: Value = serde_json::from_str(&run.stdout).unwrap();
    let left = again["policies"][0]["remediation"]["workloads"].to_string();
    assert!(!left.contains("readinessProbe=") && !left.contains("requests.cpu="), "{left}");
    assert!(left.contains(r#""plan":"patched""#), "{left}");
    assert!(left.contains("limits.memory is not filled in: the memory use"), "{left}");
    // Without the webhook everything is proposed.
    let table = cli::expect(testbed, 0, &["preview", "-", "-n", &namespace], &policy);
    assert!(table.contains("Remediation: would patch 0,"), "{table}");
}

#[test]
fn the_operator_does_what_preview_said_and_accepts_a_revert() {
    let enforced = Enforced::shared();
    let testbed = enforced.testbed();
    let namespace = testbed.namespace("told").unwrap();
    let web = workload("Deployment", &namespace, "web");
    let mut db = workload("StatefulSet", &namespace, "db");
    db["spec"]["replicas"] = json!(1);
    let shop = workload("Deployment", &namespace, "shop");
    for (owner, object) in [
        (Owner::KubectlClientSide, &web),
        (Owner::KubectlClientSide, &db),
        (Owner::KubectlServerSide, &shop),
    ] {
        install(testbed, owner, object);
    }
    let before = read(testbed, &web);
    let policy = cli::policy(&namespace, "p", POLICY);
    let found = cli::json(testbed, &["preview", "-", "-n", &namespace], &policy);
    let planned = found["policies"][0]["remediation"]["workloads"].as_array().unwrap().clone();
    let fields = |workload: &str, plan: &str| {
        let found = planned.iter().find(|planned| planned["workload"] == workload).unwrap();
        assert_eq!(found["plan"], plan, "{found:#}");
        found["fields"].clone()
    };
    enforced.apply_policy(&namespace, POLICY);
    let list = ["remediations", "-n", &namespace];
    let workload_of = |name: &str| {
        let found = cli::json(testbed, &list, "");
        let all = found["workloads"].as_array().unwrap();
        all.iter().find(|found| found["workload"] == name).cloned().unwrap_or_default()
    };
    enforced.wait_until(
        &namespace,
        "web is patched, shop is injected into, and db is proposed",
        || {
            enforced.is_patched(&namespace, "Deployment/web")
                && enforced.state(&namespace, "Deployment/shop") == "Injecting"
                && enforced.state(&namespace, "StatefulSet/db") == "Proposed"
        },
    );
    let patched = workload_of("Deployment/web");
    assert_eq!(patched["fields"], fields("Deployment/web", "patch"));
    assert_eq!(patched["live"]["fields"], patched["fields"], "{patched:#}");
    let injected = workload_of("Deployment/shop");
    assert_eq!(injected["fields"], fields("Deployment/shop", "inject"));
    let proposed = workload_of("StatefulSet/db");
    assert_eq!(proposed["state"], "Proposed", "{proposed:#}");
    assert_eq!(proposed["fields"], fields("StatefulSet/db", "propose"));
    let revert = ["revert", "deployment/web", "-n", &namespace];
    let run = cli::run(testbed.kubeconfig(), &revert, "");
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(template(&read(testbed, &web)), template(&before));
    enforced.wait_until(&namespace, "web is left alone", || {
        enforced.state(&namespace, "Deployment/web") == "Withdrawn"
    });
    assert_eq!(template(&read(testbed, &web)), template(&before));
}

#[test]
fn each_error_of_revert_is_reported() {
    let testbed = testbed();
    let namespace = testbed.namespace("refused").unwrap();
    let web = workload("Deployment", &namespace, "web");
    patched(testbed, &web);
    let now = read(testbed, &web);
    for (arguments, sentence) in [
        (&["revert", "--all"][..], "--all needs -n NAME for one namespace, or -A for all"),
        (&["revert", "deploy/none", "-n", &namespace], "there is no Deployment"),
        (&["revert", "pod/web", "-n", &namespace], "the kind is deployment, statefulset or"),
    ] {
        let run = cli::run(testbed.kubeconfig(), arguments, "");
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.stderr.contains(sentence), "{sentence} in {}", run.stderr);
    }
    let run = cli::run(testbed.kubeconfig(), &["revert", "--all", "-n", "nope"], "");
    let gap = "error: namespace nope: namespaces \"nope\" not found\n";
    assert_eq!((run.code, &*run.stderr), (Some(3), gap), "once, not for each kind");
    let rules = "[{apiGroups: [apps], resources: [deployments], verbs: [get]}]";
    let user = testbed.limited_user(&namespace, rules).unwrap();
    let run = cli::run(&user, &["revert", "deploy/web", "-n", &namespace], "");
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.stderr.contains("forbidden"), "{run:?}");
    assert!(run.stdout.starts_with("not released"), "{run:?}");
    let run = cli::run(&user, &["revert", "--all", "-n", &namespace], "");
    assert_eq!(run.code, Some(3), "{run:?}");
    assert_eq!(template(&read(testbed, &web)), template(&now));
}
