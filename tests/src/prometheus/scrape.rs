//! What the Prometheus operator makes of the `ServiceMonitor`s, as far as they use it. `e2e monitoring`
//! asks the operator itself.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use policy_manifests::monitoring::service_monitors;
use policy_manifests::promql::foreign::APISERVER_FAIL_OPEN;
use serde_json::{Value, json};

use super::Surroundings;
use crate::tokens::ADMIN;
use crate::{ProcessKubelet, Testbed};

/// What Prometheus may read, to find targets.
pub(crate) const RULES: &str = "[{apiGroups: [''], resources: [services, endpoints, pods], verbs: [get, list, watch]}, \
    {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch]}]";

pub(super) struct Scraped<'a> {
    testbed: &'a Testbed,
    pub(super) kubeconfig: PathBuf,
    authority: PathBuf,
    /// The way to the pods.
    proxy: SocketAddr,
}

impl<'a> Scraped<'a> {
    pub(super) fn new(testbed: &'a Testbed, kubelet: &ProcessKubelet<'_>) -> Result<Self> {
        let authority = testbed.folder().join("webhook-ca.crt");
        let secret = ["get", "secret", "policy-webhook-self-managed", "-n", "kube-devops"];
        let path = [r#"-o=go-template={{index .data "ca.crt" | base64decode}}"#];
        fs::write(&authority, testbed.kubectl(&[&secret[..], &path].concat())?.succeeded()?)?;
        Ok(Self {
            testbed,
            kubeconfig: testbed.service_account("default", "prometheus", RULES)?,
            authority,
            proxy: kubelet.proxy(),
        })
    }

    pub(super) fn proxy_url(&self) -> String {
        format!("socks5://{}", self.proxy)
    }

    pub(super) fn configurations(&self, surroundings: Surroundings<'_>) -> Result<Vec<Value>> {
        let monitors = service_monitors("1s").into_iter().map(|monitor| {
            let monitor = serde_json::to_value(monitor)?;
            self.configuration(&monitor).with_context(|| format!("unexpected: {monitor}"))
        });
        let mut all: Vec<Value> = monitors.collect::<Result<_>>()?;
        all.extend(surroundings.api_server.then(|| self.api_server()));
        if let Some(cluster) = surroundings.cluster {
            let label = json!({ "target_label": "cluster", "replacement": cluster });
            let lists = all.iter_mut().filter_map(|each| each["relabel_configs"].as_array_mut());
            lists.for_each(|list| list.push(label.clone()));
        }
        Ok(all)
    }

    /// Of the thousands of its series only those about webhooks, as Prometheus here is one of many.
    fn api_server(&self) -> Value {
        json!({
            "job_name": "apiserver",
            "scrape_interval": "2s",
            "scrape_timeout": "2s",
            "scheme": "https",
            "authorization": { "credentials": self.testbed.tokens.of(ADMIN) },
            "tls_config": { "ca_file": self.testbed.certificate_authority() },
            "static_configs": [{
                "targets": [self.testbed.server_url().trim_start_matches("https://")],
            }],
            "relabel_configs": [],
            "metric_relabel_configs": [{
                "action": "keep",
                "source_labels": ["__name__"],
                "regex": APISERVER_FAIL_OPEN.name(),
            }],
        })
    }

    fn configuration(&self, monitor: &Value) -> Option<Value> {
        let endpoint = &monitor["spec"]["endpoints"][0];
        let mut relabel = vec![keep("endpointslice_port_name", endpoint["port"].as_str()?)];
        for (label, value) in monitor["spec"]["selector"]["matchLabels"].as_object()? {
            let label = label.replace(['.', '/', '-'], "_");
            relabel.push(keep(&format!("service_label_{label}"), value.as_str()?));
        }
        for (from, to) in [
            ("namespace", "namespace"),
            ("service_name", "service"),
            ("pod_name", "pod"),
            ("service_name", "job"),
        ] {
            relabel.push(json!({ "source_labels": [meta(from)], "target_label": to }));
        }
        let mut configuration = json!({
            "job_name": monitor["metadata"]["name"],
            "honor_labels": endpoint["honorLabels"],
            "scrape_interval": endpoint["interval"],
            "scheme": endpoint["scheme"],
            "proxy_url": self.proxy_url(),
            "kubernetes_sd_configs": [{
                "role": "endpointslice",
                "kubeconfig_file": self.kubeconfig,
                "namespaces": { "names": [monitor["metadata"]["namespace"]] },
            }],
            "relabel_configs": relabel,
        });
        if endpoint["tlsConfig"].is_object() {
            let name = &endpoint["tlsConfig"]["serverName"];
            configuration["tls_config"] = json!({ "ca_file": self.authority, "server_name": name });
        }
        Some(configuration)
    }
}

fn meta(name: &str) -> String {
    format!("__meta_kubernetes_{name}")
}

fn keep(name: &str, value: &str) -> Value {
    json!({ "action": "keep", "source_labels": [meta(name)], "regex": value.replace('.', r"\.") })
}
