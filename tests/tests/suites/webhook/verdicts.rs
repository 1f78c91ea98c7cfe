//! What `kubectl` prints when a real API server calls the webhook: denied, warned, allowed.

use std::sync::LazyLock;

use e2e::{Parts, Run, Service};
use serde_json::{Value, json};

use super::{AdmissionTestbed, KINDS, SURELY, pod, policy, program};

/// One control plane for all tests here, a namespace for each. It ends with the process.
pub(super) fn shared() -> &'static AdmissionTestbed {
    static SHARED: LazyLock<(&'static AdmissionTestbed, Service<'static>)> = LazyLock::new(|| {
        let admission: &AdmissionTestbed =
            Box::leak(Box::new(AdmissionTestbed::new(&Parts::new("admission").with_controllers())));
        let webhook = admission.start("webhook", program(), &DEBUG);
        admission.install(&webhook);
        (admission, webhook)
    });
    SHARED.0
}

const DEBUG: [(&str, &str); 1] = [("GOV_LOG__LEVEL", "info,policy_webhook=debug")];

/// Unpinned images are denied; a missing readiness probe is warned of.
const STRICT: &str = "{forbidLatestTag: true, requireReadinessProbe: true, \
                       severityOverrides: {latestTag: critical}}";
const DENIED: &str = "container web: image nginx is not pinned (check latest-tag, critical); use a \
                      fixed tag or digest";

/// A namespace with that policy, which the webhook knows by now.
fn shop(spec: &str) -> String {
    let namespace = shared().testbed.namespace("shop").unwrap();
    shared().testbed.apply(&policy(&namespace, "strict", spec)).unwrap();
    shared().wait_until_denied(&namespace);
    namespace
}

pub(super) fn created(run: &Run) {
    assert_eq!(run.code, Some(0), "{run:?}");
}

fn denied(run: &Run, namespace: &str, what: &str) {
    let expected = format!("denied by policy {namespace}/strict: {what}");
    assert!(run.code != Some(0) && run.stderr.contains(&expected), "{expected}\n{run:?}");
}

/// An object of a kind with a pod template of that image.
fn workload(kind: &str, namespace: &str, name: &str, image: &str) -> String {
    let (api, spec) = match kind {
        "Job" => ("batch/v1", "template: TEMPLATE"),
        "CronJob" => ("batch/v1", "schedule: '@daily', jobTemplate: {spec: {template: TEMPLATE}}"),
        "ReplicationController" => ("v1", "replicas: 1, selector: {app: web}, template: TEMPLATE"),
        "StatefulSet" => {
            ("apps/v1", "serviceName: web, selector: {matchLabels: {app: web}}, template: TEMPLATE")
        }
        _ => ("apps/v1", "selector: {matchLabels: {app: web}}, template: TEMPLATE"),
    };
    let restart = if kind.ends_with("Job") { "restartPolicy: Never, " } else { "" };
    let template = format!(
        "{{metadata: {{labels: {{app: web}}}}, spec: {{{restart}containers: [{{name: web, image: '{image}'}}]}}}}"
    );
    format!(
        "{{apiVersion: {api}, kind: {kind}, metadata: {{name: {name}, namespace: {namespace}}}, \
         spec: {{{}}}}}",
        spec.replace("TEMPLATE", &template)
    )
}

#[test]
fn a_denied_request_is_found_in_the_log() {
    let shop = shop(STRICT);
    let run = shared().create(&pod(&shop, "traced", "nginx"), &[]);
    denied(&run, &shop, DENIED);
    let log = std::fs::read_to_string(shared().testbed.folder().join("logs/webhook.log")).unwrap();
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.find(|line| line["namespace"] == *shop && line["decision"] == "denied");
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert_eq!((&line["policies"], &line["operation"]), (&json!("strict"), &json!("create")));
    assert_eq!(line["uid"].as_str().unwrap().len(), 36, "{line}");
    // kubectl has shown the same sentence.
    let message = line["message"].as_str().unwrap();
    assert!(message.ends_with(DENIED) && run.stderr.contains(message), "{line}");
}

