//! Values: the wrong ones, and what the right ones reach.

use std::process::Command;

use e2e::{Run, Testbed, service_binary};
use serde_json::{Value, json};

use super::{CHART, helm, rendered, template};

#[test]
fn values_that_are_wrong_fail_with_a_sentence() {
    let testbed = e2e::shared();
    for (values, sentence) in [
        ("replicaCount=1", "its disruption budget would block every drain of a node; set"),
        ("webhook.replicaCount=1", "policy-webhook has 1 replica(s)"),
        ("pdb.minAvailable=2", "fewer that stay, or more replicas"),
        ("certificate.source=secret", "set certificate.secretName to the Secret"),
        ("certificate.source=secret,certificate.secretName=a", "set certificate.caBundle to"),
        (
            "certificate.source=secret,certificate.secretName=a,certificate.caBundle=b",
            "is no certificate in PEM: pass the file",
        ),
        ("certificate.secretName=a", "are for certificate.source=secret, and it is self-managed"),
        ("certificate.issuerRef.name=a", "is for certificate.source=cert-manager"),
        ("certificate.source=vault", "at '/certificate/source': value must be one of"),
        ("image.tag=latest", "which names no version: leave image.tag empty for"),
        ("operator.image.tag=latest", "the image of policy-operator has the tag latest"),
        ("image.repository=", "at '/image/repository'"),
        ("image.repository=r.example.com/p:1", "at '/image/repository'"),
        ("replicas=3", "additional properties 'replicas' not allowed"),
        ("watcher.replicas=3", "additional properties 'replicas' not allowed"),
        ("replicaCount=two", "at '/replicaCount': got string, want integer"),
        ("webhook.resources.limit.cpu=1", "additional properties 'limit' not allowed"),
        ("excludedNamespaces={Shop}", "at '/excludedNamespaces/0'"),
        ("workloadKinds[0].group=apps", "at '/workloadKinds/0'"),
        ("serviceMonitor.interval=often", "at '/serviceMonitor/interval'"),
    ] {
        let run = helm(testbed, "install", &["--dry-run=client", "--set", values]);
        assert!(run.code != Some(0) && run.stderr.contains(sentence), "{values}: {run:?}");
    }
    let mut elsewhere = testbed.helm().unwrap();
    elsewhere.args(["template", "kube-devops", CHART]);
    let run = Run::of(&mut elsewhere, None).unwrap();
    assert!(run.stderr.contains("add `--namespace kube-devops --create-namespace`"), "{run:?}");
    let run = helm(testbed, "template", &["--kube-version", "1.33.4"]);
    assert!(run.stderr.contains("requires kubeVersion: >=1.34.0-0"), "{run:?}");
    // Without a tag the images are those that the chart was made for.
    let all = rendered(testbed, &["--set", "image.tag=null"]);
    let image = &template(&all, "policy-webhook")["spec"]["containers"][0]["image"];
    assert_eq!(image, concat!("ghcr.io/kube-devops/policy-webhook:", env!("CARGO_PKG_VERSION")));
}

#[test]
fn each_component_can_have_its_own_values() {
    let testbed = e2e::shared();
    let common = json!({
        "image": { "repository": "r.example.com/p", "pullSecrets": ["registry"] },
        "nodeSelector": { "pool": "system" },
        "tolerations": [{ "key": "system", "operator": "Exists" }],
        "affinity": { "nodeAffinity": {} },
        "priorityClassName": "system-cluster-critical",
        "podAnnotations": { "team": "platform" },
        "extraEnv": [{ "name": "GOV_LOG__LEVEL", "value": "debug" }],
        "webhook": {
            "image": { "tag": "v2", "pullPolicy": "Always" },
            "replicaCount": 5,
            "resources": { "limits": { "memory": "512Mi" } },
            "nodeSelector": { "zone": "a" },
            "tolerations": [],
            "topologySpreadConstraints": [{ "maxSkew": 2, "topologyKey": "rack",
                "whenUnsatisfiable": "DoNotSchedule" }],
            "priorityClassName": "",
            "podAnnotations": { "team": "admission" },
            "extraArgs": ["--addr=0.0.0.0:8443"],
            "extraEnv": [],
        },
    });
    let file = testbed.folder().join("values.json");
    std::fs::write(&file, common.to_string()).unwrap();
    let all = rendered(testbed, &["--values", file.to_str().unwrap()]);
    let of = |component: &str, path: &str| {
        let found = template(&all, component).pointer(path);
        found.cloned().unwrap_or_default()
    };
    for (path, common, webhook) in [
        ("/metadata/annotations/team", json!("platform"), json!("admission")),
        (
            "/spec/nodeSelector",
            json!({ "pool": "system" }),
            json!({ "pool": "system", "zone": "a" }),
        ),
        ("/spec/tolerations", json!([{ "key": "system", "operator": "Exists" }]), Value::Null),
        ("/spec/affinity", json!({ "nodeAffinity": {} }), json!({ "nodeAffinity": {} })),
        ("/spec/priorityClassName", json!("system-cluster-critical"), Value::Null),
        (
            "/spec/imagePullSecrets",
            json!([{ "name": "registry" }]),
            json!([{ "name": "registry" }]),
        ),
        (
            "/spec/topologySpreadConstraints/0/topologyKey",
            json!("kubernetes.io/hostname"),
            json!("rack"),
        ),
        ("/spec/containers/0/args", Value::Null, json!(["--addr=0.0.0.0:8443"])),
        ("/spec/containers/0/imagePullPolicy", json!("IfNotPresent"), json!("Always")),
        (
            "/spec/containers/0/resources/limits",
            json!({ "cpu": "250m", "memory": "128Mi" }),
            json!({ "cpu": "250m", "memory": "512Mi" }),
        ),
        (
            "/spec/containers/0/env",
            json!([{ "name": "GOV_LOG__LEVEL", "value": "debug" }]),
            Value::Null,
        ),
    ] {
        assert_eq!(of("policy-watcher", path), common, "{path}");
        assert_eq!(of("policy-operator", path), common, "{path}");
        assert_eq!(of("policy-webhook", path), webhook, "{path}");
    }
    let image = of("policy-webhook", "/spec/containers/0/image");
    assert_eq!(image, "r.example.com/p/policy-webhook:v2");
    let replicas = |name: &str| super::object(&all, "Deployment", name)["spec"]["replicas"].clone();
    assert_eq!((replicas("policy-webhook"), replicas("policy-watcher")), (json!(5), json!(2)));
}

