//! Kinds that configuration adds are judged like a Deployment, wherever they have their pod template.

use e2e::Parts;
use serde_json::{Value, json};

use super::{AdmissionTestbed, program};
use crate::cli;

pub(super) const CONFIGURED: &str =
    "argoproj.io/Rollout,keda.sh/ScaledJob=spec.jobTargetRef.template";

/// A definition without a schema, as the templates in real ones often are.
fn definition(group: &str, kind: &str) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": { "kind": kind, "plural": plural },
            "versions": [{ "name": "v1alpha1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": schema } }],
        }
    })
}

fn template(image: &str) -> Value {
    json!({ "spec": { "containers": [{ "name": "c", "image": image }] } })
}

fn object(namespace: &str, group: &str, kind: &str, spec: &Value) -> String {
    let object = json!({ "apiVersion": format!("{group}/v1alpha1"), "kind": kind,
        "metadata": { "name": "web", "namespace": namespace }, "spec": spec });
    object.to_string()
}

#[test]
fn a_kind_of_configuration_is_denied_and_warned_of_like_a_deployment() {
    let admission = &AdmissionTestbed::new(&Parts::new("workload-kinds"));
    let testbed = &admission.testbed;
    for (group, kind) in [("argoproj.io", "Rollout"), ("keda.sh", "ScaledJob")] {
        testbed.apply_definitions(&definition(group, kind).to_string()).unwrap();
    }
    let namespace = admission.strict();
    let webhook = admission.start("webhook", program(), &[("GOV_WORKLOAD_KINDS", CONFIGURED)]);
    let (url, ca) = (format!("https://{}", webhook.addr()), admission.file("ca.crt"));
    let install = ["webhook", "install-config", "--ca-bundle-path", &ca, "--url", &url];
    let install = [&install[..], &["--workload-kind", CONFIGURED]].concat();
    cli::expect(testbed, 0, &install, "");
    // Its configuration is one object: the rule for pods takes effect with those of other kinds.
    admission.wait_until_denied(&namespace);
    let rollout = |image: &str| {
        object(&namespace, "argoproj.io", "Rollout", &json!({ "template": template(image) }))
    };
    let job = |image: &str| {
        let spec = json!({ "jobTargetRef": { "template": template(image) } });
        object(&namespace, "keda.sh", "ScaledJob", &spec)
    };
    for (bad, good) in [(rollout("nginx"), rollout("nginx:1")), (job("nginx"), job("nginx:1"))] {
        let denied = testbed.kubectl_stdin(&["apply", "-f", "-"], &bad).unwrap();
        assert!(denied.stderr.contains("image nginx is not pinned"), "{denied:?}");
        let offline = ["admit", "-f", "-", "-n", &namespace, "--workload-kind", CONFIGURED];
        let offline = cli::expect(testbed, 1, &offline, &bad);
        assert!(offline.contains("image nginx is not pinned"), "{offline}");
        testbed.kubectl_stdin(&["apply", "-f", "-"], &good).unwrap().succeeded().unwrap();
        let denied = testbed.kubectl_stdin(&["apply", "-f", "-"], &bad).unwrap();
        assert!(denied.stderr.contains("image nginx is not pinned"), "an update: {denied:?}");
    }
    // Without its template there is nothing to judge.
    let other =
        json!({ "workloadRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" } });
    let other = object(&namespace, "argoproj.io", "Rollout", &other);
    testbed.kubectl_stdin(&["replace", "-f", "-"], &other).unwrap().succeeded().unwrap();
}