#[test]
fn a_pod_is_denied_warned_of_or_let_in() {
    let shop = shop(STRICT);
    let warning = format!(
        "Warning: policy {shop}/strict: container web: missing readiness probe \
         (missing-readiness, medium)\n"
    );
    let bad = shared().create(&pod(&shop, "bad", "nginx"), &[]);
    assert_eq!(
        bad.stderr,
        format!(
            "{warning}Error from server (Forbidden): error when creating \"STDIN\": admission \
             webhook \"validate.devops.stochastic.io\" denied the request: denied by policy \
             {shop}/strict: {DENIED}\n"
        )
    );
    let warned = shared().create(&pod(&shop, "warned", "nginx:1.27"), &[]);
    created(&warned);
    assert_eq!(warned.stderr, warning);
    let fine = "{name: web, image: 'nginx:1.27', readinessProbe: {tcpSocket: {port: 80}}}";
    let fine = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{generateName: fine-, namespace: {shop}}}, \
         spec: {{containers: [{fine}]}}}}"
    );
    let run = shared().create(&fine, &[]);
    created(&run);
    assert_eq!(run.stderr, "");
    denied(&shared().create(&fine.replace("nginx:1.27", "nginx"), &[]), &shop, DENIED);
    denied(&shared().create(&pod(&shop, "dry", "nginx"), &["--dry-run=server"]), &shop, DENIED);
}

#[test]
fn check_reports_that_the_webhook_answers() {
    let shop = shop(STRICT);
    for arguments in [&["check"][..], &["check", "-n", &shop]] {
        let found = crate::cli::json(&shared().testbed, arguments, "");
        assert_eq!(found["webhook"]["answers"], true, "{found}");
    }
    let text = crate::cli::expect(&shared().testbed, 0, &["check"], "");
    assert!(text.contains("Webhook     kube-devops-policy-webhook: installed, caBundle"), "{text}");
}

#[test]
fn every_kind_of_workload_is_judged_at_the_door() {
    let shop = shop(STRICT);
    for kind in KINDS.into_iter().filter(|kind| *kind != "Pod") {
        let name = format!("web-{}", kind.to_lowercase());
        denied(&shared().create(&workload(kind, &shop, &name, "nginx"), &[]), &shop, DENIED);
        created(&shared().create(&workload(kind, &shop, &name, "nginx:1.27"), &[]));
    }
    // A change that brings it in.
    let image = ["set", "image", "deployment/web-deployment", "web=nginx", "-n", &shop];
    denied(&shared().testbed.kubectl(&image).unwrap(), &shop, DENIED);
}

#[test]
fn a_container_for_debugging_is_judged_as_well() {
    let shop = shop(STRICT);
    created(&shared().create(&pod(&shop, "web", "nginx:1.27"), &[]));
    let debug = |image: &str| {
        let image = format!("--image={image}");
        let debug = ["debug", "web", "-n", &shop, &image, "--container=tools", "--attach=false"];
        shared().testbed.kubectl(&debug).unwrap()
    };
    let what = "container tools: image busybox is not pinned (check latest-tag, critical)";
    denied(&debug("busybox"), &shop, what);
    created(&debug("busybox:1.37"));
}

