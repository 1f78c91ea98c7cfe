//! What connects the chart to Prometheus.

use e2e::{PROMETHEUS_DEFINITIONS, Parts, Testbed};
use serde_json::{Value, json};

use super::objects::without_helm;
use super::{helm, object, parsed, rendered, template};
use crate::cli;

const WITH_OPERATOR: [&str; 2] = ["--api-versions", "monitoring.coreos.com/v1"];
const COMPONENTS: [&str; 3] = ["policy-watcher", "policy-operator", "policy-webhook"];

fn with_operator(testbed: &Testbed, values: &str) -> Vec<Value> {
    rendered(testbed, &[&WITH_OPERATOR[..], &["--set", values]].concat())
}

fn is_of_operator(object: &Value) -> bool {
    object["apiVersion"] == "monitoring.coreos.com/v1"
}

fn is_of_monitoring(object: &Value) -> bool {
    is_of_operator(object) || object["metadata"]["name"] == "kube-devops-dashboard"
}

fn endpoint(all: &[Value], component: &str) -> Value {
    object(all, "ServiceMonitor", component)["spec"]["endpoints"][0].clone()
}

#[test]
fn the_chart_renders_the_monitoring_that_policyctl_prints() {
    let testbed = e2e::shared();
    let values = "serviceMonitor.interval=1m,serviceMonitor.labels.release=prometheus,\
        prometheusRule.labels.release=prometheus";
    let flags = ["--interval=1m", "--label=release=prometheus"];
    for (values, flags) in [("replicaCount=2", &[][..]), (values, &flags)] {
        let mut all = with_operator(testbed, values);
        all.retain(is_of_monitoring);
        let generate = [&["observability", "generate-all"], flags].concat();
        let printed = parsed(&cli::expect(testbed, 0, &generate, ""));
        let printed = printed.into_iter().filter(is_of_monitoring).collect();
        assert_eq!(without_helm(all), without_helm(printed));
    }
    // Labels of the user take none of ours away.
    let all = with_operator(testbed, r"serviceMonitor.labels.app\.kubernetes\.io/name=mine");
    let labels = &object(&all, "ServiceMonitor", "policy-watcher")["metadata"]["labels"];
    assert_eq!(labels["app.kubernetes.io/name"], "policy-watcher");
}