/// What the program says that its configuration is, with the rendered arguments and environment.
fn configuration(all: &[Value], component: &str) -> Value {
    let container = &template(all, component)["spec"]["containers"][0];
    let each = |field: &str| container[field].as_array().cloned().unwrap_or_default();
    let mut command = Command::new(service_binary(component).unwrap());
    for variable in each("env") {
        let text = |field: &str| variable[field].as_str().unwrap().to_owned();
        command.env(text("name"), text("value"));
    }
    command.args(each("args").iter().map(|argument| argument.as_str().unwrap()));
    let printed = Run::of(command.arg("--print-config"), None).unwrap().succeeded().unwrap();
    serde_saphyr::from_str(&printed).unwrap()
}

#[test]
fn values_reach_the_configuration_of_the_programs() {
    let testbed = e2e::shared();
    let values = "excludedNamespaces={sandbox,legacy},log.level=debug,log.format=text,\
        workloadKinds[0].group=argoproj.io,workloadKinds[0].kind=Rollout,\
        clusterName=blue,auditResults.retention=25,openReports.enabled=true,certificate.source=cert-manager";
    let all = rendered(testbed, &["--set", values]);
    let set = ["policy-watcher", "policy-operator", "policy-webhook"];
    for component in set {
        let found = configuration(&all, component);
        assert_eq!(found["excludedNamespaces"], json!(["sandbox", "legacy"]), "{component}");
        assert_eq!(found["log"], json!({ "level": "debug", "format": "text" }), "{component}");
    }
    let operator = configuration(&all, "policy-operator");
    assert_eq!(operator["clusterName"], "blue");
    assert_eq!(operator["auditResults"]["retention"], 25);
    assert_eq!(operator["openReports"]["enabled"], true);
    let kinds = &configuration(&all, "policy-webhook")["workloadKinds"];
    let rollout =
        json!({ "group": "argoproj.io", "kind": "Rollout", "podTemplatePath": "spec.template" });
    assert_eq!(*kinds, json!([rollout]));
    let validating = "ValidatingWebhookConfiguration";
    let validating = super::object(&all, validating, "kube-devops-policy-webhook");
    let rules = validating["webhooks"][0]["rules"].as_array().unwrap();
    assert_eq!(rules.last().unwrap()["resources"], json!(["rollouts"]));
    let tls = &configuration(&all, "policy-webhook")["tls"];
    assert_eq!(tls["cert"], "/etc/policy-webhook/tls.crt");
    assert_eq!(tls["key"], "/etc/policy-webhook/tls.key");
    // The ports are those of the programs.
    let default = rendered(testbed, &[]);
    for component in set {
        let port = &template(&default, component)["spec"]["containers"][0]["ports"][0];
        let port = format!(":{}", port["containerPort"]);
        let found = configuration(&default, component);
        assert!(found["addr"].as_str().unwrap().ends_with(&port), "{component}: {found}");
    }
}

/// The names of the objects of a kind.
fn names(testbed: &Testbed, values: &str, kind: &str) -> Vec<String> {
    let all = rendered(testbed, &["--set", values]);
    let of_kind = all.iter().filter(|object| object["kind"] == kind);
    of_kind.map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn one_switch_each_stops_admission_and_enforcement() {
    let testbed = e2e::shared();
    let (validating, mutating) = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration");
    let installed = ["kube-devops-policy-webhook"];
    let role = "kube-devops-policy-operator-remediation".to_owned();
    let both = "admission.enabled=true,enforcement.enabled=true";
    assert_eq!(names(testbed, both, validating), installed);
    assert_eq!(names(testbed, both, mutating), installed);
    assert!(names(testbed, both, "ClusterRole").contains(&role));
    let no_admission = "admission.enabled=false,enforcement.enabled=true";
    assert!(names(testbed, no_admission, validating).is_empty());
    assert_eq!(names(testbed, no_admission, mutating), installed);
    let no_enforcement = "enforcement.enabled=false";
    assert!(names(testbed, no_enforcement, mutating).is_empty());
    assert!(!names(testbed, no_enforcement, "ClusterRole").contains(&role));
    // The API server does not even ask about an excluded namespace.
    let excluded = rendered(testbed, &["--set", &format!("{both},excludedNamespaces={{sandbox}}")]);
    for kind in [validating, mutating] {
        let object = super::object(&excluded, kind, "kube-devops-policy-webhook");
        for webhook in object["webhooks"].as_array().unwrap() {
            let named = &webhook["namespaceSelector"]["matchExpressions"][0]["values"];
            let named = named.as_array().unwrap();
            assert!(named.contains(&json!("sandbox")) && named.contains(&json!("kube-system")));
        }
    }
}