#[test]
fn a_denied_copy_for_debugging_is_told_how_to_debug() {
    let probes = "{forbidLatestTag: true, requireReadinessProbe: true, \
                   severityOverrides: {latestTag: critical, missingReadiness: high}}";
    let shop = shop(probes);
    let mut web: Value = serde_saphyr::from_str(&pod(&shop, "web", "nginx:1.27")).unwrap();
    web["spec"]["containers"][0]["readinessProbe"] = json!({ "tcpSocket": { "port": 80 } });
    created(&shared().create(&web.to_string(), &[]));
    let debug = |arguments: &[&str]| {
        let debug = ["debug", "web", "-n", &shop, "--image=nginx:1.28", "--attach=false"];
        // The default of kubectl 1.36; that of 1.34, `legacy`, keeps the probes
        // (<https://github.com/kubernetes/enhancements/issues/1441>).
        let debug = [&debug[..], &["--profile=general"]].concat();
        shared().testbed.kubectl(&[&debug, arguments].concat()).unwrap()
    };
    let copy = debug(&["--copy-to=copy"]);
    denied(&copy, &shop, "container web: missing readiness probe (check missing-readiness, high)");
    let note = "`kubectl debug --copy-to` removes probes";
    assert!(copy.stderr.contains(note), "{copy:?}");
    // Both ways that it names.
    created(&debug(&[]));
    created(&debug(&["--copy-to=kept", "--keep-liveness", "--keep-readiness", "-c", "web"]));
}

#[test]
fn what_was_there_before_can_still_be_changed_and_deleted() {
    let testbed = &shared().testbed;
    let shop = testbed.namespace("shop").unwrap();
    testbed.apply(&workload("Deployment", &shop, "web", "nginx")).unwrap();
    testbed.apply(&pod(&shop, "bare", "nginx")).unwrap();
    testbed.apply(&policy(&shop, "strict", STRICT)).unwrap();
    shared().wait_until_denied(&shop);
    let status = r#"{"status": {"phase": "Running"}}"#;
    for change in [
        &["scale", "deployment/web", "--replicas=2"][..],
        &["label", "deployment/web", "tier=front"],
        &["annotate", "pod/bare", "seen=yes"],
        &["patch", "pod/bare", "--subresource=status", "-p", status],
    ] {
        created(&testbed.kubectl(&[change, &["-n", &shop]].concat()).unwrap());
    }
    let image = |image: &str| {
        let image = format!("web={image}");
        testbed.kubectl(&["set", "image", "deployment/web", &image, "-n", &shop]).unwrap()
    };
    let what = "container web: image redis:latest is not pinned";
    denied(&image("redis:latest"), &shop, what);
    created(&image("redis:7.4"));
    created(&testbed.kubectl(&["delete", "pod/bare", "-n", &shop, "--force"]).unwrap());
}

#[test]
fn pods_of_what_is_older_than_the_policy_come_back_unless_they_are_not_to() {
    let testbed = &shared().testbed;
    let shop = testbed.namespace("shop").unwrap();
    testbed.apply(&workload("Deployment", &shop, "web", "nginx")).unwrap();
    let pods = || {
        let get = ["get", "pods", "-l", "app=web", "-n", &shop, "-o", "name"];
        testbed.kubectl(&get)?.succeeded()
    };
    testbed.wait_for("the first pod", SURELY, || Ok(!pods()?.is_empty())).unwrap();
    testbed.apply(&policy(&shop, "strict", STRICT)).unwrap();
    shared().wait_until_denied(&shop);
    let drain = || {
        let before = pods().unwrap();
        let delete = ["delete", "pods", "-l", "app=web", "-n", &shop, "--force"];
        created(&testbed.kubectl(&delete).unwrap());
        before
    };
    let before = drain();
    testbed
        .wait_for("the pod to come back", SURELY, || {
            let now = pods()?;
            Ok(!now.is_empty() && now != before)
        })
        .unwrap();
    let controller = "system:serviceaccount:kube-system:replicaset-controller";
    testbed
        .wait_for("the annotation in the audit log", SURELY, || {
            let calls = testbed.audit(controller)?;
            Ok(calls.iter().any(|call| {
                call.namespace == shop
                    && call.annotations.values().any(|value| value.contains("latest-tag"))
            }))
        })
        .unwrap();
    let deny = STRICT.replacen('{', "{admission: {controllerPods: deny}, ", 1);
    testbed.apply(&policy(&shop, "strict", &deny)).unwrap();
    testbed
        .wait_for("the controller to be refused", SURELY, || {
            // The webhook hears of the policy a moment later, and a pod may come until then.
            if !pods()?.is_empty() {
                drain();
            }
            let get = ["get", "events", "-n", &shop, "-o", "jsonpath={.items[*].message}"];
            Ok(testbed.kubectl(&get)?.succeeded()?.contains("denied by policy"))
        })
        .unwrap();
    assert_eq!(pods().unwrap(), "");
}

