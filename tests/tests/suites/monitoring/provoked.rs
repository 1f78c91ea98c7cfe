//! What has to happen before every panel has something to show: denials, warnings, requests without a
//! verdict, and each outcome of enforce mode.

use std::time::Duration;

use e2e::Owner;
use serde_json::{Value, json};

use super::scraped::{NAMESPACE, SURELY, Scraped};
use crate::cli;
use crate::remediation::workloads::{breakable, install, workload};

/// For two rollouts one after the other, each taken back.
const TAKEN_BACK: Duration = Duration::from_secs(180);
const ENFORCED: &str = "{enforcementMode: enforce, requireReadinessProbe: true, \
    defaultProbe: {tcpPort: 8080, initialDelaySeconds: 1, periodSeconds: 1}}";
const JUDGED: &str = "{forbidLatestTag: true, requireReadinessProbe: true, \
    severityOverrides: {latestTag: critical, missingReadiness: low}}";
/// What has happened then, as Prometheus sees it.
const HAPPENED: [&str; 7] = [
    r#"webhook_findings_total{decision="denied"}"#,
    r#"webhook_findings_total{decision="warned"}"#,
    r#"webhook_failopen_total{reason="unreadable"}"#,
    "apiserver_admission_webhook_fail_open_count",
    "enforcement_remediations_applied_total",
    r#"enforcement_remediations_proposed_total{reason="Recreate"}"#,
    r#"enforcement_remediations_reverted_total{reason="Restarted"}"#,
];

impl Scraped<'_> {
    /// Gives the namespace of a policy whose circuit breaker is open.
    pub(super) fn provoke(&self) -> String {
        let stopped = self.break_remediations();
        self.propose();
        self.judge();
        self.fail_open();
        self.fail_to_call();
        for what in HAPPENED {
            self.wait_until(what, TAKEN_BACK, || {
                let sum = self.prometheus.value(&format!("sum({what})")).unwrap();
                sum.is_some_and(|sum| sum > 0.0)
            });
        }
        let open = format!("enforcement_remediating{{namespace=\"{stopped}\"}} == 0");
        self.wait_until("an open circuit breaker", TAKEN_BACK, || {
            !self.prometheus.query(&open).unwrap().is_empty()
        });
        stopped
    }

    fn create(&self, objects: &[Value]) {
        for object in objects {
            self.testbed.apply(&object.to_string()).unwrap();
        }
    }

    /// Two workloads that do not bear what is filled in, which opens the circuit breaker.
    fn break_remediations(&self) -> String {
        let namespace = self.testbed.namespace("stopped").unwrap();
        for fate in ["killed", "oomkilled"] {
            let workload = breakable("Deployment", &namespace, fate);
            install(self.testbed, Owner::KubectlClientSide, &workload);
        }
        self.testbed.apply(&cli::policy(&namespace, "p", ENFORCED)).unwrap();
        namespace
    }

    /// One workload that is not changed, since its strategy would interrupt it.
    fn propose(&self) {
        let namespace = self.testbed.namespace("proposed").unwrap();
        let mut recreated = workload("Deployment", &namespace, "recreated");
        recreated["spec"]["strategy"] = json!({ "type": "Recreate" });
        install(self.testbed, Owner::KubectlClientSide, &recreated);
        self.testbed.apply(&cli::policy(&namespace, "p", ENFORCED)).unwrap();
    }

    /// A pod that is denied, and one that is admitted with a warning. The webhook may hear of the
    /// policy a moment later.
    fn judge(&self) {
        let namespace = self.testbed.namespace("judged").unwrap();
        self.testbed.apply(&cli::policy(&namespace, "p", JUDGED)).unwrap();
        self.wait_until("a denial", SURELY, || {
            let image = "--image=registry.example.com/web:latest";
            let run = ["run", "web", image, "-n", &namespace, "--dry-run=server"];
            self.testbed.kubectl(&run).unwrap().stderr.contains("latest-tag")
        });
        // The other replica may hear of it later still.
        let mut number = 0;
        self.wait_until("a warning", SURELY, || {
            number += 1;
            let (name, image) = (format!("web-{number}"), "--image=registry.example.com/web:v1");
            let run = self.testbed.kubectl(&["run", &name, image, "-n", &namespace]).unwrap();
            assert_eq!(run.code, Some(0), "{run:?}");
            run.stderr.contains("missing-readiness")
        });
    }

    /// What is no review, to the webhook.
    fn fail_open(&self) {
        let pod = self.kubelet.ready_pods("policy-webhook")[0].name().to_owned();
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/https:{pod}:8443/proxy/validate");
        self.testbed.kubectl_stdin(&["create", "--raw", &path, "-f", "-"], "{}").unwrap();
    }

    /// Calls of a webhook of our group at an address where nobody listens, until Prometheus has seen one.
    fn fail_to_call(&self) {
        let namespace = self.testbed.namespace("uncalled").unwrap();
        self.create(&[json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": "unreachable" },
            "webhooks": [{
                "name": "unreachable.devops.stochastic.io",
                "clientConfig": { "url": "https://127.0.0.1:1/validate" },
                "failurePolicy": "Ignore", "sideEffects": "None", "timeoutSeconds": 1,
                "admissionReviewVersions": ["v1"],
                "namespaceSelector": {
                    "matchLabels": { "kubernetes.io/metadata.name": namespace },
                },
                "rules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                    "resources": ["configmaps"],
                }],
            }],
        })]);
        let failed = format!(
            "sum(apiserver_admission_webhook_fail_open_count{{name=\"{}\"}})",
            "unreachable.devops.stochastic.io"
        );
        let mut tries = 0..;
        self.wait_until("one failed call", SURELY, || {
            // The API server may hear of the configuration a moment later.
            let name = format!("c{}", tries.next().unwrap_or_default());
            let create = ["create", "configmap", &name, "-n", &namespace];
            self.testbed.kubectl(&create).unwrap().succeeded().unwrap();
            self.prometheus.value(&failed).unwrap().is_some()
        });
    }
}
