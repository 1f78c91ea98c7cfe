//! `deploy/kustomize` and `deploy/gitops` on a real API server, with the definitions that
//! cert-manager, Argo CD and Flux publish. `cargo xtask gitops` runs Flux itself.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::time::Duration;

use e2e::{FLUX_DEFINITIONS, Parts, Published, Testbed, service_binary};
use serde_json::Value;

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");
const FOLDERS: [&str; 4] =
    ["base", "remediation", "overlays/cert-manager", "overlays/open-reports"];
pub(crate) const CERT_MANAGER: Published = Published {
    module: "github.com/cert-manager/cert-manager@v1.21.2",
    sum: "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=",
    path: "deploy/crds",
};
const PUBLISHED: [Published; 3] = [
    CERT_MANAGER,
    Published {
        module: "github.com/argoproj/argo-cd/v3@v3.2.12",
        sum: "h1:XbOyqcoPIjMhiP+y05Zi2U+HfG3b2TNfGJgVuK5Y8g0=",
        path: "manifests/crds/application-crd.yaml",
    },
    Published {
        module: "github.com/fluxcd/helm-controller@v1.6.4",
        sum: "h1:u/Ew7LehrwDQaE/NqWdaB3XnNDCxRGDcp1FZl7RKj4g=",
        path: "config/crd/bases",
    },
];

fn render(testbed: &Testbed, folder: &str) -> String {
    let folder = format!("{DEPLOY}/kustomize/{folder}");
    testbed.kubectl(&["kustomize", &folder]).unwrap().succeeded().unwrap()
}

/// The objects of manifests that kubectl has rendered.
fn objects(rendered: &str) -> Vec<Value> {
    rendered.split("\n---\n").map(|object| serde_saphyr::from_str(object).unwrap()).collect()
}

/// The labels of every selector in a value.
fn selected(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let labels =
                    if field["matchLabels"].is_object() { &field["matchLabels"] } else { field };
                if name.ends_with("elector") {
                    found.extend(labels.as_object().unwrap().keys().cloned());
                }
                selected(field, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| selected(item, found)),
        _ => {}
    }
}

#[test]
fn manifests_apply_strictly_and_render_the_same_each_time() {
    let testbed = &Testbed::start(&Parts::new("gitops")).unwrap();
    testbed.install_published(&PUBLISHED).unwrap();
    testbed.install_published(&FLUX_DEFINITIONS).unwrap();
    for namespace in ["kube-devops", "argocd", "flux-system"] {
        testbed.kubectl(&["create", "namespace", namespace]).unwrap().succeeded().unwrap();
    }
    let strictly = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f"];
    for folder in FOLDERS {
        let rendered = render(testbed, folder);
        assert_eq!(render(testbed, folder), rendered, "{folder}");
        let apply = [&strictly[..], &["-"]].concat();
        testbed.kubectl_stdin(&apply, &rendered).unwrap().succeeded().unwrap();
        // Argo CD up to version 2 sets this label itself, and selectors cannot be changed.
        let mut labels = Vec::new();
        for object in objects(&rendered) {
            selected(&object, &mut labels);
        }
        let has = |label: &str| labels.iter().any(|found| found == label);
        assert!(has("app.kubernetes.io/name") || folder == "remediation", "{folder}");
        assert!(!has("app.kubernetes.io/instance"), "{folder}");
    }
    let examples = format!("{DEPLOY}/gitops");
    let apply = [&strictly[..], &[examples.as_str()]].concat();
    let applied = testbed.kubectl(&apply).unwrap().succeeded().unwrap();
    assert_eq!(applied.lines().count(), 7, "{applied}");
}

#[test]
fn the_component_has_the_operator_write_reports() {
    let [base, with] =
        ["base", "overlays/open-reports"].map(|folder| objects(&render(e2e::shared(), folder)));
    let added: Vec<_> = with.iter().filter(|object| !base.contains(object)).collect();
    let kinds: Vec<_> = added.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    let rights = ["ClusterRole", "ClusterRoleBinding"];
    let limit = ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"];
    assert_eq!(kinds, [&rights[..], &["Deployment"], &limit].concat());
    let container = &added[2]["spec"]["template"]["spec"]["containers"][0];
    let wanted = serde_json::json!([{ "name": "GOV_OPEN_REPORTS__ENABLED", "value": "true" }]);
    assert_eq!((&container["name"], &container["env"]), (&"policy-operator".into(), &wanted));
}

#[test]
fn with_cert_manager_the_webhook_has_no_right_to_a_certificate_of_its_own() {
    let testbed = e2e::shared();
    let objects = objects(&render(testbed, "overlays/cert-manager"));
    let of = |kind: &str, name: &str| {
        let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
        objects.iter().find(is_it)
    };
    for kind in ["Secret", "Role", "RoleBinding"] {
        assert!(of(kind, "policy-webhook-self-managed").is_none(), "{kind}");
        assert!(of(kind, "policy-webhook").is_none(), "{kind}");
    }
    let rules = &of("ClusterRole", "kube-devops-policy-webhook").unwrap()["rules"];
    assert_eq!(
        *rules,
        serde_json::json!([
            {"apiGroups": ["devops.stochastic.io"],
             "resources": ["devopspolicies", "clusterdevopspolicies"], "verbs": ["watch"]},
            {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["watch"]},
        ])
    );
    // The one that the pods mount is the one that cert-manager writes and publishes.
    let certificate = of("Certificate", "policy-webhook").unwrap();
    let deployment = of("Deployment", "policy-webhook").unwrap();
    assert_eq!(
        deployment["spec"]["template"]["spec"]["volumes"][0]["secret"]["secretName"],
        certificate["spec"]["secretName"]
    );
    let configuration = of("ValidatingWebhookConfiguration", "kube-devops-policy-webhook").unwrap();
    assert_eq!(
        configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"],
        "kube-devops/policy-webhook"
    );
    let server = &configuration["webhooks"][0]["clientConfig"]["service"];
    let name = format!(
        "{}.{}.svc",
        server["name"].as_str().unwrap(),
        server["namespace"].as_str().unwrap()
    );
    assert_eq!(certificate["spec"]["dnsNames"][0], name.as_str());
}

#[test]
fn nothing_differs_from_git_after_the_webhook_has_written() {
    let testbed = &Testbed::start(&Parts::new("differs")).unwrap();
    testbed.install_definitions().unwrap();
    let base = format!("{DEPLOY}/kustomize/base");
    testbed.kubectl(&["apply", "--server-side", "-k", &base]).unwrap().succeeded().unwrap();
    let account = testbed.account_kubeconfig("kube-devops", "policy-webhook").unwrap();
    let program = service_binary("policy-webhook").unwrap();
    let _webhook = testbed.service("webhook", &program).kubeconfig(&account).start().unwrap();
    let get = ["get", "validatingwebhookconfigurations", "kube-devops-policy-webhook", "-o"];
    let authority = [&get[..], &["jsonpath={.webhooks[0].clientConfig.caBundle}"]].concat();
    let is_published = || Ok(!testbed.kubectl(&authority)?.succeeded()?.is_empty());
    testbed.wait_for("the caBundle", Duration::from_secs(60), is_published).unwrap();
    // As Flux compares, and Argo CD with ServerSideApply=true; and by the last applied configuration.
    for options in [&["--server-side"][..], &[]] {
        let diff = testbed.kubectl(&[&["diff", "-k", &base], options].concat()).unwrap();
        assert_eq!(diff.code, Some(0), "{diff:?}");
    }
}