#[test]
fn the_dashboard_is_where_and_what_grafanas_sidecar_looks_for() {
    let testbed = e2e::shared();
    let set = |values| {
        let all = rendered(testbed, &["--set-json", &format!("grafanaDashboard={values}")]);
        all.into_iter().find(|object| object["metadata"]["name"] == "kube-devops-dashboard")
    };
    let printed = cli::expect(testbed, 0, &["observability", "generate-dashboard", "--raw"], "");
    let values = r#"{"namespace": "grafana", "labels": {"team": "a", "grafana_dashboard": "yes"},
        "annotations": {"grafana_folder": "Platform"}}"#;
    let object = set(values).unwrap();
    assert_eq!(object["data"], json!({"kube-devops-dashboard.json": printed}));
    let metadata = &object["metadata"];
    assert_eq!(metadata["namespace"], "grafana");
    assert_eq!(metadata["annotations"], json!({"grafana_folder": "Platform"}));
    let labels = ["team", "grafana_dashboard", "app.kubernetes.io/part-of"];
    assert_eq!(labels.map(|label| &metadata["labels"][label]), ["a", "yes", "kube-devops"]);
    assert_eq!(set(r#"{"enabled": false}"#), None);
}

#[test]
fn the_api_server_accepts_what_prometheus_reads() {
    let testbed = &Testbed::start(&Parts::new("monitoring")).unwrap();
    testbed.install_published(&PROMETHEUS_DEFINITIONS).unwrap();
    testbed.kubectl(&["create", "namespace", "kube-devops"]).unwrap().succeeded().unwrap();
    let apply = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"];
    let printed = cli::expect(testbed, 0, &["observability", "generate-all"], "");
    testbed.kubectl_stdin(&apply, &printed).unwrap().succeeded().unwrap();
    // The definitions refuse what they do not know.
    let wrong = printed.replace("honorLabels", "honourLabels");
    assert!(wrong != printed);
    let run = testbed.kubectl_stdin(&apply, &wrong).unwrap();
    assert!(run.stderr.contains("honourLabels"), "{run:?}");
    // helm asks the API server which definitions there are.
    let installed = helm(testbed, "install", &["--dry-run=server", "--no-hooks"]).succeeded();
    let installed = installed.unwrap();
    assert_eq!(installed.matches("kind: ServiceMonitor").count(), COMPONENTS.len());
}

#[test]
fn the_webhook_is_verified_by_the_authority_of_each_certificate() {
    let testbed = e2e::shared();
    let tls = |all: &[Value]| endpoint(all, "policy-webhook")["tlsConfig"].clone();
    let expected = |ca: Value| json!({ "ca": ca, "serverName": "policy-webhook.kube-devops.svc" });
    let secret = |name: &str| json!({ "secret": { "name": name, "key": "ca.crt" } });
    let all = with_operator(testbed, "certificate.source=self-managed");
    assert_eq!(tls(&all), expected(secret("policy-webhook-self-managed")));
    assert_eq!(endpoint(&all, "policy-watcher")["tlsConfig"], Value::Null);

    let all = with_operator(testbed, "certificate.source=cert-manager");
    let issued = &object(&all, "Certificate", "policy-webhook")["spec"];
    assert_eq!(tls(&all), expected(secret(issued["secretName"].as_str().unwrap())));
    assert_eq!(issued["dnsNames"][0], tls(&all)["serverName"]);

    let pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    let file = testbed.folder().join("monitored.crt");
    std::fs::write(&file, pem).unwrap();
    let file = format!("certificate.caBundle={}", file.display());
    let brought = "certificate.source=secret,certificate.secretName=mine";
    let options = [&WITH_OPERATOR[..], &["--set", brought, "--set-file", &file]].concat();
    let all = rendered(testbed, &options);
    let map = json!({ "configMap": { "name": "policy-webhook-ca", "key": "ca.crt" } });
    assert_eq!(tls(&all), expected(map));
    assert_eq!(object(&all, "ConfigMap", "policy-webhook-ca")["data"]["ca.crt"], pem);
}

#[test]
fn prometheus_without_its_operator_follows_annotations() {
    let testbed = e2e::shared();
    let values = "scrapeAnnotations.enabled=true,podAnnotations.team=platform";
    let all = rendered(testbed, &["--set", values]);
    assert!(!all.iter().any(is_of_operator), "the cluster has no such definitions");
    for (component, port, scheme) in [
        ("policy-watcher", "8080", "http"),
        ("policy-operator", "9090", "http"),
        ("policy-webhook", "8443", "https"),
    ] {
        let expected = json!({
            "team": "platform",
            "prometheus.io/scrape": "true",
            "prometheus.io/port": port,
            "prometheus.io/path": "/metrics",
            "prometheus.io/scheme": scheme,
        });
        assert_eq!(template(&all, component)["metadata"]["annotations"], expected, "{component}");
    }
}

#[test]
fn network_policies_let_prometheus_in() {
    let testbed = e2e::shared();
    let values = "networkPolicy.enabled=true,networkPolicy.prometheusNamespace=monitoring";
    let all = rendered(testbed, &["--set", values]);
    let from = json!([{ "namespaceSelector": { "matchLabels": {
        "kubernetes.io/metadata.name": "monitoring",
    } } }]);
    // The API server, which calls the webhook, is in no namespace.
    for (component, from) in COMPONENTS.into_iter().zip([from.clone(), from, Value::Null]) {
        let ingress = &object(&all, "NetworkPolicy", component)["spec"]["ingress"][0];
        assert_eq!(ingress["from"], from, "{component}");
    }
    let all = rendered(testbed, &["--set", "networkPolicy.enabled=true"]);
    let open = &object(&all, "NetworkPolicy", "policy-watcher")["spec"]["ingress"][0];
    assert_eq!(open["from"], Value::Null);
}