#[test]
fn who_claims_to_be_owned_gains_nothing() {
    let shop = shop(STRICT);
    let owned = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: forged, namespace: {shop}, \
         labels: {{pod-template-hash: abc}}, ownerReferences: [{{apiVersion: apps/v1, \
         kind: ReplicaSet, name: web-abc, uid: 6dcf2d0c-1f47-4a0e-9d1c-0c5b6a7c8d9e, \
         controller: true}}]}}, spec: {{containers: [{{name: web, image: nginx}}]}}}}"
    );
    denied(&shared().create(&owned, &[]), &shop, DENIED);
}

/// The kubelet runs a static pod whether or not its
/// mirror pod exists, so a denial would only hide it.
#[test]
fn the_mirror_pod_of_a_node_is_created_and_that_of_a_user_is_denied() {
    let shop = shop(STRICT);
    let mirror = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: static-web-node-0, namespace: {shop}, \
         annotations: {{kubernetes.io/config.mirror: abc, kubernetes.io/config.source: file}}, \
         ownerReferences: [{{apiVersion: v1, kind: Node, name: node-0, controller: true, \
         uid: d8c601e9-262b-43f7-a591-5142ede8f80e}}]}}, \
         spec: {{nodeName: node-0, containers: [{{name: web, image: nginx}}]}}}}"
    );
    denied(&shared().create(&mirror, &[]), &shop, DENIED);
    // The testbed authorizes by RBAC alone, so the node gets its rights from a group.
    let node = ["--as=system:node:node-0", "--as-group=system:nodes", "--as-group=system:masters"];
    created(&shared().create(&mirror, &node));
}

#[test]
fn admit_and_the_api_server_agree_on_what_a_limit_range_fills_in() {
    let shop = shop(
        "{forbidLatestTag: true, requireResources: true, \
         severityOverrides: {latestTag: critical, missingResources: critical}}",
    );
    let bare = pod(&shop, "bare", "nginx:1.27");
    let admit = ["admit", "-n", &shop, "-f", "-", "-o", "json"];
    let verdict = |code: i32| -> serde_json::Value {
        let text = crate::cli::expect(&shared().testbed, code, &admit, &bare);
        let all: serde_json::Value = serde_json::from_str(&text).unwrap();
        all["objects"][0].clone()
    };
    assert_eq!(verdict(1)["outcome"], "denied");
    denied(&shared().create(&bare, &[]), &shop, "container web: missing resource requests");
    let limits = format!(
        "{{apiVersion: v1, kind: LimitRange, metadata: {{name: defaults, namespace: {shop}}}, \
         spec: {{limits: [{{type: Container, default: {{cpu: 500m, memory: 256Mi}}, \
         defaultRequest: {{cpu: 100m, memory: 128Mi}}}}]}}}}"
    );
    shared().testbed.apply(&limits).unwrap();
    let verdict = verdict(0);
    assert_eq!(verdict["outcome"], "warned");
    let warning = verdict["warnings"][0].as_str().unwrap();
    assert!(warning.contains("may be filled in by a LimitRange"), "{verdict}");
    shared()
        .testbed
        .wait_for("the API server to know the LimitRange", SURELY, || {
            Ok(shared().create(&bare, &["--dry-run=server"]).code == Some(0))
        })
        .unwrap();
    created(&shared().create(&bare, &[]));
}
