//! What people are told at the door: denied, warned, allowed, by real API server calls.

use std::sync::LazyLock;

use e2e::{Parts, Run, Service};

use super::{Door, SURELY, pod, policy, program};

/// One control plane for all tests here, a namespace for each. It ends with the process.
fn door() -> &'static Door {
    static DOOR: LazyLock<(&'static Door, Service<'static>)> = LazyLock::new(|| {
        let door: &Door = Box::leak(Box::new(Door::new(&Parts::new("door").with_controllers())));
        let webhook = door.start("webhook", program(), &[]);
        door.install(&webhook);
        (door, webhook)
    });
    DOOR.0
}

/// Unpinned images are denied; a missing readiness probe is warned of.
const STRICT: &str = "{forbidLatestTag: true, requireReadinessProbe: true, \
                       severityOverrides: {latestTag: critical}}";
const DENIED: &str = "container web: image nginx is not pinned (check latest-tag, critical); use a \
                      fixed tag or digest";

/// A namespace with that policy, which the webhook knows by now.
fn shop(spec: &str) -> String {
    let namespace = door().testbed.namespace("shop").unwrap();
    door().testbed.apply(&policy(&namespace, "strict", spec)).unwrap();
    door().wait_until_denied(&namespace);
    namespace
}

fn created(run: &Run) {
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
fn a_pod_is_denied_warned_of_or_let_in() {
    let shop = shop(STRICT);
    let warning = format!(
        "Warning: policy {shop}/strict: container web: missing readiness probe \
         (missing-readiness, medium)\n"
    );
    let bad = door().create(&pod(&shop, "bad", "nginx"), &[]);
    assert_eq!(
        bad.stderr,
        format!(
            "{warning}Error from server (Forbidden): error when creating \"STDIN\": admission \
             webhook \"validate.devops.stochastic.io\" denied the request: denied by policy \
             {shop}/strict: {DENIED}\n"
        )
    );
    let warned = door().create(&pod(&shop, "warned", "nginx:1.27"), &[]);
    created(&warned);
    assert_eq!(warned.stderr, warning);
    let fine = "{name: web, image: 'nginx:1.27', readinessProbe: {tcpSocket: {port: 80}}}";
    let fine = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{generateName: fine-, namespace: {shop}}}, \
         spec: {{containers: [{fine}]}}}}"
    );
    let run = door().create(&fine, &[]);
    created(&run);
    assert_eq!(run.stderr, "");
    denied(&door().create(&fine.replace("nginx:1.27", "nginx"), &[]), &shop, DENIED);
    denied(&door().create(&pod(&shop, "dry", "nginx"), &["--dry-run=server"]), &shop, DENIED);
}

#[test]
fn check_reports_that_the_webhook_answers() {
    let shop = shop(STRICT);
    for arguments in [&["check"][..], &["check", "-n", &shop]] {
        let found = crate::cli::json(&door().testbed, arguments, "");
        assert_eq!(found["webhook"]["answers"], true, "{found}");
    }
    let text = crate::cli::expect(&door().testbed, 0, &["check"], "");
    assert!(text.contains("Webhook     kube-devops-policy-webhook: installed, caBundle"), "{text}");
}

#[test]
fn every_kind_of_workload_is_judged_at_the_door() {
    let shop = shop(STRICT);
    let kinds = [
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "ReplicaSet",
        "ReplicationController",
        "Job",
        "CronJob",
    ];
    for kind in kinds {
        let name = format!("web-{}", kind.to_lowercase());
        denied(&door().create(&workload(kind, &shop, &name, "nginx"), &[]), &shop, DENIED);
        created(&door().create(&workload(kind, &shop, &name, "nginx:1.27"), &[]));
    }
    // A change that brings it in.
    let image = ["set", "image", "deployment/web-deployment", "web=nginx", "-n", &shop];
    denied(&door().testbed.kubectl(&image).unwrap(), &shop, DENIED);
}

#[test]
fn a_container_for_debugging_is_judged_as_well() {
    let shop = shop(STRICT);
    created(&door().create(&pod(&shop, "web", "nginx:1.27"), &[]));
    let debug = |image: &str| {
        let image = format!("--image={image}");
        let debug = ["debug", "web", "-n", &shop, &image, "--container=tools", "--attach=false"];
        door().testbed.kubectl(&debug).unwrap()
    };
    let what = "container tools: image busybox is not pinned (check latest-tag, critical)";
    denied(&debug("busybox"), &shop, what);
    created(&debug("busybox:1.37"));
}

#[test]
fn what_was_there_before_can_still_be_changed_and_deleted() {
    let testbed = &door().testbed;
    let shop = testbed.namespace("shop").unwrap();
    testbed.apply(&workload("Deployment", &shop, "web", "nginx")).unwrap();
    testbed.apply(&pod(&shop, "bare", "nginx")).unwrap();
    testbed.apply(&policy(&shop, "strict", STRICT)).unwrap();
    door().wait_until_denied(&shop);
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
    let testbed = &door().testbed;
    let shop = testbed.namespace("shop").unwrap();
    testbed.apply(&workload("Deployment", &shop, "web", "nginx")).unwrap();
    let pods = || {
        let get = ["get", "pods", "-l", "app=web", "-n", &shop, "-o", "name"];
        testbed.kubectl(&get)?.succeeded()
    };
    testbed.wait_for("the first pod", SURELY, || Ok(!pods()?.is_empty())).unwrap();
    testbed.apply(&policy(&shop, "strict", STRICT)).unwrap();
    door().wait_until_denied(&shop);
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
    drain();
    testbed
        .wait_for("the controller to be refused", SURELY, || {
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
    denied(&door().create(&owned, &[]), &shop, DENIED);
}
